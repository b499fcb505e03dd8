package upstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"postern/metrics"
	"postern/relay/message"
	"postern/relay/upstream/throttle"
	"postern/relay/upstream/transport"
)

// ErrRetired is what Slots returns once the Set was replaced or closed.
var ErrRetired = errors.New("the upstreams were replaced by a new configuration")

// Options is what a Set needs besides its configuration.
type Options struct {
	// Hostname is our fully qualified name, said in EHLO.
	Hostname string
	// DataDir holds the capture directory.
	DataDir string
	// Accounts by name, for those with a route of their own.
	Accounts map[string]Account
	// Tokens by the name of the upstream, for those that log in with them.
	Tokens  map[string]transport.Tokens
	Metrics *metrics.Metrics
	Log     *slog.Logger
}

// Set is every upstream and route of one configuration. Its methods are safe
// for concurrent use.
type Set struct {
	routes    []Route
	accounts  map[string]Account
	upstreams map[string]*upstream
	order     []*upstream // of the configuration
	mailboxes map[string]*mailbox
	dataDir   string
	log       *slog.Logger
	saving    sync.Mutex      // while the memory is written
	lanes     map[string]lane // those of routes, and the pinned ones
	names     []string        // of these, as Lanes lists them
	retired   chan struct{}
	retire    sync.Once
	inForce   atomic.Bool // first of all, or the one before was retired for it
	// connecting ends with stop. Both are those of the Set before, if any.
	connecting context.Context
	stop       context.CancelFunc
}

// New builds every upstream and route. Upstreams that did not change are taken
// over from old, which may be nil, with their open connections and the state of
// their breakers; old works on, and is none the wiser, until its Retire is
// called.
func New(cfg Config, o Options, old *Set) (*Set, error) {
	s := &Set{routes: cfg.Routes, accounts: o.Accounts, upstreams: map[string]*upstream{}, mailboxes: map[string]*mailbox{},
		dataDir: o.DataDir, log: o.Log,
		lanes: map[string]lane{}, retired: make(chan struct{})}
	if old != nil {
		s.connecting, s.stop = old.connecting, old.stop
	} else {
		s.connecting, s.stop = context.WithCancel(context.Background())
	}
	for _, c := range cfg.Upstreams {
		u, err := newUpstream(s.connecting, c, o, s.mailbox(c, old), old)
		if err != nil {
			return nil, err
		}
		s.upstreams[c.Name] = u
		s.order = append(s.order, u)
	}
	for _, r := range cfg.Routes {
		if err := s.addRoute(r); err != nil {
			return nil, err
		}
	}
	for _, c := range cfg.Upstreams {
		s.addLane(message.PinnedLane(c.Name), lane{newGroup(s.upstreams[c.Name])})
	}
	for name, a := range o.Accounts {
		if _, ok := s.lanes[a.Route]; a.Route != "" && !ok {
			return nil, fmt.Errorf("account %q: there is no route %q; the routes are %s",
				name, a.Route, strings.Join(s.names[:len(cfg.Routes)], ", "))
		}
	}
	if old == nil {
		s.enter(nil)
	}
	return s, nil
}

// mailbox is that of an upstream: the one there is, in this Set or the one
// before, or a new one.
func (s *Set) mailbox(c Upstream, old *Set) *mailbox {
	key := c.mailboxKey()
	if s.mailboxes[key] == nil && old != nil {
		s.mailboxes[key] = old.mailboxes[key]
	}
	if s.mailboxes[key] == nil {
		s.mailboxes[key] = newMailbox()
	}
	return s.mailboxes[key]
}

func (s *Set) addRoute(r Route) error {
	var l lane
	for _, names := range r.Upstreams {
		var members []*upstream
		for _, name := range names {
			u := s.upstreams[name]
			if u == nil {
				return fmt.Errorf("route %q: there is no upstream %q", r.Name, name)
			}
			members = append(members, u)
		}
		l = append(l, newGroup(members...))
	}
	if len(l) == 0 {
		return fmt.Errorf("route %q names no upstream", r.Name)
	}
	s.addLane(r.Name, l)
	return nil
}

func (s *Set) addLane(name string, l lane) {
	s.lanes[name] = l
	s.names = append(s.names, name)
}

// Lanes is every route, and the pinned lane of every upstream.
func (s *Set) Lanes() []string { return append([]string(nil), s.names...) }

// Slots waits until an upstream of the lane has a free slot and takes up to
// max of them (at least 1), all of that one, as [lane.take] chooses it. Errors are those of ctx,
// ErrRetired, or that there is no such lane.
func (s *Set) Slots(ctx context.Context, name string, max int) ([]*Slot, error) {
	l := s.lane(name)
	if len(l) == 0 {
		return nil, fmt.Errorf("there is no route or upstream for the lane %q", name)
	}
	wake := make(chan struct{}, 1)
	defer watch(l.members(), wake)()
	for {
		if err := s.ended(ctx); err != nil {
			return nil, err
		}
		now := time.Now()
		slots, again := l.take(now, max, wake)
		if slots != nil {
			return slots, nil
		}
		s.sleep(ctx, wake, now, again)
	}
}

