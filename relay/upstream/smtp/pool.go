package smtp

import (
	"slices"
	"sync"
	"time"
)

// pool keeps sessions between messages, each for a limited time. The slots of
// the gate bound how many there are.
type pool struct {
	keep   time.Duration
	mu     sync.Mutex
	idle   []*idleConn // the latest used last
	closed bool
}

type idleConn struct {
	*conn
	expiry *time.Timer
}

// get takes the session used last, nil when there is none.
func (p *pool) get() *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.idle)
	if n == 0 {
		return nil
	}
	last := p.idle[n-1]
	p.idle[n-1] = nil
	p.idle = p.idle[:n-1]
	last.expiry.Stop() // if it fired already, expire will not find it
	return last.conn
}

// put keeps c, or ends it when the pool is closed.
func (p *pool) put(c *conn) {
	p.mu.Lock()
	closed := p.closed
	if !closed {
		kept := &idleConn{conn: c}
		kept.expiry = time.AfterFunc(p.keep, func() { p.expire(kept) })
		p.idle = append(p.idle, kept)
	}
	p.mu.Unlock()
	if closed {
		c.quit()
	}
}

func (p *pool) expire(old *idleConn) {
	p.mu.Lock()
	i := slices.Index(p.idle, old)
	if i >= 0 {
		p.idle = slices.Delete(p.idle, i, i+1)
	}
	p.mu.Unlock()
	if i >= 0 {
		old.quit()
	}
}

// close ends every kept session, and from now on those that are put.
func (p *pool) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	var wg sync.WaitGroup
	for _, old := range idle {
		old.expiry.Stop()
		wg.Go(old.quit)
	}
	wg.Wait()
}
