package rewrite_test

import (
	"net/mail"
	"strings"
	"testing"

	"postern/relay/message"
	"postern/rewrite"
)

func FuzzRepair(f *testing.F) {
	for _, s := range []string{"a@b <a@b>", "x, y <a@b>", "<@c:a@b>", "=?utf-8?q?=40?= a@b", "\xff <a@b>", "a@b, c@d x", "'a@b'", "mailto:a@b"} {
		f.Add(s, "1 Jan 1970")
	}
	r, err := rewrite.New(rewrite.Config{}, nil, map[string]rewrite.Account{"printer": {DefaultFrom: "own@example.com"}}, "relay.example.com")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, from, date string) {
		h, err := message.ParseHeader([]byte("From:" + from + "\r\nDate:" + date + "\r\n"))
		if err != nil || len(h) != 2 {
			return
		}
		m := submitted(t, "")
		m.Header, m.SMTPUTF8 = h, true
		m.Client.Repair = message.Repairs{Addresses: true, Date: true}
		changes, err := r.Complete(m, noon)
		if err != nil {
			checkRefused(t, err, m, h)
			return
		}
		found, err := message.ParseMailboxes(m.Header.Get("From"))
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range found {
			if a.String() != "own@example.com" && !strings.Contains(from, a.Domain) && !strings.Contains(from, "=?") {
				t.Fatalf("%q is sent from %s", from, a)
			}
		}
		sent, err := mail.ParseDate(m.Header.Get("Date"))
		if err != nil || noon.Sub(sent).Abs().Hours() > 7*24 {
			t.Fatalf("%q is sent as of %v, %v", date, sent, err)
		}
		if len(changes) == 0 && string(m.Header[1:].Bytes()) != string(h.Bytes()) {
			t.Fatalf("%q became %q and nobody told", h.Bytes(), m.Header.Bytes())
		}
	})
}
