package upstream

import (
	"context"
	"fmt"
	"sync"
	"time"

	"postern/relay/message"
	"postern/relay/upstream/transport"
)

// How long the way to MAIL may take (token, connection, TLS, greeting, login)
// before the upstream counts as down. RFC 5321, section 4.5.3.2 grants it five minutes for its
// greeting alone, and it gets them: but not all the mail of its lanes waits for
// that. One that makes everybody wait, against spam, is found by its probes, and
// then has twice the time it took last.
const (
	hesitation        = 10 * time.Second
	probeHesitation   = 30 * time.Second
	longestHesitation = time.Minute
)

// wait is for a session of one try to come as far as MAIL. It lasts no longer than
// the upstream is granted if another of the lane is up: the message goes there. If
// there is none it lasts on, and the upstream is down until this, or another
// message, gets through. Once a message is prepared for a session nothing is given
// up, unless another session has to be begun for it.
type wait struct {
	ctx    context.Context // of the try
	cancel context.CancelCauseFunc
	slot   *Slot
	probe  bool
	mu     sync.Mutex
	timer  *time.Timer // nil when no session is being made
	began  time.Time
	left   error // why the try was given up
}

func (l *Slot) wait(ctx context.Context) *wait {
	w := &wait{slot: l, probe: l.upstream.gate.probes(l)}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	return w
}

// begin is that of a session.
func (w *wait) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stop()
	w.began = time.Now()
	w.timer = time.AfterFunc(w.granted(), w.over)
}

// stop is called with the lock held.
func (w *wait) stop() {
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
}

// granted is how long this session may take.
func (w *wait) granted() time.Duration {
	return w.slot.upstream.gate.grants(w.probe)
}

// over looks what is to be done when the session has taken as long as it may, and
// again as long as it is not ready.
func (w *wait) over() {
	w.mu.Lock()
	defer w.mu.Unlock()
	took, granted := time.Since(w.began), w.granted()
	switch {
	case w.timer == nil: // it is ready after all
	case took < granted: // others were, and it may take longer than was known
		w.timer.Reset(granted - took)
	default:
		fault := w.slot.hesitates(w.began, granted)
		if w.slot.anotherUp() {
			w.left = fault
			w.cancel(fault)
		}
		w.timer = nil
	}
}

// until is prepare for a session that is ready in time.
func (w *wait) until(prepare transport.Prepare) transport.Prepare {
	return func(o transport.Offer) (*message.Message, error) {
		if err := w.ready(); err != nil {
			return nil, err
		}
		return prepare(o)
	}
}

// ready ends the waiting for a session; an error is why it was given up.
func (w *wait) ready() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stop()
	if !w.began.IsZero() && w.left == nil {
		w.slot.upstream.gate.took(time.Since(w.began))
		w.began = time.Time{}
	}
	return w.left
}

// end is that of the try, and why it was given up.
func (w *wait) end() error {
	defer w.cancel(nil)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stop()
	return w.left
}

// hesitates tells the gate and the log that the upstream lets us wait.
func (l *Slot) hesitates(since time.Time, granted time.Duration) error {
	u := l.upstream
	fault := &transport.Unreachable{Upstream: u.cfg.Name, Phase: transport.PhaseGreeting,
		Err:  fmt.Errorf("not ready for mail within %s", granted),
		Hint: "it is tried again by itself; if this lasts, look with: postern doctor " + u.cfg.Name}
	u.logChange(u.gate.hesitate(time.Now(), l, since, trouble{fault: fault}))
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

// probes tells whether l is to find out if the upstream is back.
func (g *gate) probes(l *Slot) bool {
	g.box.mu.Lock()
	defer g.box.mu.Unlock()
	return l.probe
}

// took notes how long the last session took to be ready.
func (g *gate) took(d time.Duration) {
	g.box.mu.Lock()
	defer g.box.mu.Unlock()
	g.greeted = d
}

// grants is how long a session may take.
func (g *gate) grants(probe bool) time.Duration {
	g.box.mu.Lock()
	defer g.box.mu.Unlock()
	least := hesitation
	if probe {
		least = probeHesitation
	}
	return min(max(least, 2*g.greeted), longestHesitation)
}

// hesitate notes that a try of l lasts for long. One that others have got through
// to meanwhile is only short of connections, and stays up.
func (g *gate) hesitate(now time.Time, l *Slot, since time.Time, t trouble) (c change) {
	g.box.mu.Lock()
	defer g.box.mu.Unlock()
	if !g.breaker.down() && g.reached.After(since) {
		return change{}
	}
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
