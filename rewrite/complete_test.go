package rewrite_test

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"postern/relay/message"
	"postern/rewrite"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.FixedZone("", 3600))

// submitted is a message of the account printer with that header.
func submitted(t *testing.T, header string) *message.Message {
	t.Helper()
	h, err := message.ParseHeader([]byte(header))
	if err != nil {
		t.Fatal(err)
	}
	return &message.Message{
		ID:       "0q5g1x2y3z4a5b6c",
		Received: noon,
		Header:   h,
		Body:     message.Bytes("hello\r\n"),
		Client: message.Client{Identity: message.Identity{Account: "printer"}, Mechanism: "PLAIN", Extended: true, Hello: "mfp",
			Address: netip.MustParseAddrPort("192.0.2.7:4711")},
	}
}

func newRewrite(t *testing.T, cfg rewrite.Config) *rewrite.Rewrite {
	t.Helper()
	r, err := rewrite.New(cfg, nil, map[string]rewrite.Account{"printer": {DefaultFrom: "scan@example.com"}}, "relay.example.com")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// checkRefused checks what every refusal owes: it is a reply of one short line,
// and the message is as it was.
func checkRefused(t *testing.T, err error, m *message.Message, before message.Header) {
	t.Helper()
	var reply *message.Reply
	if !errors.As(err, &reply) || !reply.Permanent() || reply.Enhanced == "" {
		t.Errorf("%v is not a permanent reply", err)
	}
	if len(err.Error()) > 500 || strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Errorf("the reply does not fit a line: %q", err)
	}
	if !bytes.Equal(m.Header.Bytes(), before.Bytes()) {
		t.Errorf("the refused message was changed to %q", m.Header.Bytes())
	}
}

func TestEveryFieldThatMayStandOnce(t *testing.T) {
	for _, name := range []string{"From", "Sender", "Reply-To", "To", "Cc", "Date", "Message-ID", "In-Reply-To", "References", "Subject"} {
		t.Run(name, func(t *testing.T) {
			m := submitted(t, name+": a@example.com\r\n"+strings.ToUpper(name)+" : a@example.com\r\n")
			before := m.Header
			_, err := newRewrite(t, rewrite.Config{}).Complete(m, noon)
			if err == nil || !strings.HasPrefix(err.Error(), "550 5.6.0 ") || !strings.Contains(err.Error(), name) {
				t.Fatalf("the answer is %v", err)
			}
			checkRefused(t, err, m, before)
		})
	}
}

func TestHopCount(t *testing.T) {
	const hop = "Received: from a by b.example.com; Sun, 1 Mar 2026 11:59:00 +0100\r\n"
	r := newRewrite(t, rewrite.Config{})
	if _, err := r.Complete(submitted(t, strings.Repeat(hop, 50)), noon); err != nil {
		t.Errorf("fifty hops: %v", err)
	}
	m := submitted(t, strings.Repeat(hop, 51))
	_, err := r.Complete(m, noon)
	if err == nil || !strings.HasPrefix(err.Error(), "554 5.4.6 routing loop") {
		t.Fatalf("one more: %v", err)
	}
	checkRefused(t, err, m, m.Header)
}

