package submission

import (
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	proxyproto "github.com/pires/go-proxyproto"
)

// header is a header of the PROXY protocol for a client at 192.0.2.7:4711.
func header(t *testing.T, version byte) string {
	t.Helper()
	h := proxyproto.HeaderProxyFromAddrs(version, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4711}, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 587})
	b, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The client is who the balancer says, everywhere.
func TestABalancerTellsWhoseAConnectionIs(t *testing.T) {
	for version := byte(1); version <= 2; version++ {
		for _, mode := range []string{startTLS, implicitTLS} {
			t.Run(mode+" version "+string('0'+version), func(t *testing.T) {
				p := openFor(t, Listener{TLS: mode, ProxyProtocol: networks(t, "127.0.0.1"), Networks: networks(t, "192.0.2.0/24")})
				c := p.dial(t, "special")
				c.send(header(t, version))
				if mode == implicitTLS {
					c.startTLS(nil)
				}
				c.expect("220")
				if mode == startTLS {
					c.ask("EHLO x", "250")
					c.ask("STARTTLS", "220")
					c.startTLS(nil)
				}
				c.login()
				c.envelope()
				c.ask("DATA", "354")
				c.ask("Subject: hi\r\n\r\n.", "250 2.0.0 queued")
				c.ask("MAIL FROM:<boss@example.com>", "550")
				c.ask("QUIT", "221")
				if got := p.accepted()[0].Client.Address.String(); got != "192.0.2.7:4711" {
					t.Errorf("the message is from %s", got)
				}
				p.close(t)
				if !strings.Contains(p.log.String(), `"peer":"192.0.2.7:4711"`) || p.visits[0].Address.String() != "192.0.2.7:4711" {
					t.Errorf("the log, or the Gateway, was told of another:\n%s", p.log)
				}
			})
		}
	}
}

func TestClientsBehindABalancerAreLimitedOneByOne(t *testing.T) {
	p := open(t, listening(Listener{TLS: startTLS, ProxyProtocol: networks(t, "127.0.0.1")}), func(p *post) { p.connections.limits = limits{total: 100, perClient: 1} })
	dial := func(client string) *wireClient {
		c := p.dial(t, "special")
		c.send("PROXY TCP4 " + client + " 192.0.2.1 4711 587\r\n")
		c.expect("220")
		return c
	}
	first, neighbour := dial("192.0.2.7"), dial("192.0.2.8")
	second := dial("192.0.2.7")
	first.expect("421 4.4.2") // it gives way
	neighbour.ask("NOOP", "250")
	second.ask("NOOP", "250")
}

// Connections whose balancer says nothing are counted too, and leave room for
// others.
func TestConnectionsWithoutAHeaderAreLimited(t *testing.T) {
	p := open(t, listening(Listener{TLS: startTLS, ProxyProtocol: networks(t, "127.0.0.1")}), func(p *post) {
		p.connections.limits = limits{total: 4, perClient: 4}
		p.timeouts.proxy = time.Hour
	})
	first, second := p.dial(t, "special"), p.dial(t, "special")
	for p.connections.waiting() < 2 {
		runtime.Gosched()
	}
	p.dial(t, "special").ended()
	p.dial(t, "submission").expect("220")
	p.dial(t, "submission").expect("220")
	p.dial(t, "submission").expect("421 4.7.0 too many connections")
	first.send(header(t, 1))
	first.expect("220")
	second.conn.Close()
	p.close(t)
	if !strings.Contains(p.log.String(), "too many connections wait for theirs") || p.connections.waiting() != 0 {
		t.Errorf("%d are still not known, and the log says\n%s", p.connections.waiting(), p.log)
	}
}

// waiting is how many connections have not told whose they are.
func (c *connections) waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.unknown
}

func TestWhoIsOutsideTheNetworksIsTurnedAwayBehindABalancer(t *testing.T) {
	p := openFor(t, Listener{TLS: startTLS, ProxyProtocol: networks(t, "127.0.0.1"), Networks: networks(t, "127.0.0.0/8")})
	c := p.dial(t, "special")
	c.send(header(t, 2))
	c.expect("554 5.7.1 192.0.2.7 may not connect here")
	c.ended()
}

// A balancer has to say whose each connection is.
func TestABalancerMustSendAHeader(t *testing.T) {
	for name, sent := range map[string]string{
		"none":                     "EHLO x\r\n",
		"one that is none":         "PROXY me\r\n",
		"one of another kind":      "PROXY TCP4 192.0.2.7 192.0.2.1 4711\r\n",
		"half of one":              "PROXY TCP4 192.",
		"one of a socket":          "\r\n\r\n\x00\r\nQUIT\n\x21\x31\x00\xd8" + strings.Repeat("/", 216),
		"one that is far too long": "PROXY TCP4 " + strings.Repeat("1", 1000),
	} {
		t.Run(name, func(t *testing.T) {
			p := open(t, listening(Listener{TLS: startTLS, ProxyProtocol: networks(t, "127.0.0.1")}), func(p *post) { p.timeouts.proxy = 100 * time.Millisecond })
			c := p.dial(t, "special")
			c.send(sent)
			c.ended()
			p.close(t)
			if !strings.Contains(p.log.String(), `"msg":"connection refused","listener":"special","peer":"127.0.0.1:`) {
				t.Errorf("the log says\n%s", p.log)
			}
		})
	}
	t.Run("silence, until the door is shut", func(t *testing.T) {
		p := open(t, listening(Listener{TLS: startTLS, ProxyProtocol: networks(t, "127.0.0.1")}), func(p *post) { p.timeouts.proxy = time.Hour })
		c := p.dial(t, "special")
		p.close(t)
		c.ended()
	})
	t.Run("its own health check is a client like others", func(t *testing.T) {
		p := openFor(t, Listener{TLS: startTLS, ProxyProtocol: networks(t, "127.0.0.1")})
		c := p.dial(t, "special")
		c.send("PROXY UNKNOWN\r\n")
		c.expect("220")
		c.ask("QUIT", "221")
	})
}

// Nobody but a balancer may say who it is.
func TestAHeaderOfAStrangerIsRefused(t *testing.T) {
	for version := byte(1); version <= 2; version++ {
		for _, listener := range []string{"submission", "special"} {
			t.Run(listener+" version "+string('0'+version), func(t *testing.T) {
				p := openFor(t, Listener{TLS: implicitTLS, ProxyProtocol: networks(t, "192.0.2.1")})
				c := p.dial(t, listener)
				if listener == "submission" {
					c.expect("220")
				}
				c.send(header(t, version) + "EHLO x\r\n")
				for c.reply() != "" {
				}
				p.close(t)
				if !strings.Contains(p.log.String(), "a PROXY header from a stranger") || strings.Contains(p.log.String(), "192.0.2.7") ||
					strings.Count(p.log.String(), `"msg":"tls failed"`) != 1 {
					t.Errorf("the log says\n%s", p.log)
				}
			})
		}
	}
}
