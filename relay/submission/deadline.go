package submission

import (
	"errors"
	"os"
	"time"
)

// timeouts are how long a client may take.
type timeouts struct {
	proxy     time.Duration // for a balancer to say whose connection it is
	first     time.Duration // for a client that begins with TLS where a greeting is due
	handshake time.Duration // to set up TLS
	command   time.Duration // for one command line (RFC 5321, section 4.5.3.2.7)
	login     time.Duration // from connecting to a successful AUTH
	block     time.Duration // between two reads of a message (section 4.5.3.2.5)
	patience  time.Duration // how far a message may fall behind minRate (pace.go)
	message   time.Duration // for a whole message
	write     time.Duration // to take our replies
	linger    time.Duration // to read our last reply before the connection is reset
}

var defaultTimeouts = timeouts{
	proxy:     10 * time.Second,
	first:     500 * time.Millisecond,
	handshake: time.Minute,
	command:   5 * time.Minute,
	login:     15 * time.Minute,
	block:     3 * time.Minute,
	patience:  5 * time.Minute,
	message:   time.Hour,
	write:     time.Minute,
	linger:    2 * time.Second,
}

// arm sets the deadline of the next read, or says why there is none.
func (g *guard) arm() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.broken != nil:
		return g.broken
	case g.draining && !g.busy:
		return os.ErrDeadlineExceeded // go-smtp says 421 and closes
	}
	return g.Conn.SetReadDeadline(g.deadline(time.Now()))
}

// deadline is that of a read begun now.
func (g *guard) deadline(now time.Time) time.Time {
	switch {
	case g.rolling:
		return earlier(now.Add(min(g.timeouts.block, g.pace.left)), g.message)
	case !g.login.IsZero():
		return earlier(g.command, g.login)
	default:
		return g.command
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// waited notes that a read took d for n octets.
func (g *guard) waited(d time.Duration, n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.rolling {
		g.pace.waited(d, n)
	}
}

// failed keeps the error of a read.
func (g *guard) failed(err error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = g.timedOut()
	}
	if g.broken == nil {
		g.broken = err
	}
	return err
}

// timedOut is what a deadline means where it passed. go-smtp itself reads the
// chunks of BDAT and tells the client what went wrong there: as a reply of its
// own type it stays a temporary one, and none of them shows our addresses.
func (g *guard) timedOut() error {
	switch {
	case !g.rolling:
		return os.ErrDeadlineExceeded
	case g.pace.tooSlow():
		g.late = errTooSlow
	default:
		g.late = errTimeout
	}
	return wire(g.late)
}

// SetReadDeadline is called by go-smtp when it begins to read a command. After
// an error it reads none, not even one it has in its buffer. To that of a
// connection closed it says nothing, to others 421.
func (g *guard) SetReadDeadline(t time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.command = t
	g.rolling = g.transfer
	return g.nextCommand()
}

// SetWriteDeadline does nothing: each flush has its own.
func (g *guard) SetWriteDeadline(time.Time) error { return nil }

func (g *guard) SetDeadline(t time.Time) error { return g.SetReadDeadline(t) }
