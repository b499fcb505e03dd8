package submission

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// What is pipelined behind the end of a session is never carried out, whoever
// ended it: go-smtp itself reads on after QUIT.
func TestNothingIsReadBehindTheEndOfASession(t *testing.T) {
	login := "EHLO x\r\nAUTH PLAIN " + b64("\x00printer\x00canary-secret") + "\r\n"
	envelope := "MAIL FROM:<scan@example.com>\r\nRCPT TO:<user@example.com>\r\n"
	behind := login + envelope + "DATA\r\nSubject: late\r\n\r\n.\r\n"
	for name, said := range map[string]string{
		"QUIT":                     "QUIT\r\n",
		"QUIT after a login":       login + "QUIT\r\n",
		"lines that are none":      strings.Repeat("?\r\n", 4),
		"a panic while logging in": "EHLO x\r\nAUTH PLAIN " + b64("\x00panic\x00x") + "\r\n",
		"a panic in DATA":          login + envelope + "DATA\r\nSubject: panic\r\n\r\n.\r\n",
		"a panic in BDAT":          login + envelope + "BDAT 18 LAST\r\nSubject: panic\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			p := open(t, fastKeys)
			logins := strings.Count(said, "AUTH")
			c := p.dial(t, "submissions")
			c.send(said + behind)
			for c.reply() != "" {
			}
			p.close(t) // it also sees whether the Gateway is told once that the client left
			if got := len(p.accepted()); got != 0 {
				t.Errorf("%d messages were accepted behind it", got)
			}
			if got := len(p.logins); got != logins {
				t.Errorf("there were %d logins, and %d before it", got, logins)
			}
			if got := strings.Count(p.log.String(), `"msg":"session failed"`); got > strings.Count(name, "panic") { // the last one may be logged later
				t.Errorf("the log tells of %d panics:\n%s", got, p.log)
			}
		})
	}
}

// deaf is a connection that takes no replies.
type deaf struct{ *tape }

var errDeaf = errors.New("nobody listens")

func (deaf) Write([]byte) (int, error) { return 0, errDeaf }

// Replies that did not leave are gone, and the next ones would be taken for them.
func TestNothingIsReadOnceRepliesAreLost(t *testing.T) {
	g := newGuard(deaf{&tape{in: strings.NewReader("NOOP\r\n"), closed: make(chan struct{})}}, defaultTimeouts)
	if _, err := g.Write(make([]byte, maxUnsent+1)); !errors.Is(err, errDeaf) {
		t.Errorf("the write fails with %v", err)
	}
	if n, err := g.Read(make([]byte, 10)); n != 0 || !errors.Is(err, errDeaf) {
		t.Errorf("%d octets are read, and %v", n, err)
	}
	if err := g.SetReadDeadline(time.Now()); !errors.Is(err, errDeaf) {
		t.Errorf("another command is read: %v", err)
	}
}

// A login that broke off is none: half a password is not held against anybody.
func TestALineThatBreaksOffIsNotHeard(t *testing.T) {
	p := open(t, fastKeys)
	converse(t, p, false, "EHLO x\r\nAUTH PLAIN AHByaW50ZXIAY2FuYXJ5")
	p.close(t)
	if n := len(p.logins); n != 0 {
		t.Errorf("there were %d logins", n)
	}
}

func TestNoTLSBeginsWithinATransaction(t *testing.T) {
	p := openFor(t, Listener{TLS: optionalTLS, Networks: home})
	c := p.dial(t, "special")
	c.expect("220")
	c.ask("EHLO trusted", "250")
	c.envelope()
	c.ask("STARTTLS", "502")
	c.ask("DATA", "354")
	c.ask("Subject: hi\r\n\r\n.", "250 2.0.0 queued")
	c.ask("STARTTLS", "220")
}
