package upstream

import (
	"context"
	"fmt"
	"sync"
	"time"

	"postern/relay/message"
	"postern/relay/upstream/transport"
)

// hesitation is how long the way to MAIL may take (token, connection, TLS, greeting, login)
// before the upstream counts as down. RFC 5321, section 4.5.3.2 grants it five minutes for its
// greeting alone, and it gets them: but not all the mail of its lanes waits for
// that.
const hesitation = 10 * time.Second

// withinReason makes of ctx and prepare those of a try that does not wait for a
// silent upstream for longer than hesitation if another of the lane is up: the
// message goes there. If there is none it waits on, and the upstream is down until
// this, or another message, gets through. ready is to be called when the try is
// over, and tells why it was given up.
func (l *Slot) withinReason(ctx context.Context, prepare transport.Prepare) (_ context.Context, _ transport.Prepare, ready func() error) {
	if l.upstream.cfg.LookAhead { // its messages wait for one another
		return ctx, prepare, func() error { return nil }
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var mu sync.Mutex
	var reached bool
	var left error
	timer := time.AfterFunc(hesitation, func() {
		mu.Lock()
		defer mu.Unlock()
		if reached {
			return
		}
		fault := l.hesitates()
		if l.anotherUp() {
			left = fault
			cancel(fault)
		}
	})
	inTime := func() error {
		mu.Lock()
		defer mu.Unlock()
		timer.Stop()
		reached = true
		return left
	}
	return ctx, func(o transport.Offer) (*message.Message, error) {
		if err := inTime(); err != nil {
			return nil, err
		}
		return prepare(o)
	}, func() error { defer cancel(nil); return inTime() }
}

// hesitates tells the gate and the log that the upstream lets us wait.
func (l *Slot) hesitates() error {
	u := l.upstream
	fault := &transport.Unreachable{Upstream: u.cfg.Name, Phase: transport.PhaseGreeting,
		Err:  fmt.Errorf("not ready for mail within %s", hesitation),
		Hint: "it is tried again by itself; if this lasts, look with: postern doctor " + u.cfg.Name}
	u.logChange(u.gate.hesitate(time.Now(), l, trouble{fault: fault}))
	return fault
}

// anotherUp tells whether an upstream of the lane besides this one is up.
func (l *Slot) anotherUp() bool {
	for _, u := range l.lane.members() {
		if u != l.upstream && u.gate.fault(false) == nil {
			return true
		}
	}
	return false
}

// hesitate notes that a try of l lasts for long.
func (g *gate) hesitate(now time.Time, l *Slot, t trouble) (c change) {
	g.box.mu.Lock()
	defer g.box.mu.Unlock()
	if g.breaker.hesitate(now, l.probe, t) {
		c = change{trouble: &t, until: g.breaker.until}
	}
	l.probe = false
	g.tell()
	g.box.wakeAll()
	if g.retired {
		return change{}
	}
	return c
}
