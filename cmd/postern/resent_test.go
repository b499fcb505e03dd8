//go:build linux

package main_test

import (
	"net/netip"
	"strings"
	"testing"
)

// A device that waited too long for its 250 sends again, with a new date and
// message id. It is told the id of the first, and the scan arrives once; without
// the window, and when another page is scanned, it arrives as often as it is sent.
func TestAScanSentAgainArrivesOnce(t *testing.T) {
	host := needSmarthost(t)
	impatient := strings.TrimSuffix(account("impatient", needHash(t)), "}\n") + ", resend_window: 10m}\n"
	relay := startRelay(t, host.address, sections{"accounts": "\n" + account(user, needHash(t)) + impatient})
	page := strings.Repeat("a large page\r\n", 10_000)
	again := func(l letter) letter {
		l.data = []byte(strings.Replace(string(l.data), "09:00:00", "09:02:00", 1))
		return l
	}
	send := func(account string, l letter) string {
		t.Helper()
		d := relay.session()
		if account != user {
			var err error
			if d, err = logInFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), relay.address.submission, trust(t, needKeys(t).ca), account); err != nil {
				t.Fatal(err)
			}
		}
		defer d.close()
		id, _, err := d.send(l)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	scan, other, patient := newLetter(page), newLetter("another "+page), newLetter(page)
	first := send("impatient", scan)
	if id := send("impatient", again(scan)); id != first {
		t.Errorf("the scan sent again is %s, the first was %s", id, first)
	}
	if id := send("impatient", other); id == first {
		t.Error("another scan is taken for the first")
	}
	if a, b := send(user, patient), send(user, patient); a == b {
		t.Error("an account without a window has one")
	}
	await(t, "all to arrive", func() bool {
		return len(host.mail.copies(t, patient.id)) == 2 && len(host.mail.copies(t, other.id)) == 1 && len(relay.queue()) == 0
	})
	if n := len(host.mail.copies(t, scan.id)); n != 1 {
		t.Errorf("the scan arrived %d times", n)
	}
	if shown := relay.show(first); !strings.Contains(shown, "sent again") {
		t.Errorf("its history does not say that it was sent again:\n%s", shown)
	}
	if n := relay.number("postern_submission_resent_total"); n != 1 {
		t.Errorf("%v were counted as sent again", n)
	}
}
