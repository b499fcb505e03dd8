package submission

import (
	"errors"
	"net"
	"os"
	"time"
)

// What a session tells its guard about where the client stands.

// loggedIn lifts the deadline of AUTH.
func (g *guard) loggedIn() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.login = time.Time{}
}

// begin notes a transaction, which draining lets end. It tells whether a new
// one may begin.
func (g *guard) begin() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closing || g.draining {
		return false
	}
	g.busy = true
	return true
}

// end notes that no transaction is open.
func (g *guard) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.busy = false
}

// beginTransfer gives the client time for a message. Until endTransfer the
// guard stays in the house, even if the connection ends: a message may be on
// its way to the Gateway.
func (g *guard) beginTransfer() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.transfer, g.rolling = true, true
	g.message = time.Now().Add(g.timeouts.message)
	g.uses++
}

// endTransfer goes back to commands. go-smtp may still drain the rest of the
// message, so the rolling deadline stays until it reads a command.
func (g *guard) endTransfer() {
	g.mu.Lock()
	g.transfer = false
	g.mu.Unlock()
	g.release()
}

// closeAfterReply lets the next reply be the last: no further command is read.
func (g *guard) closeAfterReply() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closing = true
}

func (g *guard) isClosing() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closing
}

// drain asks the client to go as soon as it is idle. A read that waits for its
// next command is interrupted.
func (g *guard) drain() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.draining = true
	if !g.busy {
		g.Conn.SetReadDeadline(time.Unix(1, 0))
	}
}

func (g *guard) isDraining() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.draining
}

// waiting tells whether the client at the other end of conn, which is g or a
// *tls.Conn over g, is still there and waits for us. More tells whether it has
// said something that TLS had read already; that is lost now. Nobody else may be
// reading.
//
// It reads without waiting: a stream that has ended says so, and one that has
// not says that there is nothing.
func (g *guard) waiting(conn net.Conn) (alive, more bool) {
	g.setProbing(true)
	defer g.setProbing(false)
	var b [4096]byte
	for {
		n, err := conn.Read(b[:])
		more = more || n > 0
		if err != nil {
			return more || errors.Is(err, os.ErrDeadlineExceeded) && g.intact(), more
		}
	}
}

func (g *guard) setProbing(on bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.probing = on
}

// intact tells whether no read has failed.
func (g *guard) intact() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.broken == nil
}
