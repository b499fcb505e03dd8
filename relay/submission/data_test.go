package submission

import (
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// Sequences that some servers take for the end of the message; what follows
// would be a second message, from an authenticated session.
var smuggling = []struct{ name, octets, finding string }{
	{"LF . LF", "\n.\n", "an LF without CR"},
	{"LF . CRLF", "\n.\r\n", "an LF without CR"},
	{"CR . CR", "\r.\r", "a CR without LF"},
	{"CR . CRLF", "\r.\r\n", "a CR without LF"},
	{"CR . LF", "\r.\n", "a CR without LF"},
	{"LF . CR", "\n.\r", "an LF without CR"},
	{"CRLF . LF", "\r\n.\n", "an LF without CR"},
	{"CRLF CR . CRLF", "\r\n\r.\r\n", "a CR without LF"},
	{"CRLF . NUL CRLF", "\r\n.\x00\r\n", "a NUL octet"},
	{"CRLF NUL . CRLF", "\r\n\x00.\r\n", "a NUL octet"},
	{"CR CRLF . CRLF", "\r\r\n.\r\nx", "a CR without LF"},
	{"a bare CR", "a\rb", "a CR without LF"},
	{"a bare LF", "a\nb", "an LF without CR"},
	{"a NUL", "a\x00b", "a NUL octet"},
}

const smuggled = "MAIL FROM:<boss2@example.com>\r\nRCPT TO:<victim@example.com>\r\nDATA\r\nSubject: smuggled\r\n\r\nevil\r\n"

func TestSequencesThatSmuggleAreRefusedAsOneMessage(t *testing.T) {
	p := open(t)
	for _, row := range smuggling {
		for place, before := range map[string]string{"header": "Subject: outer\r\nX-Note: line", "body": "Subject: outer\r\n\r\nline"} {
			text := before + row.octets + smuggled
			t.Run("DATA with "+row.name+" in the "+place, func(t *testing.T) {
				c := p.ready(t)
				c.envelope()
				c.ask("DATA", "354")
				c.send(text + "\r\n.\r\n")
				if got := c.expect("550 5.6.0 line "); !strings.Contains(got, row.finding) {
					t.Errorf("the reply %q does not say %q", got, row.finding)
				}
				c.ask("NOOP", "250")
			})
			t.Run("BDAT with "+row.name+" in the "+place, func(t *testing.T) {
				c := p.ready(t)
				c.envelope()
				c.send(fmt.Sprintf("BDAT %d LAST\r\n%s", len(text), text))
				if got := c.expect("550 5.6.0 line "); !strings.Contains(got, row.finding) {
					t.Errorf("the reply %q does not say %q", got, row.finding)
				}
				c.ask("NOOP", "250")
			})
		}
	}
	t.Run("BDAT that ends in CR", func(t *testing.T) {
		c := p.ready(t)
		c.envelope()
		c.ask("BDAT 18 LAST\r\nSubject: a\r\n\r\nabc\r", "550 5.6.0 line 3 ")
	})
	for name, octets := range map[string]string{"CRLF . CR": "\r\n.\r", "CRLF . CR CRLF": "\r\n.\r\r\n"} {
		t.Run(name+" is never the end of a message", func(t *testing.T) {
			c := p.ready(t)
			c.envelope()
			c.ask("DATA", "354")
			c.send("Subject: outer\r\n\r\nline" + octets + smuggled + ".\r\n")
			c.reply()
			c.ask("NOOP", "250")
			for _, m := range p.accepted() {
				if m.From.Local != "scan" || m.To[0].Address.Local != "user" {
					t.Errorf("a smuggled message from %s to %v was accepted", m.From, m.To)
				}
			}
		})
	}
	t.Run("BDAT with CRLF . CR is refused", func(t *testing.T) {
		c := p.ready(t)
		c.envelope()
		text := "Subject: outer\r\n\r\nline\r\n.\r" + smuggled
		c.send(fmt.Sprintf("BDAT %d LAST\r\n%s", len(text), text))
		c.expect("550 5.6.0 line ")
	})
	for _, m := range p.accepted() {
		if m.Header.Get("Subject") == "smuggled" {
			t.Error("a smuggled message was accepted")
		}
	}
}

// Every way a message sent with BDAT may end before its end, or seem to.
func TestBDATIsAcceptedOnlyWhole(t *testing.T) {
	body := strings.Repeat("0123456789abcdef\r\n", 2000)
	text := "Subject: hi\r\n\r\n" + body
	last := fmt.Sprintf("BDAT %d LAST\r\n", len(text))
	rows := []struct {
		name  string
		play  func(c *wireClient)
		whole bool
	}{
		{"whole", func(c *wireClient) {
			c.send(last + text)
			c.expect("250 2.0.0 queued as ")
			c.ask("NOOP", "250")
		}, true},
		{"cut short, then close_notify", func(c *wireClient) {
			c.send(last + text[:len(text)/2])
			c.conn.(*tls.Conn).CloseWrite()
			c.reply()
		}, false},
		{"cut short before its first octet, then close_notify", func(c *wireClient) {
			c.send(last)
			c.conn.(*tls.Conn).CloseWrite()
			c.reply()
		}, false},
		{"cut short, then the connection ends without close_notify", func(c *wireClient) {
			c.send(last + text[:len(text)/2])
			c.conn.(*tls.Conn).NetConn().(*net.TCPConn).CloseWrite()
			c.reply()
		}, false},
		{"cut short, then reset", func(c *wireClient) {
			c.send(last + text[:len(text)/2])
			tcp := c.conn.(*tls.Conn).NetConn().(*net.TCPConn)
			tcp.SetLinger(0)
			tcp.Close()
		}, false},
		{"cut short in the second chunk", func(c *wireClient) {
			c.ask("BDAT 15\r\n"+text[:13], "250")
			c.send("BDAT 100 LAST\r\n0123")
			c.conn.(*tls.Conn).CloseWrite()
			c.reply()
		}, false},
		{"closed between two chunks", func(c *wireClient) {
			c.ask("BDAT 15\r\n"+text[:13], "250")
			c.conn.(*tls.Conn).CloseWrite()
			c.reply()
		}, false},
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, row := range rows {
			t.Run(tls.VersionName(version)+" "+row.name, func(t *testing.T) {
				p := open(t)
				c := p.readyOver(t, version)
				c.envelope()
				row.play(c)
				c.conn.Close()
				p.close(t) // now nothing can be accepted any more
				if got := len(p.accepted()) == 1; got != row.whole {
					t.Errorf("accepted is %v, want %v\n%s", got, row.whole, p.log)
				}
			})
		}
	}
}

// readyOver is ready with a TLS version.
func (p *post) readyOver(t testing.TB, version uint16) *wireClient {
	t.Helper()
	conn, err := net.Dial("tcp", p.Addresses()["submissions"].String())
	if err != nil {
		t.Fatal(err)
	}
	c := &wireClient{t: t, conn: conn, post: p}
	t.Cleanup(func() { c.conn.Close() })
	c.startTLS(func(cfg *tls.Config) { cfg.MinVersion, cfg.MaxVersion = version, version })
	c.expect("220")
	c.login()
	return c
}

// What is pipelined behind BDAT either is served or finds the connection
// closed; it never spoils the message, and the message never spoils it.
func TestBDATWithCommandsBehindItIsWhole(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, size := range []int{100, 4000, 4096, 8192, 16000, 16384, 40000} {
			t.Run(fmt.Sprintf("%s, %d octets", tls.VersionName(version), size), func(t *testing.T) {
				p := open(t)
				c := p.readyOver(t, version)
				c.envelope()
				text := "Subject: hi\r\n\r\n" + strings.Repeat("x", size) + "\r\n"
				c.send(fmt.Sprintf("BDAT %d LAST\r\n%sNOOP\r\nQUIT\r\n", len(text), text))
				c.expect("250 2.0.0 queued as ")
				if next := c.reply(); next != "" && !strings.HasPrefix(next, "250 2.0.0 I have") {
					t.Errorf("NOOP was answered with %q", next)
				}
				if got := p.accepted(); len(got) != 1 || whole(t, got[0]) != text {
					t.Errorf("%d messages were accepted, or another than was sent", len(got))
				}
			})
		}
	}
}