// TrySlot takes one slot as Slots does, without waiting and without overtaking
// those who wait; nil when there is none.
func (s *Set) TrySlot(lane string) *Slot {
	slots, _ := s.lane(lane).take(time.Now(), 1, nil)
	if slots == nil {
		return nil
	}
	return slots[0]
}

// SpareSlot takes one slot for an account that uses none of that upstream, which
// may be of those that are kept for such; nil when there is none. So it is never
// kept waiting by what others have on its way.
func (s *Set) SpareSlot(lane, account string) *Slot {
	l := s.lane(lane)
	var passed []*upstream
	for _, group := range l {
		for _, u := range group.share.turns(group.members) {
			if turn, ok := u.gate.spare(time.Now(), account); ok {
				group.share.charge(u, 1)
				return &Slot{upstream: u, lane: l, share: group.share, passed: passed, begun: true, turn: turn, account: &account}
			}
		}
		if anyUp(group.members) {
			return nil
		}
		passed = append(passed, group.members...)
	}
	return nil
}

// Up tells whether any upstream of the lane is up, with a free slot or not.
func (s *Set) Up(lane string) bool { return anyUp(s.lane(lane).members()) }

// watch has wake told of what happens to the upstreams, until the function it
// returns is called.
func watch(us []*upstream, wake chan struct{}) (end func()) {
	for _, u := range us {
		u.gate.watch(wake)
	}
	return func() {
		for _, u := range us {
			u.gate.unwatch(wake)
		}
	}
}

func anyUp(us []*upstream) bool {
	return slices.ContainsFunc(us, func(u *upstream) bool { return u.gate.fault(false) == nil })
}

// ended is why nothing more is to be handed out.
func (s *Set) ended(ctx context.Context) error {
	select {
	case <-s.retired:
		return ErrRetired
	default:
		return ctx.Err()
	}
}

// sleep returns when something may have changed: at again, unless it is zero.
func (s *Set) sleep(ctx context.Context, wake <-chan struct{}, now, again time.Time) {
	var due <-chan time.Time
	if !again.IsZero() {
		timer := time.NewTimer(again.Sub(now))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-wake:
	case <-due:
	case <-ctx.Done():
	case <-s.retired:
	}
}

// enter puts the Set in force, in the place of old, which may be nil. Pauses
// of the upstreams taken over end: what the reload was for may have mended
// them, such as a new password in the same file. Quotas are not mended so, and
// what a person asked for stays, whatever else the reload changed.
func (s *Set) enter(old *Set) {
	s.inForce.Store(true)
	s.limit()
	for name, u := range s.upstreams {
		change := u.successor(old.named(name))
		if old == nil {
			change = func(*breaker) {} // Remember is told of a start
		}
		u.gate.ask(change)
	}
}

// named is the upstream of that name, nil if there is none.
func (s *Set) named(name string) *upstream {
	if s == nil {
		return nil
	}
	return s.upstreams[name]
}

// successor is what becomes of the breaker of u when it takes the place of
// before, which may be itself, or nil. What is new is not overrun.
func (u *upstream) successor(before *upstream) func(*breaker) {
	if before == u {
		return (*breaker).mended
	}
	if before != nil {
		if asked, ok := before.gate.askedFor(); ok {
			return func(b *breaker) { *b = asked }
		}
	}
	return (*breaker).begin
}

// limit puts the limits of each mailbox in force: the strictest that any of its
// upstreams has.
func (s *Set) limit() {
	limits, sharing := map[*mailbox]throttle.Limits{}, map[*mailbox]int{}
	for _, u := range s.upstreams {
		sharing[u.gate.box]++
	}
	for _, u := range s.upstreams {
		box := u.gate.box
		limits[box] = limits[box].Strictest(u.cfg.throttle(sharing[box] > 1))
	}
	for _, u := range s.upstreams {
		u.gate.keep(spare(u.gate.capacity, len(s.accounts)))
	}
	for box, l := range limits {
		box.mu.Lock()
		box.throttle.Configure(l)
		box.wakeAll()
		box.mu.Unlock()
	}
}

// Retire ends the Set after next, made from it, has taken its place: waiting
// Slots return, the upstreams next did not take over drop their idle
// connections, and those it did are tried at once if they are down. Slots
// already taken may be used to their end. A Set that is not wanted after all
// is retired for the one it was made from, to which that changes nothing.
func (s *Set) Retire(next *Set) {
	s.retire.Do(func() {
		close(s.retired)
		var closing sync.WaitGroup
		for name, u := range s.upstreams {
			if next == nil || next.upstreams[name] != u {
				u.gate.retire()
				if s.inForce.Load() {
					u.showState("", time.Time{})
				}
				closing.Go(u.transport.Close)
			}
		}
		if next != nil && s.inForce.Load() {
			next.enter(s)
		}
		closing.Wait()
	})
}

// Stop cuts every connection that has not reached MAIL, and from now on lets
// none get there, also for slots of the Sets this one was made from: their
// Send returns [transport.ErrStopping] and has handed nothing over. What goes through a
// connection that is ready goes on.
func (s *Set) Stop() { s.stop() }

// Close retires the Set without a next one. It never fails.
func (s *Set) Close() error {
	s.Retire(nil)
	return nil
}
