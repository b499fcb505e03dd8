package submission

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// timeouts are how long a client may take.
type timeouts struct {
	handshake time.Duration // to set up implicit TLS
	command   time.Duration // for one command line (RFC 5321, section 4.5.3.2.7)
	login     time.Duration // from connecting to a successful AUTH
	block     time.Duration // between two reads of a message (section 4.5.3.2.5)
	message   time.Duration // for a whole message
	write     time.Duration // to take our replies
	linger    time.Duration // to read our last reply before the connection is reset
}

var defaultTimeouts = timeouts{
	handshake: time.Minute,
	command:   5 * time.Minute,
	login:     15 * time.Minute,
	block:     3 * time.Minute,
	message:   time.Hour,
	write:     time.Minute,
	linger:    2 * time.Second,
}

// maxUnsent is how many octets of replies wait for the next read at most.
const maxUnsent = 16 << 10

// guard is the connection under TLS. go-smtp reads and writes through it,
// directly or inside a *tls.Conn, and it gives what go-smtp does not:
//
//   - Replies to pipelined commands leave together: writes wait until the next
//     read (RFC 2920, section 3.2).
//   - A command has an absolute deadline, a message one for each read and one
//     for the whole.
//   - A read that failed fails for good, so that what comes after a timeout
//     within a message is never taken for a command.
//   - After the go-ahead for STARTTLS nothing but TLS leaves (opening.go).
//   - It can be drained, and closed after the next reply.
type guard struct {
	net.Conn
	timeouts timeouts
	remote   netip.AddrPort
	ctx      context.Context // ends with the connection
	cancel   context.CancelFunc
	gone     func() // called once, when connection and transfer have ended
	closed   sync.Once
	opening  opening

	writing sync.Mutex // held while octets leave
	unsent  []byte

	mu       sync.Mutex
	broken   error     // why nothing is read any more
	command  time.Time // deadline of the command being read
	login    time.Time // deadline of AUTH; zero when it is done
	message  time.Time // deadline of the message being transferred
	transfer bool      // a message is being transferred
	rolling  bool      // transfer, or its rest is being drained by go-smtp
	busy     bool      // in a transaction
	closing  bool      // no command is carried out any more
	draining bool
	probing  bool
	uses     int // the connection, and a running transfer
}

func newGuard(conn net.Conn, t timeouts) *guard {
	g := &guard{Conn: conn, timeouts: t, uses: 1, login: time.Now().Add(t.login), command: time.Now().Add(t.handshake)}
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		a := tcp.AddrPort()
		g.remote = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	return g
}

// Read sends what waits, then reads.
func (g *guard) Read(b []byte) (int, error) {
	if err := g.flush(g.timeouts.write); err != nil {
		g.breakOff(err)
	}
	if err := g.arm(); err != nil {
		return 0, err
	}
	n, err := g.Conn.Read(b)
	if err != nil {
		return n, g.failed(err)
	}
	if err := g.opening.read(b[:n]); err != nil {
		g.breakOff(err)
		return 0, err
	}
	return n, nil
}

// arm sets the deadline of the next read, or says why there is none.
func (g *guard) arm() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.closing:
		return net.ErrClosed
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
	case g.probing:
		return time.Unix(1, 0)
	case g.rolling:
		return earlier(now.Add(g.timeouts.block), g.message)
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

// failed keeps the error of a read. A probe that found nothing is no failure.
// go-smtp tells clients the text of some errors: that of a timeout is without
// our addresses.
func (g *guard) failed(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = os.ErrDeadlineExceeded
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.broken == nil && !(g.probing && err == os.ErrDeadlineExceeded) {
		g.broken = err
	}
	return err
}

// breakOff lets nothing be read any more.
func (g *guard) breakOff(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.broken == nil {
		g.broken = err
	}
}

// Write keeps b for the next read or close.
func (g *guard) Write(b []byte) (int, error) {
	if err := g.opening.write(b); err != nil {
		g.breakOff(err)
		return 0, err
	}
	g.writing.Lock()
	g.unsent = append(g.unsent, b...)
	full := len(g.unsent) > maxUnsent
	g.writing.Unlock()
	if full {
		if err := g.flush(g.timeouts.write); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// flush sends what waits. What could not be sent in time is dropped: the
// stream is broken then.
func (g *guard) flush(timeout time.Duration) error {
	g.writing.Lock()
	defer g.writing.Unlock()
	if len(g.unsent) == 0 {
		return nil
	}
	g.Conn.SetWriteDeadline(time.Now().Add(timeout))
	_, err := g.Conn.Write(g.unsent)
	g.unsent = g.unsent[:0]
	return err
}

// SetReadDeadline is called by go-smtp when it begins to read a command.
func (g *guard) SetReadDeadline(t time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.command = t
	g.rolling = g.transfer
	return nil
}

// SetWriteDeadline does nothing: each flush has its own.
func (g *guard) SetWriteDeadline(time.Time) error { return nil }

func (g *guard) SetDeadline(t time.Time) error { return g.SetReadDeadline(t) }

// Close sends what waits and ends the connection. go-smtp calls it more than
// once.
func (g *guard) Close() error {
	g.closed.Do(func() {
		g.flush(g.timeouts.linger)
		if g.isClosing() {
			g.lingerOn()
		}
		g.abort()
		g.release()
	})
	return nil
}

// lingerOn gives a client that is still sending the time to read our last
// reply: closing with octets unread would reset the connection and may take
// the reply back.
func (g *guard) lingerOn() {
	tcp, ok := g.Conn.(*net.TCPConn)
	if !ok || tcp.CloseWrite() != nil {
		return
	}
	tcp.SetReadDeadline(time.Now().Add(g.timeouts.linger))
	io.Copy(io.Discard, tcp)
}

// abort ends the connection as it is.
func (g *guard) abort() {
	g.cancel()
	g.Conn.Close()
	g.breakOff(net.ErrClosed)
}

// release ends one use of the guard; the last one leaves the house.
func (g *guard) release() {
	g.mu.Lock()
	g.uses--
	last := g.uses == 0
	g.mu.Unlock()
	if last {
		g.gone()
	}
}
