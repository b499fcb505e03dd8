package submission

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a net.Listener in memory, for tests in which time is not real.
type pipes struct {
	ends   chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.ends:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// dial is a client of p that is logged in.
func (p *pipes) dial(t *testing.T, on *post) *wireClient {
	here, there := net.Pipe()
	p.ends <- there
	c := &wireClient{t: t, conn: here, post: on}
	t.Cleanup(func() { here.Close() })
	c.startTLS(nil)
	c.expect("220")
	c.login()
	return c
}

// openPipes is open with an implicit TLS listener in memory.
func openPipes(t *testing.T) (*post, *pipes) {
	listener := &pipes{ends: make(chan net.Conn), closed: make(chan struct{})}
	p := open(t, func(p *post) { p.config.Listeners = nil })
	certs, err := loadCertificates(p.config.TLS.Certificates, p.Server.metrics, p.Server.log)
	if err != nil {
		t.Fatal(err)
	}
	profiles, err := newProfiles(p.config, certs)
	if err != nil {
		t.Fatal(err)
	}
	d := newDoor(listener, "memory")
	d.use(p.newGeneration(p.config, Listener{Name: "memory", TLS: implicitTLS}, profiles))
	p.running.Go(func() { d.run(p.Server) })
	p.doors = append(p.doors, d)
	return p, listener
}

// trickle sends a piece each pause until the server has had enough.
func (c *wireClient) trickle(piece string, pause time.Duration) (reply string, took time.Duration) {
	began := time.Now()
	c.conn.SetDeadline(began.Add(2 * time.Hour))
	replied := make(chan string, 1)
	go func() { replied <- c.hear() }()
	for {
		io.WriteString(c.conn, piece)
		select {
		case reply := <-replied:
			return reply, time.Since(began)
		case <-time.After(pause):
		}
	}
}

// hear reads to the end of the session, or the deadline.
func (c *wireClient) hear() string {
	said, _ := io.ReadAll(c.conn)
	return string(said)
}

// How long the default values let a client take. The time is not real.
func TestSlowClients(t *testing.T) {
	line := strings.Repeat("z", 98) + "\r\n"
	for _, row := range []struct {
		name      string
		begin     string
		piece     string
		pause     time.Duration
		reply     string
		from, til time.Duration
	}{
		{"an octet each second of a message", "DATA\r\nSubject: hi\r\n\r\n", "z", time.Second, "421 4.4.2 the message came slower than 512 octets per second", 5 * time.Minute, 6 * time.Minute},
		{"an octet each second of a chunk", "BDAT 52428800 LAST\r\n", "z", time.Second, "421 4.4.2 the message came slower than 512 octets per second", 5 * time.Minute, 6 * time.Minute},
		{"half of the least rate", "DATA\r\nSubject: hi\r\n\r\n", line, 400 * time.Millisecond, "421 4.4.2 the message came slower", 9 * time.Minute, 15 * time.Minute},
		{"a slow line that is just fast enough is served for an hour", "DATA\r\nSubject: hi\r\n\r\n", line, 190 * time.Millisecond, "421 4.4.2 timed out", time.Hour, time.Hour + time.Minute},
		{"a scanner with two minutes between pages is served for an hour", "DATA\r\nSubject: hi\r\n\r\n", strings.Repeat(line, 1000), 2 * time.Minute, "421 4.4.2 timed out", time.Hour, time.Hour + 2*time.Minute},
		{"silence within a message", "DATA\r\nSubject: hi\r\n\r\n", "z", time.Hour, "421 4.4.2 timed out while waiting for the message", 3 * time.Minute, 3*time.Minute + time.Second},
		{"silence within a chunk", "BDAT 1000 LAST\r\n", "z", time.Hour, "421 4.4.2 timed out while waiting for the message", 3 * time.Minute, 3*time.Minute + time.Second},
		{"silence where a chunk is due", "BDAT 1000 LAST\r\n", "", time.Hour, "421 4.4.2", 3 * time.Minute, 5*time.Minute + time.Second},
		{"an octet of a command each ten seconds", "", "N", 10 * time.Second, "421 4.4.2", 5 * time.Minute, 5*time.Minute + 10*time.Second},
		{"silence between commands", "", "", time.Hour, "421 4.4.2", 5 * time.Minute, 5*time.Minute + time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, listener := openPipes(t)
				c := listener.dial(t, p)
				c.envelope()
				c.send(row.begin)
				if strings.HasPrefix(row.begin, "DATA") {
					c.expect("354")
				}
				reply, took := c.trickle(row.piece, row.pause)
				if !strings.Contains(reply, row.reply) {
					t.Errorf("got %q, want %q", reply, row.reply)
				}
				if took < row.from || took > row.til {
					t.Errorf("it took %v, want %v to %v", took, row.from, row.til)
				}
				c.conn.Close()
			})
		})
	}
}

// A disk that stalls is not the client's fault.
func TestOurOwnTimeIsNotTheClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, listener := openPipes(t)
		p.gateway.stall = 4 * time.Minute // at each write of the spool
		c := listener.dial(t, p)
		c.envelope()
		c.ask("DATA", "354")
		c.conn.SetDeadline(time.Now().Add(2 * time.Hour))
		io.WriteString(c.conn, "Subject: hi\r\n\r\n"+strings.Repeat(strings.Repeat("z", 98)+"\r\n", 1000)+".\r\nQUIT\r\n")
		if got := c.hear(); !strings.HasPrefix(got, "250 2.0.0 queued") {
			t.Errorf("got %q", got)
		}
	})
}

func TestCommandsAreCounted(t *testing.T) {
	const recipients = 5
	small := func(p *post) { p.config.MaxRecipients = recipients }
	most := recipients + otherCommands
	t.Run("NOOP for ever ends the session", func(t *testing.T) {
		p := open(t, small)
		c := p.dial(t, "submission")
		c.expect("220")
		c.send(strings.Repeat("NOOP\r\n", most+10))
		for range most {
			c.expect("250")
		}
		c.expect("421")
		c.ended()
		if n := strings.Count(p.log.String(), `"msg":"too many commands"`); n != 1 {
			t.Errorf("it was logged %d times", n)
		}
	})
	t.Run("within TLS too, and in an AUTH exchange", func(t *testing.T) {
		p := open(t, small)
		c := p.dial(t, "submissions")
		c.expect("220")
		c.send("EHLO x\r\n" + strings.Repeat("AUTH LOGIN\r\n*\r\n", most))
		c.expect("250")
		for got := c.reply(); !strings.HasPrefix(got, "421"); got = c.reply() {
			if got == "" {
				t.Fatal("the session ended without 421")
			}
		}
		c.ended()
	})
	t.Run("a message that is accepted begins anew, and chunks do not count", func(t *testing.T) {
		p := open(t, small)
		c := p.ready(t)
		for range 3 {
			c.send(strings.Repeat("NOOP\r\n", most-10))
			for range most - 10 {
				c.expect("250")
			}
			c.envelope()
			c.ask("BDAT 15\r\nSubject: hi\r\n", "250")
			c.send(strings.Repeat("BDAT 1\r\nx", 2*most))
			for range 2 * most {
				c.expect("250")
			}
			c.ask("BDAT 2 LAST\r\n", "250 2.0.0 queued")
		}
	})
}
