package upstream

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"postern/relay/message"
	"postern/relay/upstream/transport"
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

// Send delivers m to all of m.To in one transaction, as prepare makes it; nil
// leaves it as it is.
//
// An error means that nothing was handed over: a *[transport.Unreachable], after which
// the upstream is down for a while, a *[transport.Unfit], [transport.ErrStopping], what prepare
// returned, or that of ctx. On an upstream that went down after the slot was
// taken nothing is tried. Without an error there is a result for each
// recipient, in their order; what neither this upstream nor another of the lane
// can carry has failed. A ctx that ends cuts the connection; the results say
// what that left open.
func (l *Slot) Send(ctx context.Context, m *message.Message, prepare transport.Prepare) ([]message.Result, error) {
	u := l.upstream
	if fault := u.gate.fault(l.probe); fault != nil {
		return nil, fault
	}
	size := transport.Load{Size: m.Size()} // of all it asks, what no preparation makes much less
	if reply := u.transport.Offer().Refuse(size); reply != nil && l.elsewhere(size) {
		return nil, &transport.Unfit{Upstream: u.cfg.Name, Reply: reply}
	}
	if prepare == nil {
		prepare = func(transport.Offer) (*message.Message, error) { return m, nil }
	}
	results, err := u.transport.Send(ctx, transport.Letter{Prepare: prepare, Elsewhere: l.elsewhere})
	l.learn(err)
	u.count(m, results, err)
	return outcomes(results), err
}

// outcomes are the results without the advice.
func outcomes(results []transport.Result) []message.Result {
	var all []message.Result
	for _, r := range results {
		all = append(all, r.Result)
	}
	return all
}

// elsewhere tells whether another upstream of the lane, up or down, may carry
// the load.
func (l *Slot) elsewhere(load transport.Load) bool {
	return slices.ContainsFunc(l.lane, func(u *upstream) bool {
		return u != l.upstream && u.transport.Offer().Refuse(load) == nil
	})
}

// learn tells the breaker how a try ended. One that our own side ended says
// nothing of the upstream.
func (l *Slot) learn(err error) {
	u := l.upstream
	var fault *transport.Unreachable
	switch {
	case err == nil || errors.As(err, new(*transport.Unfit)) || errors.As(err, new(transport.Unprepared)):
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
