package rewrite_test

import (
	"errors"
	"maps"
	"net/mail"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"postern/relay/message"
	"postern/rewrite"
)

func TestRecipientsAreThoseOfTheEnvelope(t *testing.T) {
	mailbox := rapid.SampledFrom([]string{
		"a@example.org", "<b@example.org>", "Ann <A@Example.org>", `"C, d@example.net" <c@example.org>`, "d@example.net <c@example.org>",
		"x@example.net", "(a comment) c@example.org", "<@route.example:b@example.org>", "=?utf-8?q?d=40example=2Enet?= <d@example.org>",
		`"odd one"@example.org`, "Team: a@example.org, x@example.net;", "Nobody:;", "undisclosed-recipients:;", "not an address", `"`, "(", "<", "", ";",
		"a @ example.org", "Bj\xc3\xb6rn <b@example.org>", "b@example.org (Bob)", "\r\n c@example.org",
	})
	field := rapid.Custom(func(t *rapid.T) string {
		return rapid.SampledFrom([]string{"To: ", "Cc:", "cc : ", "Bcc: ", "bcc: "}).Draw(t, "name") +
			strings.Join(rapid.SliceOfN(mailbox, 0, 6).Draw(t, "list"), rapid.SampledFrom([]string{", ", ",", ",\r\n\t"}).Draw(t, "comma")) + "\r\n"
	})
	recipient := rapid.SampledFrom([]string{"a@example.org", "B@example.org", "c@EXAMPLE.org", "d@example.org", `"odd one"@example.org`, "d@example.net"})
	d := rewrite.NewDressing("api", rewrite.Upstream{EnvelopeHeaders: true})
	rapid.Check(t, func(t *rapid.T) {
		h, err := message.ParseHeader([]byte("From: scan@example.com\r\n" + strings.Join(rapid.SliceOfN(field, 0, 4).Draw(t, "fields"), "")))
		if err != nil {
			t.Skip(err)
		}
		m := &message.Message{Header: h, Body: message.Bytes("")}
		want := map[string]bool{}
		for _, r := range rapid.SliceOfN(recipient, 1, 5).Draw(t, "recipients") {
			a, err := message.ParseAddress(r)
			if err != nil {
				t.Fatal(err)
			}
			m.To = append(m.To, message.Recipient{Address: a})
			want[strings.ToLower(r)] = true
		}
		dressed, changes, err := d.Dress(m, rewrite.Offer{EightBit: true, UTF8: true})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]bool{}
		for _, name := range []string{"To", "Cc", "Bcc"} {
			for _, f := range dressed.Header.All(name) {
				if f.Value() == "" || strings.HasSuffix(f.Value(), ":;") && !strings.Contains(f.Value(), "@") {
					continue
				}
				list, err := mail.ParseAddressList(f.Value())
				if err != nil {
					t.Fatalf("%q: %v", f.Raw(), err)
				}
				for _, a := range list {
					local, domain, _ := strings.Cut(a.Address, "@")
					got[strings.ToLower(message.Address{Local: local, Domain: domain}.String())] = true
				}
			}
		}
		if !maps.Equal(got, want) {
			t.Fatalf("%q\nis sent as %q\nand goes to %q instead of %q", h.Bytes(), dressed.Header.Bytes(), slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
		}
		if (len(changes) == 0) != (dressed == m) {
			t.Fatalf("%d changes of a message that changed: %t", len(changes), dressed != m)
		}
	})
}

func TestSenderIsOneTheUpstreamTakes(t *testing.T) {
	name := rapid.SampledFrom([]string{"scan@example.com", "ceo@example.com", "Boss <ceo@example.com>", `"scan@example.com" <ceo@example.com>`, "relay@example.com",
		"scan@example.com, Boss\r\n <ceo@example.com>", "A: ceo@example.com, relay@example.com;", "scan@example.com (x), (y) ceo@example.com", "ceo@example.com <scan@example.com>"})
	senders, err := message.ParsePatterns("scan@example.com")
	if err != nil {
		t.Fatal(err)
	}
	relay := message.Address{Local: "relay", Domain: "example.com"}
	allowed := func(a message.Address) bool { return a == relay || senders.Match(a) }
	rapid.Check(t, func(t *rapid.T) {
		text := "From: " + name.Draw(t, "from") + "\r\n"
		if rapid.Bool().Draw(t, "with a Sender") {
			text += "sender:" + name.Draw(t, "sender") + "\r\n"
		}
		h, err := message.ParseHeader([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		m := &message.Message{Header: h, Body: message.Bytes("")}
		m.From = rapid.SampledFrom([]message.Address{{}, relay, {Local: "ceo", Domain: "example.com"}}).Draw(t, "return path")
		d := rewrite.NewDressing("m365", rewrite.Upstream{Mailbox: relay, Senders: senders, NullSender: "otherwise",
			Otherwise: rapid.SampledFrom([]string{"force", "refuse", "next"}).Draw(t, "otherwise")})
		dressed, _, err := d.Dress(m, rewrite.Offer{})
		if err != nil {
			if !errors.As(err, new(*message.Reply)) {
				t.Fatal(err)
			}
			return
		}
		if !allowed(dressed.From) {
			t.Fatalf("it leaves from <%s>", dressed.From)
		}
		for _, field := range slices.Concat(dressed.Header.All("From"), dressed.Header.All("Sender")) {
			found, err := message.ParseMailboxes(field.Value())
			if err != nil || slices.ContainsFunc(found, func(a message.Address) bool { return !allowed(a) }) {
				t.Fatalf("%q\nleaves as %q, %v", text, dressed.Header.Bytes(), err)
			}
		}
		if len(dressed.Header.All("From")) != 1 {
			t.Fatalf("%q leaves as %q", text, dressed.Header.Bytes())
		}
		again, changes, err := d.Dress(dressed, rewrite.Offer{})
		if err != nil || again != dressed {
			t.Fatalf("dressed again: %v, %v", changes, err)
		}
	})
}
