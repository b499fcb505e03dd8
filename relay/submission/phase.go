package submission

import (
	"errors"
	"net"
	"time"

	"postern/relay/message"
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

// isBusy tells whether a transaction is open.
func (g *guard) isBusy() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.busy || g.transfer
}

// expectMessage gives the client time for a message.
func (g *guard) expectMessage() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.rolling = true
	g.message = time.Now().Add(g.timeouts.message)
	g.pace = newPace(g.timeouts.patience)
}

// beginTransfer notes that the message has begun. Until endTransfer the guard
// stays in the house, even if the connection ends: a message may be on its way
// to the Gateway.
func (g *guard) beginTransfer() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.transfer, g.rolling = true, true
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

// otherCommands is how many commands beside RCPT a client may give from one
// accepted message to the next. One that says NOOP every half minute to keep
// its connection open reaches it after eight hours, and connects again.
const otherCommands = 1000

// errOverrun ends a session; go-smtp has its own words for the client.
var errOverrun = errors.New("too many commands")

// nextCommand tells whether another command may be read, and counts it. Chunks
// of a message are not counted: its size and its deadlines bound them. None is
// read from a connection that has ended: go-smtp asks for the next one even
// after QUIT, and the client may have sent it already.
func (g *guard) nextCommand() error {
	switch {
	case g.closing:
		return net.ErrClosed
	case g.broken != nil:
		return g.broken
	case g.transfer:
		return nil
	}
	g.said++
	if g.said <= g.mostSaid {
		return nil
	}
	if g.said == g.mostSaid+1 {
		g.overrun()
	}
	return errOverrun
}

// sent notes that a message was accepted.
func (g *guard) sent() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.said = 0
	g.visit.accepted()
}

// lateness is the reply to a message that did not come in time; nil if that is
// not what broke the connection.
func (g *guard) lateness() *message.Reply {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.late
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
