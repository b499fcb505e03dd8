package submission

import (
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// besiege plays an attack on a server that serves a neighbour before, during
// and after it. The neighbour comes from 127.0.0.2 (on macOS that needs
// "ifconfig lo0 alias 127.0.0.2"). Afterwards nothing of the attack is left.
func besiege(t *testing.T, attack func(p *post, neighbour func()), change ...func(*post)) {
	t.Helper()
	p := open(t, change...)
	base := goleak.IgnoreCurrent()
	neighbour := func() {
		t.Helper()
		conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).Dial("tcp", p.Addresses()["submissions"].String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		c := &wireClient{t: t, conn: conn, post: p}
		c.startTLS(nil)
		c.expect("220")
		c.login()
		c.envelope()
		c.ask("DATA", "354")
		c.ask("Subject: neighbour\r\n\r\n.", "250 2.0.0 queued")
		c.ask("QUIT", "221")
	}
	neighbour()
	attack(p, neighbour)
	neighbour()
	p.atRest(t)
	goleak.VerifyNone(t, base)
}

// atRest waits until every client is gone and checks that nothing is left.
func (p *post) atRest(t *testing.T) {
	t.Helper()
	waitIdle(p)
	if n := p.openSpools(); n != 0 {
		t.Fatalf("%d spools are left", n)
	}
}

// fewer is n, or less where the machine is slow or the time short.
func fewer(n int) int {
	if testing.Short() {
		n /= 10
	}
	return max(n/slow, 1)
}

func TestSlowLorisLeavesRoomForOthers(t *testing.T) {
	besiege(t, func(p *post, neighbour func()) {
		var held []*wireClient
		for range defaultLimits.perClient {
			c := p.dial(t, "submission")
			c.expect("220")
			c.send("EHL") // and nothing more
			held = append(held, c)
		}
		for _, c := range held[:3] { // the oldest give way, one for one
			late := p.dial(t, "submission")
			late.expect("220")
			for c.reply() != "" { // go-smtp complains of the half command first
			}
			neighbour()
			defer late.conn.Close()
		}
		for _, c := range held[3:] {
			c.send("O x\r\n")
			c.expect("250")
			c.conn.Close()
		}
	})
}

func TestAFloodOfConnectionsLeavesRoomForOthers(t *testing.T) {
	besiege(t, func(p *post, neighbour func()) {
		const each = 8
		done := make(chan int)
		for range each {
			go func() {
				served := 0
				for range fewer(10_000) / each {
					served += p.knock()
				}
				done <- served
			}()
		}
		for range each {
			neighbour()
		}
		served := 0
		for range each {
			served += <-done
		}
		waitIdle(p)
		if served == 0 {
			t.Error("not one of them was answered")
		}
	}, func(p *post) { p.connections.limits.perClient = 4 })
}

// knock connects, reads what is said at first, and is gone with a reset, which
// leaves the port free. It returns 1 if it was answered.
func (p *post) knock() int {
	conn, err := net.Dial("tcp", p.Addresses()["submission"].String())
	if err != nil {
		return 0
	}
	defer conn.Close()
	conn.(*net.TCPConn).SetLinger(0)
	conn.SetDeadline(time.Now().Add(time.Minute))
	b := make([]byte, 100)
	n, _ := conn.Read(b)
	if n > 3 && (string(b[:3]) == "220" || string(b[:3]) == "421") {
		return 1
	}
	return 0
}

func TestACommandOfAMegabyteEndsItsSessionOnly(t *testing.T) {
	besiege(t, func(p *post, neighbour func()) {
		for _, listener := range []string{"submission", "submissions"} {
			for _, line := range []string{"NOOP ", "MAIL FROM:<", "AUTH PLAIN ", ""} {
				c := p.dial(t, listener)
				c.expect("220")
				c.ask("EHLO x", "250")
				go io.WriteString(c.conn, line+strings.Repeat("A", 1<<20))
				// What came first may be answered as a command of its own.
				for got := c.reply(); !strings.HasPrefix(got, "500 5.4.0 Too long line"); got = c.reply() {
					if got == "" {
						t.Fatalf("the session with a long %q ended without 500", line)
					}
				}
				c.conn.Close()
				neighbour()
			}
		}
	})
}

func TestGarbageEndsItsSessionOnly(t *testing.T) {
	random := rand.NewChaCha8([32]byte{1})
	besiege(t, func(p *post, neighbour func()) {
		for range fewer(500) {
			garbage := make([]byte, 1+random.Uint64()%20_000)
			random.Read(garbage)
			for _, listener := range []string{"submission", "submissions"} {
				conn, err := net.Dial("tcp", p.Addresses()[listener].String())
				if err != nil {
					t.Fatal(err)
				}
				conn.SetDeadline(time.Now().Add(time.Minute))
				conn.Write(garbage)
				conn.(*net.TCPConn).CloseWrite()
				io.Copy(io.Discard, conn)
				conn.Close()
			}
			c := p.ready(t)
			go func() {
				c.conn.Write(garbage)
				c.conn.(*tls.Conn).CloseWrite()
			}()
			io.Copy(io.Discard, c.conn)
			c.conn.Close()
		}
		if n := len(p.accepted()); n != 1 {
			t.Errorf("%d messages were accepted, want that of the neighbour", n)
		}
	})
}

func TestAMessageOctetByOctetArrives(t *testing.T) {
	text := "Subject: hi\r\n\r\n" + strings.Repeat("..a line\r\n", 200)
	for name, row := range map[string]struct{ wire, want string }{
		"DATA": {"DATA\r\n" + text + ".\r\n", strings.ReplaceAll(text, "\n..", "\n.")},
		"BDAT": {fmt.Sprintf("BDAT %d LAST\r\n%s", len(text), text), text},
	} {
		t.Run(name, func(t *testing.T) {
			besiege(t, func(p *post, neighbour func()) {
				c := p.ready(t)
				c.envelope()
				for i := range len(row.wire) {
					c.send(row.wire[i : i+1])
				}
				if c.reply(); name == "DATA" {
					c.expect("250 2.0.0 queued")
				}
				c.ask("QUIT", "221")
				messages := p.accepted()
				if got := whole(t, messages[len(messages)-1]); got != row.want {
					t.Errorf("got %d octets, want %d", len(got), len(row.want))
				}
			})
		})
	}
}
