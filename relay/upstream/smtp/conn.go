package smtp

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"postern/relay/message"
)

// Patience is how long each step may take (RFC 5321, section 4.5.3.2). That of
// a reply covers all its lines, that of a block one write.
type Patience struct {
	Dial, Handshake, Greeting, Command, Data, Block, End time.Duration
	// Quit is for goodbyes, and for the last word of a server that stopped
	// reading: nobody waits long for either.
	Quit time.Duration
	// Kept is for the first reply on a session that was kept: whether it is still
	// there. Nothing is lost by asking a new one.
	Kept time.Duration
	// Ready and Envelope are for all steps up to the login, and for all from MAIL to
	// the reply to DATA: each for itself could take an octet at a time.
	Ready, Envelope time.Duration
}

var standard = Patience{
	Dial:      30 * time.Second,
	Handshake: time.Minute,
	Greeting:  5 * time.Minute,
	Command:   5 * time.Minute,
	Data:      2 * time.Minute,
	Block:     3 * time.Minute,
	End:       10 * time.Minute,
	Quit:      2 * time.Second,
	Kept:      20 * time.Second,
	Ready:     10 * time.Minute,
	Envelope:  30 * time.Minute,
}

// blockSize is how much content is read and written at once.
const blockSize = 32 << 10

// conn is one SMTP session. All but abort is for one goroutine at a time.
type conn struct {
	raw      net.Conn // TCP
	nc       net.Conn // raw, or TLS over it
	r        *bufio.Reader
	w        *bufio.Writer
	patience Patience
	writing  time.Duration // what each write may take now
	until    time.Time     // the end of all waiting for replies, unless it is zero
	ext      extensions
	closing  func() // once
	// used counts transactions, most is how many there may be. dirty: one was begun and not ended, so that
	// RSET must come before the next. broken: no further one is possible.
	used, most    int
	dirty, broken bool
}

// newConn wraps a fresh connection; closed is called once when it is closed.
func newConn(raw net.Conn, p Patience, closed func()) *conn {
	c := &conn{raw: raw, nc: raw, patience: p, writing: p.Command, closing: sync.OnceFunc(closed)}
	c.r = bufio.NewReaderSize(nil, maxReplyLine)
	c.w = bufio.NewWriterSize(c, blockSize)
	c.r.Reset(c.nc)
	return c
}

// Write hands p to the network within the time of one write.
func (c *conn) Write(p []byte) (int, error) {
	if err := c.nc.SetWriteDeadline(time.Now().Add(c.writing)); err != nil {
		return 0, err
	}
	return c.nc.Write(p)
}

// reply reads one reply, all of it within wait.
func (c *conn) reply(wait time.Duration) (message.Reply, error) {
	deadline := time.Now().Add(wait)
	if !c.until.IsZero() && c.until.Before(deadline) {
		deadline = c.until
	}
	if err := c.nc.SetReadDeadline(deadline); err != nil {
		return message.Reply{}, err
	}
	return readReply(c.r)
}

// line buffers one command. One that holds a line end is never sent: it would
// be two.
func (c *conn) line(s string) error {
	if strings.ContainsAny(s, "\r\n\x00") {
		return errors.New("the command holds a line end")
	}
	c.w.WriteString(s)
	_, err := c.w.WriteString("\r\n")
	return err
}

// flush sends what is buffered, each write within wait, unless the server spoke
// without being asked: then nobody knows any more which reply answers what.
func (c *conn) flush(wait time.Duration) error {
	if c.spoke() {
		return c.unasked()
	}
	return c.push(wait)
}

// push sends what is buffered, each write within wait.
func (c *conn) push(wait time.Duration) error {
	c.writing = wait
	return c.w.Flush()
}

// spoke tells whether there is more from the server than it was asked for, as far
// as it came together with what was read. It never waits.
func (c *conn) spoke() bool { return c.peek(time.Unix(1, 0)) }

// spokeNow also sees what came since. What arrives in part, or is a matter of TLS
// alone, it waits for a moment.
func (c *conn) spokeNow() bool {
	return c.spoke() || pending(c.raw) && c.peek(time.Now().Add(c.patience.Quit/100))
}

func (c *conn) peek(until time.Time) bool {
	if c.nc.SetReadDeadline(until) != nil {
		return false
	}
	_, err := c.r.Peek(1)
	return err == nil
}

// outOfStep says that nobody knows any more which reply answers what.
type outOfStep struct{ error }

func (o outOfStep) Unwrap() error { return o.error }

// unasked is the error for what the server said without being asked: outOfStep,
// but for a 421, which it may always say (RFC 5321, section 3.8).
func (c *conn) unasked() error {
	reply, err := c.reply(c.patience.Quit)
	switch {
	case err != nil:
		return outOfStep{fmt.Errorf("the server spoke without being asked: %w", err)}
	case reply.Code == 421:
		return &reply
	}
	return outOfStep{fmt.Errorf("the server said %q without being asked; its replies cannot be told apart", reply)}
}

// command sends one line and reads the reply.
func (c *conn) command(s string) (message.Reply, error) {
	if err := c.line(s); err != nil {
		return message.Reply{}, err
	}
	if err := c.flush(c.patience.Command); err != nil {
		return message.Reply{}, err
	}
	return c.reply(c.patience.Command)
}

// secure puts the session under TLS. Octets that came in clear behind the
// reply to STARTTLS were put there by somebody else (RFC 3207, section 6).
func (c *conn) secure(nc *tls.Conn) error {
	if n := c.r.Buffered(); n > 0 {
		return fmt.Errorf("%d octets arrived before the TLS handshake: somebody tampers with the connection", n)
	}
	c.nc = nc
	c.r.Reset(nc)
	c.ext = nil
	return nil
}

// abort cuts the connection, whatever goes on over it.
func (c *conn) abort() {
	c.closing()
	c.raw.Close()
}

// quit says goodbye and closes.
func (c *conn) quit() {
	defer c.nc.Close()
	defer c.closing()
	if err := c.line("QUIT"); err != nil {
		return
	}
	if err := c.flush(c.patience.Quit); err != nil {
		return
	}
	c.reply(c.patience.Quit)
}
