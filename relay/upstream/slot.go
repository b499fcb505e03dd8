package upstream

import (
	"context"
	"errors"
	"slices"
	"strings"
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
	lane     lane // what it was chosen from
	share    *share
	passed   []*upstream // those preferred to it
	probe    bool
	used     bool
	release  sync.Once
}

// Upstream is the name of the upstream.
func (l *Slot) Upstream() string {
	if l == nil {
		return ""
	}
	return l.upstream.cfg.Name
}

// Detour tells why the upstreams preferred to this one were passed over; "" when
// there is none, or they are up again.
func (l *Slot) Detour() string {
	var why []string
	for _, u := range l.passed {
		if fault := u.gate.fault(false); fault != nil {
			why = append(why, u.cfg.Name+" passed over: "+fault.Error())
		}
	}
	return strings.Join(why, "; ")
}

// Release gives the slot back. Further calls do nothing.
func (l *Slot) Release() {
	if l == nil {
		return
	}
	l.release.Do(func() {
		if !l.used {
			l.share.refund(l.upstream)
		}
		l.upstream.gate.release(l.probe)
	})
}

// Recipients is how many one transaction takes, as far as is known; 0 is no limit.
func (l *Slot) Recipients() int {
	if l == nil {
		return 0
	}
	return l.upstream.offer().Recipients
}

// Send delivers m to all of m.To in one transaction, as prepare makes it; nil
// leaves it as it is.
//
// An error means that nothing was handed over: a *[transport.Unreachable], after which
// the upstream is down for a while, a *[transport.Unfit], [transport.ErrStopping], what prepare
// returned, or that of ctx. On an upstream that went down after the slot was
// taken nothing is tried. Without an error there is a result for each
// recipient, in their order, and what its reply asks of us; what neither this
// upstream nor another of the lane can carry has failed. A ctx that ends cuts the connection; the results say
// what that left open.
func (l *Slot) Send(ctx context.Context, m *message.Message, prepare transport.Prepare) ([]transport.Result, error) {
	u := l.upstream
	l.used = true
	if fault := u.gate.fault(l.probe); fault != nil {
		return nil, fault
	}
	if reply := l.tooLarge(m); reply != nil {
		return nil, &transport.Unfit{Upstream: u.cfg.Name, Reply: reply}
	}
	if prepare == nil {
		prepare = func(transport.Offer) (*message.Message, error) { return m, nil }
	}
	results, err := u.transport.Send(ctx, transport.Letter{Prepare: prepare, Elsewhere: l.elsewhere})
	l.learn(err)
	u.learnSplit(results)
	u.count(m, results, err)
	return results, err
}

// tooLarge is why m is not even tried: it is over the limit of the configuration,
// or over that of the server as we know it while another upstream may have none.
func (l *Slot) tooLarge(m *message.Message) *message.Reply {
	size := transport.Load{Size: m.Size()} // of all it asks, what no preparation makes much less
	reply := l.upstream.offer().Refuse(size)
	if reply != nil && (l.elsewhere(size) || l.upstream.cfg.Limits.bound(transport.Anything).Refuse(size) != nil) {
		return reply
	}
	return nil
}

// elsewhere tells whether another upstream of the lane, up or down, may carry
// the load.
func (l *Slot) elsewhere(load transport.Load) bool {
	return slices.ContainsFunc(l.lane.members(), func(u *upstream) bool {
		return u != l.upstream && u.offer().Refuse(load) == nil
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
