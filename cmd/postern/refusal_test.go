//go:build linux

package main_test

import (
	"fmt"
	"strings"
	"testing"
)

const sizeLimit = 64 << 10

// refusal is a conversation that ends with a refusal. The dialogue it is given
// has just been greeted. The code of a login that is not base64 (454, where RFC
// 4954 has 501) is go-smtp's own.
type refusal struct {
	of   string
	code int
	talk func(r *relay, d *dialogue) error
}

var refusals = []refusal{
	{"MAIL before STARTTLS", 530, func(r *relay, d *dialogue) error {
		return steps(d.hello, saying(d, "MAIL FROM:<%s>", sender))
	}},
	{"AUTH in the clear", 530, func(r *relay, d *dialogue) error {
		if err := d.hello(); err != nil {
			return err
		}
		if d.offers("AUTH") {
			return fmt.Errorf("AUTH is offered before STARTTLS: %q", d.ehlo)
		}
		return d.auth(user, password)
	}},
	{"MAIL before AUTH", 530, func(r *relay, d *dialogue) error {
		return steps(secure(r, d), d.hello, saying(d, "MAIL FROM:<%s>", sender))
	}},
	{"a wrong password", 535, func(r *relay, d *dialogue) error {
		return steps(secure(r, d), d.hello, func() error { return d.auth(user, upstreamPassword) })
	}},
	{"a login that is not base64", 454, func(r *relay, d *dialogue) error {
		return steps(secure(r, d), d.hello, saying(d, "AUTH PLAIN not*base64"))
	}},
	{"an unknown account", 535, func(r *relay, d *dialogue) error {
		return steps(secure(r, d), d.hello, func() error { return d.auth("nobody", password) })
	}},
	{"a foreign envelope sender", 550, func(r *relay, d *dialogue) error {
		return steps(ready(r, d), saying(d, "MAIL FROM:<boss@elsewhere.example>"))
	}},
	{"the null sender", 550, func(r *relay, d *dialogue) error {
		return steps(ready(r, d), saying(d, "MAIL FROM:<>"))
	}},
	{"a forbidden recipient", 550, func(r *relay, d *dialogue) error {
		return steps(ready(r, d), saying(d, "MAIL FROM:<%s>", sender), saying(d, "RCPT TO:<you@elsewhere.example>"))
	}},
	{"a foreign header From", 550, func(r *relay, d *dialogue) error {
		l := newLetter("Pay this.\r\n")
		l.data = []byte(strings.Replace(string(l.data), "From: Scanner 3F <"+sender, "From: The Boss <boss@elsewhere.example", 1))
		return steps(ready(r, d), submitting(d, l))
	}},
	{"a size that is announced as too large", 552, func(r *relay, d *dialogue) error {
		return steps(ready(r, d), saying(d, "MAIL FROM:<%s> SIZE=%d", sender, sizeLimit+1))
	}},
	{"a size that turns out too large", 552, func(r *relay, d *dialogue) error {
		return steps(ready(r, d), submitting(d, letterOfSize(sizeLimit+1)))
	}},
	{"a bare line feed in the message", 550, func(r *relay, d *dialogue) error {
		return steps(ready(r, d), saying(d, "MAIL FROM:<%s>", sender), saying(d, "RCPT TO:<%s>", recipient), saying(d, "DATA"), func() error {
			if err := d.text.PrintfLine("Subject: smuggled\r\n\r\nbody\n.\nMAIL FROM:<%s>\r\n.", sender); err != nil {
				return err
			}
			_, err := d.reply()
			return err
		})
	}},
}

