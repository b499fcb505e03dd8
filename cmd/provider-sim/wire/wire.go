// Package wire is connections that can be cut at any octet, and ended as if the
// network had failed. When that happens is left to the services.
package wire

import (
	"errors"
	"net"
	"sync"

	"postern/cmd/provider-sim/world"
)

// Conn is a TCP connection below TLS.
type Conn struct {
	net.Conn
	mu       sync.Mutex
	cut      bool
	counting string // whose octets: "server" or "client"; "" is nobody's
	left     int64
}

// New counts nothing yet.
func New(c net.Conn) *Conn { return &Conn{Conn: c} }

// ErrCut is that of a connection that was cut.
var ErrCut = errors.New("the connection was cut, as asked for")

// Cut ends the connection after so many more octets.
func (c *Conn) Cut(cut world.Cut) {
	c.mu.Lock()
	c.counting, c.left = "server", cut.Octets
	if cut.From == "client" {
		c.counting = "client"
	}
	c.mu.Unlock()
	if cut.Octets == 0 {
		c.Abort()
	}
}

// Abort ends the connection without a goodbye: the other side reads a reset.
func (c *Conn) Abort() {
	c.mu.Lock()
	c.cut = true
	c.mu.Unlock()
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	c.Conn.Close()
}

// allowed is how many of n octets from there may still pass.
func (c *Conn) allowed(from string, n int) (int, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counting != from {
		return n, !c.cut
	}
	pass := int(min(c.left, int64(n)))
	c.left -= int64(pass)
	return pass, c.left > 0
}

func (c *Conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	pass, goesOn := c.allowed("client", n)
	if !goesOn {
		c.end()
		return pass, ErrCut
	}
	return n, err
}

func (c *Conn) Write(b []byte) (int, error) {
	pass, goesOn := c.allowed("server", len(b))
	n, err := c.Conn.Write(b[:pass])
	if !goesOn {
		c.end()
		return n, ErrCut
	}
	return n, err
}

// end closes in order, so that what has passed arrives.
func (c *Conn) end() {
	c.mu.Lock()
	c.cut = true
	c.mu.Unlock()
	c.Conn.Close()
}

// Of finds the Conn below TLS.
func Of(c net.Conn) *Conn {
	for {
		switch layer := c.(type) {
		case *Conn:
			return layer
		case interface{ NetConn() net.Conn }:
			c = layer.NetConn()
		default:
			return nil
		}
	}
}
