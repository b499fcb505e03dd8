package submission

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"postern/relay/message"
)

// maxUnsent is how many octets of replies wait for the next read at most.
const maxUnsent = 16 << 10

// guard is the connection under TLS. What go-smtp reads and writes passes talk,
// TLS if there is any, and then the guard, which gives what go-smtp does not:
//
//   - Replies to pipelined commands leave together: writes wait until the next
//     read (RFC 2920, section 3.2).
//   - A command has an absolute deadline, a message one for each read, one for
//     its pace and one for the whole.
//   - Commands are counted, so that no client talks for ever without sending
//     mail.
//   - A read that failed fails for good, so that what comes after a timeout
//     within a message is never taken for a command.
//   - While it sets up TLS it computes in turns with others (handshake.go).
//   - It can be drained, and closed after the next reply.
type guard struct {
	net.Conn
	timeouts timeouts
	remote   netip.AddrPort
	since    time.Time
	ctx      context.Context // ends with the connection
	cancel   context.CancelFunc
	gone     func() // called once, when connection and transfer have ended
	overrun  func() // called when there were too many commands
	closed   sync.Once
	opening  opening
	visit    visit
	turn     turn   // of a handshake
	peeked   []byte // read before the first word, and not handed over yet

	profile    *profile
	transcript *transcript // nil: nobody wants it

	writing sync.Mutex // held while octets leave
	unsent  []byte

	mu       sync.Mutex
	broken   error          // why nothing is read any more
	late     *message.Reply // broken, if a message did not come in time
	command  time.Time      // deadline of the command being read
	login    time.Time      // deadline of AUTH; zero when it is done
	message  time.Time      // deadline of the message being transferred
	pace     pace           // of that message
	transfer bool           // a message is being transferred
	rolling  bool           // transfer, or its rest is being drained by go-smtp
	busy     bool           // in a transaction
	closing  bool           // no command is carried out any more
	draining bool
	uses     int // the connection, and a running transfer
	said     int // commands since the last message accepted
	mostSaid int
}

func newGuard(conn net.Conn, t timeouts) *guard {
	now := time.Now()
	g := &guard{Conn: conn, timeouts: t, since: now, uses: 1, login: now.Add(t.login), command: now.Add(t.handshake)}
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		a := tcp.AddrPort()
		g.remote = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	return g
}

// Read sends what waits, then reads.
func (g *guard) Read(b []byte) (int, error) {
	g.turn.pause()
	g.flush(g.timeouts.write)
	if err := g.arm(); err != nil {
		return 0, err
	}
	began := time.Now()
	n, err := g.receive(b)
	g.waited(time.Since(began), n)
	if err != nil {
		return n, g.failed(err)
	}
	if err := g.opening.read(b[:n]); err != nil {
		g.breakOff(err)
		return 0, err
	}
	return n, g.takeTurn()
}

// receive reads what was peeked at first.
func (g *guard) receive(b []byte) (int, error) {
	if len(g.peeked) > 0 {
		n := copy(b, g.peeked)
		g.peeked = g.peeked[n:]
		return n, nil
	}
	return g.Conn.Read(b)
}

// beginsWithTLS waits a moment for a client that says TLS before we have said
// anything. Others wait for the greeting.
func (g *guard) beginsWithTLS() bool {
	var b [1]byte
	g.Conn.SetReadDeadline(time.Now().Add(g.timeouts.first))
	n, _ := g.Conn.Read(b[:])
	g.peeked = b[:n]
	return n == 1 && b[0] == recordHandshake
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

// flush sends what waits. What could not be sent in time is dropped, and the
// stream is broken then: nothing is read any more.
func (g *guard) flush(timeout time.Duration) error {
	g.writing.Lock()
	defer g.writing.Unlock()
	if len(g.unsent) == 0 {
		return nil
	}
	g.Conn.SetWriteDeadline(time.Now().Add(timeout))
	_, err := g.Conn.Write(g.unsent)
	g.unsent = g.unsent[:0]
	if err != nil {
		g.breakOff(err)
	}
	return err
}

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
	tcp, ok := tcpOf(g.Conn)
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
