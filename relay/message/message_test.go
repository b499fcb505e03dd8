package message_test

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/relay/message"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.FixedZone("", 3600))

func TestNewIDIsSortedAndUnique(t *testing.T) {
	var ids []string
	for i := range 300 {
		for range 30 { // within one millisecond
			ids = append(ids, message.NewID(noon.Add(time.Duration(i)*time.Millisecond)))
		}
	}
	seen := map[string]bool{}
	for i, id := range ids {
		if len(id) != 16 || id != strings.ToLower(id) || strings.Trim(id, "0123456789abcdefghjkmnpqrstvwxyz") != "" {
			t.Fatalf("the id %q", id)
		}
		if seen[id] {
			t.Fatalf("%q comes twice", id)
		}
		seen[id] = true
		if i >= 30 && ids[i-30] >= id {
			t.Fatalf("%q of a millisecond earlier is not before %q", ids[i-30], id)
		}
	}
	if !slices.IsSorted([]string{message.NewID(time.Unix(0, 0)), message.NewID(noon), message.NewID(noon.AddDate(80, 0, 0))}) {
		t.Error("ids of far times are not sorted")
	}
}

func TestMessageOpensWhole(t *testing.T) {
	h, err := message.ParseHeader([]byte("Subject: hi\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	m := message.Message{Header: h, Body: message.Bytes("one\r\n")}
	const want = "Subject: hi\r\n\r\none\r\n"
	for range 2 {
		r, err := m.Open()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil || string(got) != want {
			t.Errorf("it reads %q, %v", got, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	if m.Size() != int64(len(want)) {
		t.Errorf("its size is %d, want %d", m.Size(), len(want))
	}
}

func TestWhatAMessageNeeds(t *testing.T) {
	plain, utf8 := address(t, "a@example.com"), address(t, "ä@example.com")
	for _, tt := range []struct {
		name                string
		header, body        string
		from, to            message.Address
		asked               bool
		wants8bit, wantUTF8 bool
	}{
		{name: "ASCII throughout", header: "Subject: hi\r\n", body: "x", from: plain, to: plain},
		{name: "ASCII that asked for SMTPUTF8", header: "Subject: hi\r\n", from: plain, to: plain, asked: true},
		{name: "an 8-bit body", body: "\xe4", from: plain, to: plain, wants8bit: true},
		{name: "an 8-bit header without SMTPUTF8", header: "Subject: \xe4\r\n", from: plain, to: plain, wants8bit: true},
		{name: "an 8-bit header with SMTPUTF8", header: "Subject: ä\r\n", from: plain, to: plain, asked: true, wants8bit: true, wantUTF8: true},
		{name: "an 8-bit sender", from: utf8, to: plain, wantUTF8: true},
		{name: "an 8-bit recipient", to: utf8, wantUTF8: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, err := message.ParseHeader([]byte(tt.header))
			if err != nil {
				t.Fatal(err)
			}
			m := message.Message{Header: h, Body: message.Bytes(tt.body),
				Envelope: message.Envelope{From: tt.from, To: []message.Recipient{{Address: tt.to}}, SMTPUTF8: tt.asked}}
			if m.NeedsEightBit() != tt.wants8bit || m.NeedsSMTPUTF8() != tt.wantUTF8 {
				t.Errorf("8BITMIME %t, SMTPUTF8 %t", m.NeedsEightBit(), m.NeedsSMTPUTF8())
			}
		})
	}
}

func TestLane(t *testing.T) {
	if up, ok := message.PinnedTo(message.PinnedLane("m365")); !ok || up != "m365" {
		t.Errorf("pinned to %q, %t", up, ok)
	}
	if up, ok := message.PinnedTo("office"); ok {
		t.Errorf("a route is pinned to %q", up)
	}
}

func TestRefuseFitsTheWire(t *testing.T) {
	r := message.Refuse(550, "5.7.1", "no %s", "ä\r\n250 ok\x00")
	if got, want := r.Text, "no ??\n250 ok?"; got != want {
		t.Errorf("the text is %q, want %q", got, want)
	}
	if got, want := r.String(), "550 5.7.1 no ?? 250 ok?"; got != want {
		t.Errorf("in one line it is %q, want %q", got, want)
	}
	if long := message.Refuse(550, "5.7.1", "%s", strings.Repeat("x", 9000)).String(); len(long) > 510 || !strings.HasSuffix(long, "...") {
		t.Errorf("%d octets that end in %q", len(long), long[len(long)-5:])
	}
	if !r.Permanent() || r.Positive() || message.Refuse(452, "4.5.3", "later").Permanent() {
		t.Error("the class of the code is misread")
	}
}