// steps runs each until one fails.
func steps(all ...func() error) error {
	for _, step := range all {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func saying(d *dialogue, format string, args ...any) func() error {
	return func() error {
		_, err := d.say(format, args...)
		return err
	}
}

func submitting(d *dialogue, l letter) func() error {
	return func() error {
		_, _, err := d.send(l)
		return err
	}
}

func secure(r *relay, d *dialogue) func() error {
	return func() error {
		if err := d.hello(); err != nil {
			return err
		}
		return d.startTLS(trust(r.t, needKeys(r.t).ca))
	}
}

func ready(r *relay, d *dialogue) func() error {
	return func() error {
		return steps(secure(r, d), d.hello, func() error { return d.auth(user, password) })
	}
}

// letterOfSize is a message of that many octets as RFC 1870 counts them.
func letterOfSize(n int) letter {
	l := newLetter("")
	for len(l.data)+60 < n {
		l.data = append(l.data, strings.Repeat("z", 58)+"\r\n"...)
	}
	l.data = append(l.data, strings.Repeat("z", n-len(l.data)-2)+"\r\n"...)
	return l
}

func TestWhatIsRefusedLeavesNothingBehind(t *testing.T) {
	host := needSmarthost(t)
	relay := startRelay(t, host.address, sections{
		"policy": fmt.Sprintf("{limits: {size: %d}}", sizeLimit),
	})
	for _, refusal := range refusals {
		t.Run(refusal.of, func(t *testing.T) {
			await(t, "the queue to be empty", func() bool { return len(relay.queue()) == 0 })
			d, err := dial(relay.address.submission)
			if err != nil {
				t.Fatal(err)
			}
			defer d.close()
			if err := refusal.talk(relay, d); code(err) != refusal.code {
				t.Errorf("got %v, want a %d", err, refusal.code)
			}
			if waiting := relay.queue(); len(waiting) > 0 {
				t.Errorf("it was refused, and queued: %v", waiting)
			}
			mustPass(t, relay, host)
		})
	}
	if n := relay.log.count("accepted"); n != len(refusals) {
		t.Errorf("%d messages were accepted, want the %d good ones", n, len(refusals))
	}
}

func TestAMessageOfExactlyTheLimitPasses(t *testing.T) {
	host := needSmarthost(t)
	relay := startRelay(t, host.address, sections{
		"policy": fmt.Sprintf("{limits: {size: %d}}", sizeLimit),
	})
	d := relay.session()
	// go-smtp refuses what is exactly its limit, so that it is told, and
	// announces, one octet more.
	if !d.offers(fmt.Sprintf("SIZE %d", sizeLimit+1)) {
		t.Errorf("EHLO offers %q, want SIZE %d", d.ehlo, sizeLimit+1)
	}
	l := letterOfSize(sizeLimit)
	if _, _, err := d.send(l); err != nil {
		t.Fatal(err)
	}
	mustBeIntact(t, l, host.mail.await(t, l.id))
}

func TestEveryRecipientGetsOneCopyAndNobodyElse(t *testing.T) {
	host := needSmarthost(t)
	relay := startRelay(t, host.address, nil)
	l := newLetter("For the three of you.\r\n")
	l.to = []string{"ann@mail.example.com", "bob@mail.example.com", "cat@mail.example.com"}
	if _, _, err := relay.session().send(l); err != nil {
		t.Fatal(err)
	}
	await(t, "three copies", func() bool { return len(host.mail.copies(t, l.id)) >= 3 })
	got := map[string]int{}
	for _, a := range host.mail.copies(t, l.id) {
		mustBeIntact(t, l, a)
		got[a.recipient]++
		if strings.Contains(a.received, "for <") {
			t.Errorf("Received tells one recipient of another: %q", a.received)
		}
	}
	for _, to := range l.to {
		if got[to] != 1 {
			t.Errorf("%s got %d copies, want 1", to, got[to])
		}
	}
	if len(got) != 3 {
		t.Errorf("copies went to %v, want only %v", got, l.to)
	}
}

// mustPass sends a good message and waits until it has arrived and the queue is
// empty again.
func mustPass(t testing.TB, r *relay, host *smarthost) {
	t.Helper()
	d, err := logIn(r.address.submission, trust(t, needKeys(t).ca))
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	l := newLetter("All is well.\r\n")
	if _, _, err := d.send(l); err != nil {
		t.Fatalf("a good message: %v", err)
	}
	mustBeIntact(t, l, host.mail.await(t, l.id))
	await(t, "the queue to be empty", func() bool { return len(r.queue()) == 0 })
}