// A client that stalls within a message and then sends what looks like commands
// must not find them carried out: it may be passing on what somebody else wrote.
func TestWhatFollowsATimeoutIsNeverReadAsCommands(t *testing.T) {
	half := "Subject: outer\r\n\r\nhalf\r\n"
	for _, row := range []struct{ name, begin, before, told string }{
		{"DATA", "DATA\r\n" + half, "354", "421"},
		{"BDAT", "BDAT 5000 LAST\r\n" + half, "", "421"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := open(t, func(p *post) { p.timeouts.block, p.timeouts.command = 50*time.Millisecond, time.Second })
			c := p.ready(t)
			c.envelope()
			c.send(row.begin)
			if row.before != "" {
				c.expect(row.before)
			}
			if got := c.expect(row.told); strings.Contains(got, "127.0.0.1") {
				t.Errorf("the reply %q tells addresses", got)
			}
			c.conn.Write([]byte(smuggled + ".\r\n"))
			for got := c.reply(); got != ""; got = c.reply() {
				if !strings.HasPrefix(got, "421") {
					t.Errorf("got %q, want nothing but 421", got)
				}
			}
			p.close(t)
			if n := len(p.accepted()); n != 0 {
				t.Errorf("%d messages were accepted", n)
			}
		})
	}
}

