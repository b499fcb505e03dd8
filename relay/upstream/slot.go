package upstream

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"postern/relay/message"
)

// Slot is the right to use one connection of an upstream. It is used by one
// goroutine at a time. A nil Slot is the right to nothing: its Upstream is ""
// and it may be released.
type Slot struct {
	upstream *upstream
	lane     []*upstream // those it was chosen from
	probe    bool
	release  sync.Once
}

// Upstream is the name of the upstream.
func (l *Slot) Upstream() string {
	if l == nil {
		return ""
	}
	return l.upstream.cfg.Name
}

// Release gives the slot back. Further calls do nothing.
func (l *Slot) Release() {
	if l == nil {
		return
	}
	l.release.Do(func() { l.upstream.gate.release(l.probe) })
}

// Prepare makes of a message what a server is given that offers so much: it is
// asked once the offer is known and before MAIL, and once more if the session
// then turns out to be over. The recipients stay as many and in their order.
type Prepare func(Offer) (*message.Message, error)

// Send delivers m to all of m.To in one transaction, as prepare makes it; nil
// leaves it as it is.
//
// An error means that nothing was handed over: an *[Unreachable], after which
// the upstream is down for a while, an *[Unfit], ErrStopping, what prepare
// returned, or that of ctx. On an upstream that went down after the slot was
// taken nothing is tried. Without an error there is a result for each
// recipient, in their order; what neither this upstream nor another of the lane
// can carry has failed. A ctx that ends cuts the connection; the results say
// what that left open.
func (l *Slot) Send(ctx context.Context, m *message.Message, prepare Prepare) ([]message.Result, error) {
	u := l.upstream
	if fault := u.gate.fault(l.probe); fault != nil {
		return nil, fault
	}
	size := Load{Size: m.Size()} // of all it asks, what no preparation makes much less
	if reply := u.transport.offer().Refuse(size); reply != nil && l.elsewhere(size) {
		return nil, &Unfit{Upstream: u.cfg.Name, Reply: reply}
	}
	if prepare == nil {
		prepare = func(Offer) (*message.Message, error) { return m, nil }
	}
	results, err := u.transport.send(ctx, letter{prepare, l.elsewhere})
	l.learn(err)
	u.count(m, results, err)
	return results, err
}

// letter is a message on its way to a transport.
type letter struct {
	prepare Prepare
	// elsewhere tells whether another upstream may carry a load; then it is
	// rather not sent at all than not to everybody, and the error is an *Unfit.
	elsewhere func(Load) bool
}

// elsewhere tells whether another upstream of the lane, up or down, may carry
// the load.
func (l *Slot) elsewhere(load Load) bool {
	return slices.ContainsFunc(l.lane, func(u *upstream) bool {
		return u != l.upstream && u.transport.offer().Refuse(load) == nil
	})
}

// unprepared is the error of prepare: the server has been reached.
type unprepared struct{ error }

func (e unprepared) Unwrap() error { return e.error }

// learn tells the breaker how a try ended. One that our own side ended says
// nothing of the upstream.
func (l *Slot) learn(err error) {
	u := l.upstream
	var fault *Unreachable
	switch {
	case err == nil || errors.As(err, new(*Unfit)) || errors.As(err, new(unprepared)):
		if u.gate.succeed(l.probe) {
			u.log.Info("upstream up", "upstream", u.cfg.Name)
		}
		l.probe = false
	case errors.As(err, &fault):
		until, changed := u.gate.fail(time.Now(), l.probe, fault)
		if changed {
			u.log.Warn("upstream down", "upstream", u.cfg.Name, "phase", fault.Phase, "error", fault.Err,
				"hint", fault.Hint, "next", until.UTC().Format(time.RFC3339))
		}
		l.probe = false
	}
}
