package smtp

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"postern/relay/upstream/transport"
)

// pool hands out places on sessions: on one kept from an earlier message, each
// for a limited time, on a new one, or, with look-ahead, behind a transaction
// that is under way. Without look-ahead the slots of the gate bound how many
// sessions there are, with it the pool does.
type pool struct {
	keep   time.Duration
	most   int // sessions at once, new ones included; 0: as many as are asked for
	mu     sync.Mutex
	change *sync.Cond
	idle   []*idleConn // the latest used last
	busy   []*place    // whose sessions they are, the longest first
	open   int
	closed bool
	// fault is why a session could last not be made, faults how often that was.
	fault  error
	faults int
}

type idleConn struct {
	*conn
	expiry *time.Timer
}

func newPool(keep time.Duration, most int) *pool {
	p := &pool{keep: keep, most: most}
	p.change = sync.NewCond(&p.mu)
	return p
}

// get waits for a place. It has no session when one is to be made for it. The
// error is that of ctx, or why the sessions waited for could not be made.
func (p *pool) get(ctx context.Context) (*place, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for faults, awake := p.faults, false; ; p.change.Wait() {
		if n := len(p.idle); n > 0 {
			last := p.idle[n-1]
			p.idle = slices.Delete(p.idle, n-1, n)
			last.expiry.Stop() // if it fired already, expire will not find it
			return p.own(&place{c: last.conn}), nil
		}
		if p.faults != faults {
			return nil, p.fault
		}
		if p.most == 0 || p.open < p.most {
			p.open++
			return &place{}, nil
		}
		if behind := p.lineUp(); behind != nil {
			return behind, nil
		}
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case !awake:
			awake = true
			defer context.AfterFunc(ctx, p.wake)()
		}
	}
}

func (p *pool) wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.change.Broadcast()
}

// own makes the session of a place its own. It is called with the lock held.
func (p *pool) own(o *place) *place {
	o.c.used++
	p.busy = append(p.busy, o)
	p.change.Broadcast()
	return o
}

// made is the place of whom a session was made for.
func (p *pool) made(c *conn) *place {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.own(&place{c: c})
}

// failed gives a place up for which no session could be made. Those who wait for
// one do not try in vain what just failed.
func (p *pool) failed(why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open--
	if errors.As(why, new(*transport.Unreachable)) {
		p.fault, p.faults = why, p.faults+1
	}
	p.change.Broadcast()
}

// end is that of a transaction. Its session goes to the one behind it, or is
// kept, or is over. Who says so keeps the place, for a new session.
func (p *pool) end(o *place, keep bool) {
	c := o.c
	o.kept = keep
	if c.broken {
		c.abort()
	}
	if over := p.leave(o); over && !c.broken {
		c.quit()
	}
}

// leave tells whether the session is over.
func (p *pool) leave(o *place) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.change.Broadcast()
	p.busy = slices.DeleteFunc(p.busy, func(b *place) bool { return b == o })
	if o.next != nil {
		p.inherit(o.next, o.kept)
		return false
	}
	c := o.c
	over := c.broken || c.used >= c.most || p.closed
	switch {
	case !over:
		kept := &idleConn{conn: c}
		kept.expiry = time.AfterFunc(p.keep, func() { p.expire(kept) })
		p.idle = append(p.idle, kept)
	case !o.kept:
		p.open--
	}
	return over
}

func (p *pool) expire(old *idleConn) {
	p.mu.Lock()
	i := slices.Index(p.idle, old)
	if i >= 0 {
		p.idle = slices.Delete(p.idle, i, i+1)
		p.open--
		p.change.Broadcast()
	}
	p.mu.Unlock()
	if i >= 0 {
		old.quit()
	}
}

// close ends every kept session, and from now on those that become free.
func (p *pool) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.open -= len(idle)
	p.change.Broadcast()
	p.mu.Unlock()
	var wg sync.WaitGroup
	for _, old := range idle {
		old.expiry.Stop()
		wg.Go(old.quit)
	}
	wg.Wait()
}
