package submission

import (
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
)

// brokenOff is the dialogues that are broken off, after the greeting. The last
// but one line ends the message.
var brokenOff = map[string][]string{
	"DATA": {
		"EHLO x\r\n", "AUTH PLAIN " + b64("\x00printer\x00canary-secret") + "\r\n",
		"MAIL FROM:<scan@example.com>\r\n", "RCPT TO:<user@example.com>\r\n",
		"DATA\r\n", "Subject: hi\r\n\r\nbody\r\n.\r\n", "QUIT\r\n",
	},
	"BDAT": {
		"EHLO x\r\n", "AUTH PLAIN " + b64("\x00printer\x00canary-secret") + "\r\n",
		"MAIL FROM:<scan@example.com>\r\n", "RCPT TO:<user@example.com>\r\n",
		"BDAT 15\r\nSubject: hi\r\n\r\n", "BDAT 6 LAST\r\nbody\r\n", "QUIT\r\n",
	},
}

// step is how many octets lie between two places where a dialogue is broken off.
func step() int {
	if testing.Short() || slow > 1 {
		return 7
	}
	return 1
}

// fastKeys makes handshakes cheap.
func fastKeys(p *post) { slices.Reverse(p.config.TLS.Certificates) }

// A client that ends the stream properly, after any octet of the dialogue, was
// told 250 exactly if its message was accepted.
func TestADialogueBrokenOffAnywhereIsAcceptedOnlyIfTold(t *testing.T) {
	for name, lines := range brokenOff {
		t.Run(name, func(t *testing.T) {
			all := strings.Join(lines, "")
			end := len(all) - len("QUIT\r\n")
			besiege(t, func(p *post, _ func()) {
				for i := 0; i <= len(all); i += step() {
					before := len(p.accepted())
					told := strings.Count(converse(t, p, false, all[:i]), "250 2.0.0 queued as ")
					p.atRest(t)
					if got := len(p.accepted()) - before; got != told || i < end && got > 0 {
						t.Errorf("broken off after %q: %d accepted, %d told", all[:i], got, told)
					}
				}
			}, fastKeys)
		})
	}
}

// A client whose connection ends after any octet on the wire - in clear, within
// the handshake, within a TLS record - has a message accepted only if the last
// octet of it had left.
func TestAConnectionBrokenOffAnywhereLeavesNothing(t *testing.T) {
	for name, lines := range brokenOff {
		for how, reset := range map[string]bool{"closed": false, "reset": true} {
			t.Run(name+", "+how, func(t *testing.T) {
				besiege(t, func(p *post, _ func()) {
					for octets, finished := 0, false; !finished; octets += step() {
						before := len(p.accepted())
						var sent bool
						sent, finished = p.playUntil(t, lines, octets, reset)
						p.atRest(t)
						got := len(p.accepted()) - before
						if got > 1 || got == 1 && !sent || got == 0 && finished {
							t.Fatalf("broken off after %d octets: %d accepted, sent is %v", octets, got, sent)
						}
					}
				}, fastKeys)
			})
		}
	}
}

// playUntil plays the dialogue after STARTTLS, each line after the reply to the
// one before, until so many octets have left. Sent is whether the end of the
// message had left, finished whether the dialogue came to its end.
func (p *post) playUntil(t *testing.T, lines []string, octets int, reset bool) (sent, finished bool) {
	t.Helper()
	tcp, err := net.Dial("tcp", p.Addresses()["submission"].String())
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	if reset {
		tcp.(*net.TCPConn).SetLinger(0)
	}
	cut := &cutter{Conn: tcp, left: octets}
	c := &wireClient{t: t, conn: cut, post: p}
	for _, line := range []string{"EHLO x\r\n", "STARTTLS\r\n"} {
		c.reply()
		if c.send(line); cut.broken {
			return false, false
		}
	}
	c.reply()
	cfg := c.tlsConfig()
	cfg.CurvePreferences = []tls.CurveID{tls.X25519} // a short ClientHello
	c.conn, c.in = tls.Client(cut, cfg), nil
	for i, line := range lines {
		if c.send(line); cut.broken {
			return sent, false
		}
		sent = sent || i == len(lines)-2
		c.reply()
	}
	return sent, true
}

// cutter ends a connection after so many octets.
type cutter struct {
	net.Conn
	left   int
	broken bool
}

func (c *cutter) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b[:min(len(b), c.left)])
	if c.left -= n; n < len(b) {
		c.broken = true
		c.Conn.Close()
		return n, errors.New("cut")
	}
	return n, err
}

// A first chunk of no octets does not wait for the session to take note of it,
// so what is pipelined behind it may be faster.
func TestAnEmptyChunkNeverMixesWithTheNextMessage(t *testing.T) {
	p := open(t, fastKeys)
	said := "MAIL FROM:<scan@example.com>\r\nRCPT TO:<user@example.com>\r\nBDAT 0\r\nRSET\r\n" +
		"MAIL FROM:<scan@example.com>\r\nRCPT TO:<other@example.com>\r\nBDAT 13\r\nSubject: hi\r\nBDAT 2 LAST\r\n\r\nNOOP\r\n"
	for range fewer(1000) {
		c := p.ready(t)
		before := len(p.accepted())
		c.send(said)
		told := 0
		for got := c.reply(); got != "" && !strings.Contains(got, "nothing"); got = c.reply() {
			told += strings.Count(got, "queued as")
		}
		c.conn.Close()
		p.atRest(t)
		if got := len(p.accepted()) - before; got != told {
			t.Fatalf("%d were accepted, %d told so", got, told)
		}
	}
}
