package submission

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"time"
)

// pausing is a client's connection that stops before its n-th write.
type pausing struct {
	net.Conn
	before int
	stop   chan struct{} // closed when it has stopped
	goOn   chan struct{}
}

func (p *pausing) Write(b []byte) (int, error) {
	if p.before--; p.before == 0 {
		close(p.stop)
		<-p.goOn
	}
	return p.Conn.Write(b)
}

// Whoever stalls within a handshake keeps nobody else from theirs, and goes on
// when it likes.
func TestAStalledHandshakeKeepsNobodyWaiting(t *testing.T) {
	for name, cfg := range map[string]func(*tls.Config){
		"TLS 1.3":      func(*tls.Config) {},
		"TLS 1.2":      func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 },
		"TLS 1.0 keys": old(tls.VersionTLS10, tls.TLS_RSA_WITH_AES_128_CBC_SHA),
	} {
		t.Run(name, func(t *testing.T) {
			p := open(t, onePlace, listening(Listener{TLS: "implicit", Networks: home, Profile: "old"}, Profile{Name: "old", MinTLS: "1.0", RSAKeyExchange: true}))
			c := p.dial(t, "special")
			slow := &pausing{Conn: c.conn, before: 2, stop: make(chan struct{}), goOn: make(chan struct{})}
			c.conn = slow
			done := make(chan error, 1)
			config := c.tlsConfig()
			cfg(config)
			conn := tls.Client(slow, config)
			go func() { done <- conn.Handshake() }()
			<-slow.stop // it has our first flight
			for range 3 {
				p.ready(t).ask("QUIT", "221")
			}
			close(slow.goOn)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			c.conn = conn
			c.expect("220")
			c.ask("QUIT", "221")
		})
	}
}

// onePlace lets one handshake compute at once.
func onePlace(p *post) { p.handshakes = make(gate, 1) }

// No more compute at once than the gate lets in, and those who wait have the time
// of a handshake.
func TestHandshakesComputeInTurns(t *testing.T) {
	p := open(t, onePlace, func(p *post) {
		p.timeouts.handshake = 50 * time.Millisecond
		p.handshakes <- struct{}{} // another is computing
	})
	conn, err := net.Dial("tcp", p.Addresses()["submissions"].String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if tls.Client(conn, (&wireClient{post: p}).tlsConfig()).Handshake() == nil {
		t.Fatal("it did not wait")
	}
	p.close(t)
	if !strings.Contains(p.log.String(), "tls failed") || len(p.handshakes) != 1 {
		t.Errorf("%d places are taken, and the log says\n%s", len(p.handshakes), p.log)
	}
}

// However a handshake ends, its place is free afterwards.
func TestAHandshakeThatFailedLeavesItsPlace(t *testing.T) {
	p := open(t, onePlace)
	for range 3 {
		c := p.dial(t, "submission")
		c.expect("220")
		c.ask("STARTTLS", "220")
		c.send("no TLS\r\n")
		c.reply()
		p.ready(t).ask("QUIT", "221")
	}
	waitIdle(p)
	if n := len(p.handshakes); n != 0 {
		t.Errorf("%d places are taken", n)
	}
}