// A retry of the same message, on another node too, has the same Message-ID.
func TestMessageIDIsThatOfTheMessage(t *testing.T) {
	first, again := submitted(t, ""), submitted(t, "")
	r := newRewrite(t, rewrite.Config{})
	for _, m := range []*message.Message{first, again} {
		if _, err := r.Complete(m, noon); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := first.Header.Get("Message-ID"), "<0q5g1x2y3z4a5b6c@relay.example.com>"; got != want || got != again.Header.Get("Message-ID") {
		t.Errorf("Message-ID is %s and %s, want %s", got, again.Header.Get("Message-ID"), want)
	}
}

func TestRemovedValuesAreBriefInTheHistory(t *testing.T) {
	m := submitted(t, "Bcc: "+strings.Repeat("ü@example.com,\r\n ", 5000)+"x@example.com\r\nbcc: \xff\r\n")
	changes, err := newRewrite(t, rewrite.Config{}).Complete(m, noon)
	if err != nil {
		t.Fatal(err)
	}
	if c := changes[0]; c.Rule != "bcc" || len(c.Before) > 1010 || !strings.HasPrefix(c.Before, "ü@example.com, ü@") {
		t.Errorf("the first change is %s of %d octets: %.40q", c.Rule, len(c.Before), c.Before)
	}
	if len(m.Header.All("Bcc")) != 0 {
		t.Error("a Bcc is left")
	}
}

// Bytes no rule names are the bytes that leave, in their order.
func TestOtherBytesStay(t *testing.T) {
	field := rapid.Custom(func(t *rapid.T) string {
		return rapid.StringMatching(`X-[!-9;-~]{1,12}`).Draw(t, "name") + rapid.SampledFrom([]string{":", ": ", " : "}).Draw(t, "colon") +
			rapid.StringMatching("([ -~]{0,30}\r\n[ \t]){0,3}[ -~]{0,30}").Draw(t, "value") +
			rapid.SampledFrom([]string{"", "ü", "\xe4"}).Draw(t, "end") + "\r\n"
	})
	r := newRewrite(t, rewrite.Config{Remove: []string{"Gone"}})
	rapid.Check(t, func(rt *rapid.T) {
		var in, want strings.Builder
		for _, f := range rapid.Permutation([]string{
			"from :scan@example.com\r\n", "Date:x\r\n", "MESSAGE-ID: y\r\n", "bcc: z\r\n z\r\n", "Bcc: z\r\n", "gone:\r\n", "To: a\r\n",
		}).Draw(rt, "fields") {
			other := field.Draw(rt, "other")
			in.WriteString(other + f)
			want.WriteString(other)
			if f[0] != 'b' && f[0] != 'B' && f[0] != 'g' {
				want.WriteString(f)
			}
		}
		m := submitted(t, in.String())
		changes, err := r.Complete(m, noon)
		if err != nil {
			rt.Fatal(err)
		}
		if len(changes) != 2 || changes[0].Rule != "bcc" || changes[1].Rule != "remove" {
			rt.Errorf("changes are %v", changes)
		}
		if !m.Header[0].Is("Received") {
			rt.Errorf("on top is %q", m.Header[0].Raw())
		}
		if got := string(m.Header[1:].Bytes()); got != want.String() {
			rt.Errorf("got  %q\nwant %q", got, want.String())
		}
	})
}

// Whatever header is accepted leaves with one readable From, and with Date and
// Message-ID.
func FuzzComplete(f *testing.F) {
	for _, s := range []string{"", "From: a@b\r\n", "From:\r\nBcc: x\r\n", "Sender: a@b\r\nfrom : <c@d>\r\n", "Received: by by by\r\n", "Date:\r\n\r\nbody"} {
		f.Add([]byte(s))
	}
	r, err := rewrite.New(rewrite.Config{Remove: []string{"X"}}, nil, map[string]rewrite.Account{"printer": {DefaultFrom: "scan@example.com"}}, "relay.example.com")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		h, err := message.ParseHeader(in)
		if err != nil {
			return
		}
		m := submitted(t, "")
		m.Header = h
		changes, err := r.Complete(m, noon)
		if err != nil {
			checkRefused(t, err, m, h)
			return
		}
		from := m.Header.All("From")
		if len(from) != 1 {
			t.Fatalf("%q leaves with %d From", in, len(from))
		}
		if _, err := message.ParseMailboxes(from[0].Value()); err != nil {
			t.Fatalf("%q leaves with From %q", in, from[0].Value())
		}
		if m.Header.Get("Date") == "" || m.Header.Get("Message-ID") == "" || len(m.Header.All("Bcc")) != 0 {
			t.Fatalf("%q leaves as %q", in, m.Header.Bytes())
		}
		if len(changes) == 0 && !bytes.Equal(m.Header[1:].Bytes(), h.Bytes()) {
			t.Fatalf("%q was changed to %q and nobody told", in, m.Header.Bytes())
		}
	})
}
