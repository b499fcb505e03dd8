package upstream

import (
	"time"

	"postern/relay/upstream/throttle"
	"postern/relay/upstream/transport"
)

// gate hands out the slots of one upstream: none while its breaker is open, and
// no more than its mailbox has room for. It is guarded by the lock of its mailbox.
type gate struct {
	box      *mailbox
	capacity int
	taken    int
	kept     int            // slots that are only for accounts with nothing on its way
	serving  map[string]int // by account, how many slots it has
	watchers map[chan struct{}]*watcher
	breaker  breaker
	retired  bool
	reached  time.Time                           // when it last took part
	greeted  time.Duration                       // how long the last session took to be ready
	show     func(state string, until time.Time) // exports the state; called with the lock held
	waited   func(time.Duration)                 // notes how long the throttle kept somebody waiting
	said     said
}

// watcher is somebody who wants to know when take may answer otherwise.
type watcher struct {
	waits     bool      // for one of our slots
	throttled time.Time // since when that was for the mailbox alone; zero if it was not
}

// said is the last that the upstream had against us.
type said struct {
	at         time.Time
	text, hint string
}

// grant is the answer to take: slots, or why there are none.
type grant struct {
	slots int
	turn  throttle.Turn
	probe bool // the one slot is to find out whether the upstream is back
	full  bool // up, but every slot is taken or the mailbox has no room
	// again is when the pause of a breaker or of the throttle is over; zero while
	// something is under way whose end wakes the watchers.
	again time.Time
}

// take gives up to max slots. A nil wake is a caller that will not wait; it
// gets none while others do.
func (g *gate) take(now time.Time, max int, wake chan struct{}) grant {
	g.box.mu.Lock()
	defer g.box.mu.Unlock()
	free := g.width() - g.taken
	room, again := g.box.room(now)
	if g.breaker.down() {
		return g.takeProbe(now, free, room, again)
	}
	if wake == nil && g.box.awaited() {
		free = 0
	}
	n := min(max, free, room)
	g.note(now, wake, n > 0, free > 0)
	switch {
	case n > 0:
	case free <= 0:
		return grant{full: true}
	default:
		return grant{full: true, again: again}
	}
	g.taken += n
	return grant{slots: n, turn: g.box.begin(n, now)}
}

// note notes that somebody has to wait, for the mailbox alone if there are free
// slots, or has waited.
func (g *gate) note(now time.Time, wake chan struct{}, served, free bool) {
	w := g.watchers[wake]
	if w == nil {
		return
	}
	w.waits = !served
	switch {
	case served && !w.throttled.IsZero():
		g.waited(now.Sub(w.throttled))
		w.throttled = time.Time{}
	case !served && free && w.throttled.IsZero():
		w.throttled = now
	}
}

// throttled is for how long somebody has by now waited for the mailbox alone.
func (g *gate) throttled(now time.Time) (longest time.Duration) {
	g.box.mu.Lock()
	defer g.box.mu.Unlock()
	for _, w := range g.watchers {
		if !w.throttled.IsZero() {
			longest = max(longest, now.Sub(w.throttled))
		}
	}
	return longest
}

// width is how many slots there are for whoever comes, without the reserve.
func (g *gate) width() int {
	if g.breaker.slowStart > 0 {
		return min(g.capacity-g.kept, g.breaker.slowStart)
	}
	return g.capacity - g.kept
}

func (g *gate) takeProbe(now time.Time, free, room int, again time.Time) grant {
	switch b := &g.breaker; {
	case b.probing || b.endless || free <= 0:
		return grant{}
	case now.Before(b.until):
		return grant{again: b.until}
	case room <= 0:
		return grant{again: again}
	}
	g.breaker.probing = true
	g.taken++
	g.tell()
	return grant{slots: 1, probe: true, turn: g.box.begin(1, now)}
}

// watch has wake filled, if it is empty, whenever take may answer otherwise.
func (g *gate) watch(wake chan struct{}) {
	g.box.mu.Lock()
	defer g.box.mu.Unlock()
	if g.watchers == nil {
		g.watchers = map[chan struct{}]*watcher{}
	}
	g.watchers[wake] = new(watcher)
	g.box.gates[g] = true
}

