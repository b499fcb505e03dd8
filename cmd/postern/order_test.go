//go:build linux

package main_test

import (
	"strings"
	"testing"
)

// order gives an order about messages, which must end with that exit code (-1: any), and
// returns what was said.
func (r *relay) order(want int, args ...string) string {
	r.t.Helper()
	out, errs, code := postern(r.t, append([]string{"queue", "--config", r.config}, args...)...)
	if code != want && want >= 0 {
		r.t.Fatalf("queue %s: exit code %d, want %d: %s%s", strings.Join(args, " "), code, want, out, errs)
	}
	return out + errs
}

// Who runs the relay holds, releases, drops and hurries what waits, and the
// history and the log name who did it and why.
func TestAPersonOrdersWhatBecomesOfMail(t *testing.T) {
	host := needSmarthost(t)
	gate := newGate(t, host.address)
	relay := startRelay(t, gate.address, nil)
	d := relay.session()
	var ids []string
	var letters []letter
	for range 3 {
		l := newLetter("Please wait.\r\n")
		id, _, err := d.send(l)
		if err != nil {
			t.Fatal(err)
		}
		ids, letters = append(ids, id), append(letters, l)
	}
	relay.order(0, "hold", ids[0], "--reason", "ask the boss first")
	if said := relay.order(1, "drop", ids[1]); !strings.Contains(said, "--reason") {
		t.Errorf("a drop without a reason said %q", said)
	}
	relay.order(0, "drop", ids[1], "--reason", "sent twice\x1b[31m")
	if said := relay.order(1, "retry", ids[0], ids[1], "no-such-id"); !strings.Contains(said, "held") || !strings.Contains(said, "dropped already") || !strings.Contains(said, "no such message") {
		t.Errorf("retry said %q", said)
	}
	if said := relay.order(1, "retry"); !strings.Contains(said, "--all") {
		t.Errorf("an order about nothing said %q", said)
	}
	gate.let()
	relay.order(0, "retry", "--all")
	mustBeIntact(t, letters[2], host.mail.await(t, letters[2].id))
	relay.order(0, "release", "--state", "held")
	mustBeIntact(t, letters[0], host.mail.await(t, letters[0].id))
	await(t, "the queue to be empty", func() bool { return len(relay.queue()) == 0 })
	if n := len(host.mail.copies(t, letters[1].id)); n != 0 {
		t.Errorf("what was dropped arrived %d times", n)
	}
	out, _, _ := postern(t, "queue", "show", ids[1], "--config", relay.config)
	if !strings.Contains(out, "dropped") || !strings.Contains(out, "by root: sent twice") || strings.Contains(out, "\x1b") {
		t.Errorf("queue show says\n%s", out)
	}
	if story := relay.trace(0, ids[1]); strings.Count(story, "by root: sent twice") != 1 || !strings.Contains(story, ", EHLO") {
		t.Errorf("the story does not say once why it was dropped, and who gave it to us:\n%s", story)
	}
	if !relay.log.contains(`"do":"drop"`) || !relay.log.contains("ask the boss first") {
		t.Errorf("the log does not tell of the orders:\n%s", relay.log.tail(20))
	}
	relay.stop()
	if said := relay.order(1, "retry", ids[0]); !strings.Contains(said, "no relay runs") {
		t.Errorf("without a relay it said %q", said)
	}
}
