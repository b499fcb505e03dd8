package upstream

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"postern/relay/message"
	"postern/relay/setting"
	"postern/relay/upstream/throttle"
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
	account  *string     // whose message it carries, once it is known
	probe    bool        // guarded by the gate
	used     bool
	begun    bool          // it has a turn of the mailbox
	turn     throttle.Turn // then, or in the last Send
	release  sync.Once
	watch    transport.Watch
}

// Upstream is the name of the upstream.
func (l *Slot) Upstream() string {
	if l == nil {
		return ""
	}
	return l.upstream.cfg.Name
}

// Carries says whose message the slot is used for.
func (l *Slot) Carries(account string) {
	g := &l.upstream.gate
	g.box.mu.Lock()
	defer g.box.mu.Unlock()
	if l.account == nil {
		l.account = &account
		g.serve(account, 1)
	}
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
		l.upstream.gate.release(time.Now(), l)
	})
}

// Phases are how long the parts of Send took.
func (l *Slot) Phases() []message.Phase { return l.watch.Phases() }

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
// upstream nor another of the lane can carry has failed, and what its mailbox
// has no room for is deferred until it has, unless another can have it now: a slot is good for one message, and a
// further one needs room at that time. A ctx that ends cuts the connection; the
// results say what that left open.
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
	if until, ok := u.gate.reserve(time.Now(), l, len(m.To)); !ok {
		return u.noRoom(m, until), nil
	}
	w := l.wait(ctx)
	results, err := u.transport.Send(l.watch.With(w.ctx), transport.Letter{Prepare: w.until(prepare), Connecting: w.begin, Elsewhere: l.elsewhere})
	left := w.end()
	l.learn(len(m.To), results, err, left)
	if left != nil && err != nil {
		err = left
	}
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

// noRoom is the result of a message that has to wait for the mailbox.
func (u *upstream) noRoom(m *message.Message, until time.Time) []transport.Result {
	wait := max(time.Until(until), time.Second).Round(time.Second)
	r := transport.Own(message.Deferred, "4.3.2", "not sent yet: %s has no room for a message to %d now; there will be in %s",
		cmp.Or(u.cfg.Mailbox.String(), u.cfg.Name), len(m.To), setting.Duration(wait))
	r.Advice = transport.Advice{Action: transport.Slow, For: wait}
	return slices.Repeat([]transport.Result{r}, len(m.To))
}

// learn tells the gate how a try to reach so many ended, and the log what is new
// of the upstream. That it was given up, and why, they know already.
func (l *Slot) learn(recipients int, results []transport.Result, err, left error) {
	u := l.upstream
	what := lesson{}
	if left == nil {
		what = lessonOf(u.cfg.Name, results, err)
	}
	u.logChange(u.gate.end(time.Now(), l, recipients, what))
	if what.refusal != throttle.None {
		rate, connections := u.gate.limits(time.Now())
		u.log.Info("upstream throttled", "upstream", u.cfg.Name, "reply", what.said,
			"messages_per_minute", fmt.Sprintf("%.1f", rate), "connections", connections)
	}
}

// logChange says what became of an upstream, and what to do about it.
func (u *upstream) logChange(c change) {
	switch {
	case c.up:
		u.log.Info("upstream up", "upstream", u.cfg.Name)
	case c.trouble == nil:
	case c.trouble.reason == "":
		u.log.Warn("upstream down", "upstream", u.cfg.Name, "phase", c.trouble.fault.Phase, "error", c.trouble.fault.Err,
			"hint", c.trouble.fault.Hint, "next", c.until.UTC().Format(time.RFC3339))
	default:
		u.log.Warn("upstream held", "upstream", u.cfg.Name, "reason", c.trouble.reason, "phase", c.trouble.fault.Phase, "error", c.trouble.fault.Err,
			"hint", c.trouble.hint(u.cfg.Name), "next", c.until.UTC().Format(time.RFC3339))
	}
}
