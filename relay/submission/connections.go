package submission

import (
	"net/netip"
	"sync"
)

// limits bound how many clients are connected at once. They keep a flood from
// exhausting memory and file descriptors and one host from shutting out the
// others; an office behind one address stays far below.
type limits struct {
	total     int
	perClient int // per IPv4 address or IPv6 /64
}

var defaultLimits = limits{total: 2000, perClient: 200}

// connections knows every client connected, through whichever door and
// generation it came.
type connections struct {
	limits limits

	mu       sync.Mutex
	open     map[*guard]struct{}
	clients  map[netip.Prefix]int
	draining bool
	empty    chan struct{} // closed when draining and no client is left
}

func newConnections() *connections {
	return &connections{
		limits:  defaultLimits,
		open:    make(map[*guard]struct{}),
		clients: make(map[netip.Prefix]int),
		empty:   make(chan struct{}),
	}
}

// enter lets g in, or says why it may not. Who was let in must leave.
func (c *connections) enter(g *guard) (refusal string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	client := clientNetwork(g.remote.Addr())
	switch {
	case c.draining:
		return "421 4.3.2 the service is shutting down, please try again later"
	case len(c.open) >= c.limits.total:
		return "421 4.7.0 too many connections, please try again later"
	case c.clients[client] >= c.limits.perClient:
		return "421 4.7.0 too many connections from your address, please try again later"
	}
	c.open[g] = struct{}{}
	c.clients[client]++
	return ""
}

// leave forgets g.
func (c *connections) leave(g *guard) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, g)
	client := clientNetwork(g.remote.Addr())
	if c.clients[client]--; c.clients[client] == 0 {
		delete(c.clients, client)
	}
	if c.draining && len(c.open) == 0 {
		close(c.empty)
	}
}

// drain lets nobody in any more and asks everybody to go: idle clients at
// once, others when their transaction ends. The channel is closed when all are
// gone. It is called once.
func (c *connections) drain() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = true
	if len(c.open) == 0 {
		close(c.empty)
	}
	for g := range c.open {
		g.drain()
	}
	return c.empty
}

// cut ends every connection as it is.
func (c *connections) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for g := range c.open {
		g.abort()
	}
}

// clientNetwork is what counts as one client: an IPv4 address, or the IPv6 /64
// of which a host may use any address.
func clientNetwork(a netip.Addr) netip.Prefix {
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // not an IP connection; all of them count as one client
	}
	return p
}
