// Package cuttest is an SMTP server for tests whose connections can be cut after
// any octet. What that does to a delivery is left to the tests.
package cuttest

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Host is a server with STARTTLS that takes any login and all mail.
type Host struct {
	// Address is where it listens.
	Address string
	// Offers are the lines of its EHLO besides STARTTLS.
	Offers []string
	// BelowTLS counts octets below TLS, with those of the handshake.
	BelowTLS bool
	// Took is told the subject of each message whose final dot has come.
	Took func(subject string)

	tls   *tls.Config
	mu    sync.Mutex
	next  *Cut // for the next connection
	ahead int
}

// Cut ends a connection after some octets of one direction.
type Cut struct {
	// Hit is closed when the connection is cut.
	Hit  chan struct{}
	read bool // what the host reads, else what it writes
	left atomic.Int64
}

// Left is how many octets are still to come before the cut.
func (c *Cut) Left() int { return int(c.left.Load()) }

// Start has h listen until the test ends, with a certificate for its address.
func (h *Host) Start(t testing.TB, certificate tls.Certificate) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.Address, h.tls = l.Addr().String(), &tls.Config{Certificates: []tls.Certificate{certificate}}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { h.serve(nc) })
		}
	})
	t.Cleanup(func() { l.Close(); serving.Wait() })
}

// Ahead is how often MAIL came behind a final dot that was not answered yet.
func (h *Host) Ahead() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ahead
}

// Cut has the next connection be cut after so many octets that the host reads, or
// writes.
func (h *Host) Cut(read bool, after int) *Cut {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.next = &Cut{read: read, Hit: make(chan struct{})}
	h.next.left.Store(int64(after))
	return h.next
}

// cutConn counts octets and cuts the connection below it.
type cutConn struct {
	net.Conn          // what is counted
	raw      net.Conn // what is cut
	cut      *Cut     // nil: nothing
}

var errCut = errors.New("cut")

func (c *cutConn) end() {
	close(c.cut.Hit)
	c.raw.Close()
	c.cut = nil
}

// Read hears what came before the cut, but nothing can be answered to it.
func (c *cutConn) Read(p []byte) (int, error) {
	if c.cut == nil || !c.cut.read {
		return c.Conn.Read(p)
	}
	if c.cut.Left() == 0 {
		c.end()
		return 0, errCut
	}
	n, err := c.Conn.Read(p[:min(len(p), c.cut.Left())])
	if c.cut.left.Add(int64(-n)) == 0 {
		c.end()
	}
	return n, err
}

func (c *cutConn) Write(p []byte) (int, error) {
	if c.cut == nil || c.cut.read || len(p) <= c.cut.Left() {
		if c.cut != nil && !c.cut.read {
			c.cut.left.Add(int64(-len(p)))
		}
		return c.Conn.Write(p)
	}
	n, _ := c.Conn.Write(p[:c.cut.Left()])
	c.end()
	return n, errCut
}

// serve speaks SMTP: one reply for each line, those of a group together.
func (h *Host) serve(raw net.Conn) {
	defer raw.Close()
	h.mu.Lock()
	c := &cutConn{raw, raw, h.next}
	h.next = nil
	h.mu.Unlock()
	r, w := bufio.NewReader(c), bufio.NewWriter(c)
	fmt.Fprint(w, "220 host ready\r\n")
	for {
		if r.Buffered() == 0 && w.Flush() != nil {
			return
		}
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		switch verb, _, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " "); verb {
		case "EHLO":
			fmt.Fprint(w, "250-host\r\n250-"+strings.Join(h.Offers, "\r\n250-")+"\r\n250 STARTTLS\r\n")
		case "STARTTLS":
			fmt.Fprint(w, "220 go\r\n")
			if w.Flush() != nil {
				return
			}
			if h.BelowTLS {
				r, w = buffered(tls.Server(c, h.tls))
				continue
			}
			c.Conn = tls.Server(raw, h.tls)
			r, w = buffered(c)
		case "AUTH":
			fmt.Fprint(w, "235 2.7.0 ok\r\n")
		case "DATA":
			fmt.Fprint(w, "354 go on\r\n")
			if w.Flush() != nil || h.content(r, raw) != nil {
				return
			}
			fmt.Fprint(w, "250 2.0.0 queued as 4Xyz\r\n")
		case "QUIT":
			fmt.Fprint(w, "221 bye\r\n")
			w.Flush()
			return
		default:
			fmt.Fprint(w, "250 2.1.0 ok\r\n")
		}
	}
}

func buffered(rw io.ReadWriter) (*bufio.Reader, *bufio.Writer) {
	return bufio.NewReader(rw), bufio.NewWriter(rw)
}

// content takes a message once its final dot is there. Then it gives the client a
// moment to look ahead.
func (h *Host) content(r *bufio.Reader, raw net.Conn) error {
	var subject string
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		if s, ok := strings.CutPrefix(line, "Subject: "); ok {
			subject = strings.TrimSpace(s)
		}
		if line == ".\r\n" {
			break
		}
	}
	h.Took(subject)
	raw.SetReadDeadline(time.Now().Add(moment))
	if next, err := r.Peek(4); err == nil && string(next) == "MAIL" {
		h.mu.Lock()
		h.ahead++
		h.mu.Unlock()
	}
	raw.SetReadDeadline(time.Time{})
	return nil
}

// moment is how long a client may take to look ahead.
const moment = 5 * time.Millisecond
