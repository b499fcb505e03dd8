package submission

import (
	"net/netip"
	"sync"

	"postern/relay/message"
)

// limits bound how many clients are connected at once. They keep a flood from
// exhausting memory and file descriptors and one host from shutting out the
// others; an office behind one address stays far below. Should a device there
// leak connections, it is its own that give way to those of its neighbours.
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
	open     map[*guard]bool // true: counts for its client; false: asked to give way
	clients  map[netip.Prefix]int
	unknown  int // connections of balancers that have not told whose they are
	draining bool
	empty    chan struct{} // closed when draining and no client is left
}

func newConnections() *connections {
	return &connections{
		limits:  defaultLimits,
		open:    make(map[*guard]bool),
		clients: make(map[netip.Prefix]int),
		empty:   make(chan struct{}),
	}
}

// allow changes how many connections one client may have; those there are stay.
func (c *connections) allow(perClient int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if perClient > 0 {
		c.limits.perClient = perClient
	}
}

// enter lets g in, or says why it may not. Who was let in must leave.
func (c *connections) enter(g *guard) (refusal string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	client := message.OneClient(g.remote.Addr())
	switch {
	case c.draining:
		return "421 4.3.2 the service is shutting down, please try again later"
	case len(c.open)+c.unknown >= c.limits.total:
		return "421 4.7.0 too many connections, please try again later"
	case c.clients[client] >= c.limits.perClient && !c.makeRoom(client):
		return "421 4.7.0 too many connections from your address, please try again later"
	}
	c.open[g] = true
	c.clients[client]++
	return ""
}

// expect makes room for a connection until it is known whose it is; then arrive
// must follow. Those that are not known have half of the room at most, so that
// who never tells does not shut out the others.
func (c *connections) expect() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unknown >= c.limits.total/2 || len(c.open)+c.unknown >= c.limits.total {
		return false
	}
	c.unknown++
	return true
}

// arrive ends what expect began.
func (c *connections) arrive() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unknown--
}

// makeRoom asks the oldest connection of a client that is in no transaction to
// go, and counts it no more. False: all of them are sending mail, or as many as
// count were asked and have not gone, as those of a client that reads nothing.
func (c *connections) makeRoom(client netip.Prefix) bool {
	var oldest *guard
	going := 0
	for g, counts := range c.open {
		switch {
		case message.OneClient(g.remote.Addr()) != client:
		case !counts:
			going++
		case !g.isBusy() && (oldest == nil || g.since.Before(oldest.since)):
			oldest = g
		}
	}
	if oldest == nil || going >= c.limits.perClient {
		return false
	}
	c.uncount(oldest)
	c.open[oldest] = false
	oldest.drain()
	return true
}

// leave forgets g.
func (c *connections) leave(g *guard) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[g] {
		c.uncount(g)
	}
	delete(c.open, g)
	if c.draining && len(c.open) == 0 {
		close(c.empty)
	}
}

// uncount takes g from the number of its client.
func (c *connections) uncount(g *guard) {
	client := message.OneClient(g.remote.Addr())
	if c.clients[client]--; c.clients[client] == 0 {
		delete(c.clients, client)
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
