package directory

import (
	"context"
	"sync"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// maxIdle is how long a connection may have been unused to be used again:
// directories and firewalls forget those that are silent for some minutes.
const maxIdle = time.Minute

// A pool keeps connections of one kind that nobody uses at the moment. How many
// there can be is bounded by those who take them.
type pool struct {
	dial func(context.Context) (*link, error)

	mu     sync.Mutex
	idle   []*link // the one used last at the end
	closed bool
}

// ask puts one question on a connection of the pool. One that had been kept and
// turns out to be dead is replaced, once for each.
func (p *pool) ask(ctx context.Context, question func(*ldap.Conn) error) error {
	for {
		l := p.take()
		kept := l != nil
		if !kept {
			var err error
			if l, err = p.dial(ctx); err != nil {
				return err
			}
		}
		err := l.ask(ctx, question)
		if !l.broken {
			p.give(l)
			return err
		}
		l.Close()
		if err == nil || !kept || ctx.Err() != nil {
			return err
		}
	}
}

// take is an idle connection that may still be alive, or nil.
func (p *pool) take() *link {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.idle) > 0 {
		last := len(p.idle) - 1
		l := p.idle[last]
		p.idle = p.idle[:last]
		if !l.IsClosing() && time.Since(l.used) < maxIdle {
			return l
		}
		l.Close()
	}
	return nil
}

func (p *pool) give(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		l.Close()
		return
	}
	p.idle = append(p.idle, l)
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, l := range p.idle {
		l.Close()
	}
	p.idle = nil
}
