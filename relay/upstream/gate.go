package upstream

import (
	"sync"
	"time"

	"postern/relay/upstream/transport"
)

// gate hands out the slots of one upstream, and none while its breaker is open.
type gate struct {
	mu       sync.Mutex
	capacity int
	taken    int
	watchers map[chan struct{}]bool // true: waits for one of our slots
	breaker  breaker
	retired  bool
	show     func(state string) // exports the state; called with the lock held
}

// grant is the answer to take: slots, or why there are none.
type grant struct {
	slots int
	probe bool // the one slot is to find out whether the upstream is back
	full  bool // up, but every slot is taken
	// again is when the pause of a breaker is over; zero while a probe is
	// under way, whose end wakes the watchers.
	again time.Time
}

// take gives up to max slots. A nil wake is a caller that will not wait; it
// gets none while others do.
func (g *gate) take(now time.Time, max int, wake chan struct{}) grant {
	g.mu.Lock()
	defer g.mu.Unlock()
	free := g.capacity - g.taken
	if g.breaker.down() {
		return g.takeProbe(now, free)
	}
	if wake == nil && g.awaited() {
		free = 0
	}
	n := min(max, free)
	if n <= 0 {
		if wake != nil {
			g.watchers[wake] = true
		}
		return grant{full: true}
	}
	if wake != nil {
		g.watchers[wake] = false
	}
	g.taken += n
	return grant{slots: n}
}

func (g *gate) takeProbe(now time.Time, free int) grant {
	switch {
	case g.breaker.probing || free <= 0:
		return grant{}
	case now.Before(g.breaker.until):
		return grant{again: g.breaker.until}
	}
	g.breaker.probing = true
	g.taken++
	return grant{slots: 1, probe: true}
}

// awaited tells whether anybody waits for one of our slots.
func (g *gate) awaited() bool {
	for _, waits := range g.watchers {
		if waits {
			return true
		}
	}
	return false
}

// watch has wake filled, if it is empty, whenever take may answer otherwise.
func (g *gate) watch(wake chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.watchers == nil {
		g.watchers = map[chan struct{}]bool{}
	}
	g.watchers[wake] = false
}

func (g *gate) unwatch(wake chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.watchers, wake)
}

// wakeAll is called with the lock held.
func (g *gate) wakeAll() {
	for wake := range g.watchers {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}

// release gives a slot back; a probe that was never used makes room for another.
func (g *gate) release(probe bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.taken--
	if probe {
		g.breaker.probing = false
	}
	g.wakeAll()
}

// fault is why the upstream is down, for a slot that is not the probe; nil
// when it may be tried.
func (g *gate) fault(probe bool) *transport.Unreachable {
	g.mu.Lock()
	defer g.mu.Unlock()
	if probe {
		return nil
	}
	return g.breaker.fault
}

// succeed and fail tell how a try ended; changed says that it is worth a line
// in the log.
func (g *gate) succeed(probe bool) (changed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.breaker.succeed(probe) {
		return false
	}
	g.wakeAll()
	g.tell()
	return !g.retired
}

func (g *gate) fail(now time.Time, probe bool, fault *transport.Unreachable) (until time.Time, changed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	changed = g.breaker.fail(now, probe, fault)
	g.wakeAll()
	if changed {
		g.tell()
	}
	return g.breaker.until, changed && !g.retired
}

// announce exports the state for the first time.
func (g *gate) announce() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tell()
}

// tell is called with the lock held. Of a retired upstream nothing is told:
// another one of its name may stand in its place.
func (g *gate) tell() {
	switch {
	case g.retired:
	case g.breaker.down():
		g.show(stateDown)
	default:
		g.show(stateUp)
	}
}

// endPause makes an upstream that is down ready for a probe.
func (g *gate) endPause() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.breaker.endPause()
	g.wakeAll()
}

func (g *gate) retire() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.retired = true
}