func (g *gate) unwatch(wake chan struct{}) {
	g.box.mu.Lock()
	defer g.box.mu.Unlock()
	delete(g.watchers, wake)
	if len(g.watchers) == 0 {
		delete(g.box.gates, g)
	}
}

// fault is why the upstream is down, for a slot that is not the probe; nil
// when it may be tried.
func (g *gate) fault(probe bool) *transport.Unreachable {
	g.box.mu.Lock()
	defer g.box.mu.Unlock()
	if probe {
		return nil
	}
	return g.breaker.fault
}

// reserve makes l ready to send to that many: it takes a turn of the mailbox
// unless it has one, and room for the recipients. Not ok: there is none, until a
// time, zero when that is not known.
func (g *gate) reserve(now time.Time, l *Slot, recipients int) (until time.Time, ok bool) {
	g.box.mu.Lock()
	defer g.box.mu.Unlock()
	if !l.begun {
		room, again := g.box.room(now)
		if room <= 0 {
			return again, false
		}
		l.turn, l.begun = g.box.begin(1, now), true
	}
	return g.box.reserve(recipients, now)
}

// release gives a slot back; a probe that was never used makes room for another.
func (g *gate) release(now time.Time, l *Slot) {
	g.box.mu.Lock()
	defer g.box.mu.Unlock()
	g.taken--
	if l.account != nil {
		g.serve(*l.account, -1)
	}
	if l.begun {
		g.box.throttle.GiveBack(g.box.since(now))
	}
	if l.probe && g.breaker.probing {
		g.breaker.probing = false
		g.tell()
	}
	g.box.wakeAll()
}

// change is what a try made of the state of an upstream, when that is worth a
// line in the log.
type change struct {
	up      bool
	trouble *trouble // that is new
	until   time.Time
}

// end notes how a try of l ended that was to reach so many.
func (g *gate) end(now time.Time, l *Slot, recipients int, what lesson) (c change) {
	g.box.mu.Lock()
	defer g.box.mu.Unlock()
	g.box.throttle.End(throttle.Outcome{Turn: l.turn, Reserved: recipients, Delivered: what.delivered,
		Answered: what.reached, Refusal: what.refusal, Wait: what.wait}, g.box.since(now))
	l.begun = false
	if what.turnedAway != nil && g.taken == 1 {
		what.trouble = what.turnedAway
	}
	if what.said != "" {
		g.said = said{now, what.said, what.hint}
	}
	switch b := &g.breaker; {
	case what.trouble != nil:
		if b.fail(now, l.probe, *what.trouble) {
			c = change{trouble: what.trouble, until: b.until}
		}
		l.probe = false
	case what.reached:
		g.reached = now
		c.up = b.succeed(l.probe)
		if b.slowStart >= g.capacity {
			b.slowStart = 0
		}
		l.probe = false
	}
	g.tell()
	g.box.wakeAll()
	if g.retired {
		return change{}
	}
	return c
}

// ask changes the breaker as a person or a new configuration wants it.
func (g *gate) ask(change func(b *breaker)) {
	g.box.mu.Lock()
	defer g.box.mu.Unlock()
	change(&g.breaker)
	g.tell()
	g.box.wakeAll()
}

// askedFor is the breaker of an upstream that a person holds.
func (g *gate) askedFor() (b breaker, ok bool) {
	g.box.mu.Lock()
	defer g.box.mu.Unlock()
	return g.breaker, g.breaker.reason == heldAsAsked
}

// limits are those in force now, configured or learned; 0 for none.
func (g *gate) limits(now time.Time) (rate float64, connections int) {
	g.box.mu.Lock()
	defer g.box.mu.Unlock()
	return g.box.throttle.Rate(g.box.since(now)), g.box.throttle.Connections(g.box.since(now))
}

// tell exports the state; called with the lock held. Of a retired upstream
// nothing is told: another one of its name may stand in its place.
func (g *gate) tell() {
	if !g.retired {
		g.show(g.state(), g.breaker.until)
	}
}

// state is called with the lock held.
func (g *gate) state() string {
	switch b := &g.breaker; {
	case !b.down():
		return stateUp
	case b.probing:
		return stateProbing
	case b.reason != "":
		return stateHeld
	}
	return stateDown
}

func (g *gate) retire() {
	g.box.mu.Lock()
	defer g.box.mu.Unlock()
	g.retired = true
}