// The same for a chunk that go-smtp throws away: the client is told nothing more,
// so it tries until something is said.
func TestWhatFollowsATimeoutInARefusedChunkIsNeverReadAsCommands(t *testing.T) {
	p := open(t, func(p *post) { p.timeouts.command = time.Second })
	c := p.ready(t)
	c.ask("BDAT 4000000000 LAST", "502")
	replied := make(chan string, 1)
	go func() { replied <- c.reply() }()
	for {
		select {
		case got := <-replied:
			if got != "" && !strings.HasPrefix(got, "421") {
				t.Errorf("got %q", got)
			}
			return
		default:
			c.conn.Write([]byte("NOOP\r\n"))
		}
	}
}

func TestAStalledMessageIsToldWhy(t *testing.T) {
	p := open(t, func(p *post) { p.timeouts.block = 50 * time.Millisecond })
	c := p.ready(t)
	c.envelope()
	c.ask("DATA", "354")
	c.send("Subject: hi\r\n\r\n")
	c.expect("421 4.4.2 timed out")
	c.ended()

	c = p.ready(t)
	c.envelope()
	c.send("DATA\r\nSubject: hi\r\n\r\nends in LF only\n.\n")
	c.expect("354")
	c.expect("550 5.6.0 line 3 of the message holds an LF without CR")
	c.ended()
}

func TestAMessageMayNotTakeForEver(t *testing.T) {
	p := open(t, func(p *post) {
		p.timeouts.message = 100 * time.Millisecond
		p.config.MaxSize = 0
	})
	c := p.ready(t)
	c.envelope()
	c.ask("DATA", "354")
	c.send("\r\n")
	replied := make(chan string, 1)
	go func() { replied <- c.reply() }()
	for {
		select {
		case got := <-replied:
			if !strings.HasPrefix(got, "421 4.4.2") {
				t.Errorf("got %q, want 421", got)
			}
			return
		default:
			c.conn.Write([]byte("a line each time\r\n"))
		}
	}
}

func TestLongLines(t *testing.T) {
	long := strings.Repeat("x", 40_000)
	t.Run("one of 40,000 octets is refused in DATA with a reply that is read", func(t *testing.T) {
		p := open(t, func(p *post) { p.timeouts.linger = time.Minute })
		c := p.ready(t)
		c.envelope()
		c.ask("DATA", "354")
		// A client that finds the connection reset does not read the reply.
		if _, err := c.conn.Write([]byte("Subject: hi\r\n\r\n" + strings.Repeat(long, 100) + "\r\n.\r\n")); err != nil {
			t.Error(err)
		}
		c.expect("550 5.6.0 a line of the message is longer than 32768 octets")
		c.conn.Close()
	})
	t.Run("in BDAT it is accepted", func(t *testing.T) {
		p := open(t)
		c := p.ready(t)
		c.envelope()
		c.send(fmt.Sprintf("BDAT %d LAST\r\nSubject: hi\r\n\r\n%s\r\n", len(long)+17, long))
		c.expect("250")
	})
	t.Run("AUTH may take 22 KB", func(t *testing.T) {
		p := open(t)
		c := p.dial(t, "submissions")
		c.expect("220")
		c.ask("EHLO x", "250")
		c.ask("AUTH PLAIN "+b64("\x00printer\x00"+strings.Repeat("p", 16<<10)), "535")
	})
	t.Run("a command of 40,000 octets ends the session", func(t *testing.T) {
		p := open(t)
		c := p.dial(t, "submission")
		c.expect("220")
		c.ask("NOOP "+long, "500")
		c.ended()
	})
}

// The body must pass through: what a session holds of it does not grow.
func TestEightLargeMessagesAtOnceAreStreamed(t *testing.T) {
	const size, parallel = 20 << 20 / slow, 8
	p := open(t)
	block := strings.Repeat(strings.Repeat("y", 76)+"\r\n", 1000)
	done := make(chan string, parallel)
	for i := range parallel {
		c := p.ready(t)
		c.envelope()
		c.conn.SetDeadline(time.Time{})
		go func() {
			if i%2 == 0 {
				c.conn.Write([]byte("DATA\r\nSubject: hi\r\n\r\n"))
				for range size / len(block) {
					c.conn.Write([]byte(block))
				}
				c.conn.Write([]byte(".\r\n"))
				c.reply()
			} else {
				n := size / len(block) * len(block)
				fmt.Fprintf(c.conn, "BDAT %d LAST\r\nSubject: hi\r\n\r\n", n+15)
				for range size / len(block) {
					c.conn.Write([]byte(block))
				}
			}
			done <- c.reply()
		}()
	}
	for range parallel {
		if got := <-done; !strings.HasPrefix(got, "250 2.0.0 queued") {
			t.Error(got)
		}
	}
	if p.largest > readAhead {
		t.Errorf("%d octets were held of a body, want at most %d", p.largest, readAhead)
	}
}
