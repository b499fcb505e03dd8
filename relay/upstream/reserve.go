package upstream

import (
	"time"

	"postern/relay/upstream/throttle"
)

// spare is how many of the slots of an upstream are only for accounts that have
// none: a tenth, at least one. Where there is but one account, or one slot,
// there is nobody to keep them from, or nothing.
func spare(slots, accounts int) int {
	if accounts < 2 || slots < 2 {
		return 0
	}
	return max(1, slots/10)
}

// keep sets the reserve.
func (g *gate) keep(slots int) {
	g.box.mu.Lock()
	defer g.box.mu.Unlock()
	g.kept = slots
}

// spare gives one slot, be it of the reserve, to an account that has none. It
// does not wait for those who do.
func (g *gate) spare(now time.Time, account string) (turn throttle.Turn, ok bool) {
	g.box.mu.Lock()
	defer g.box.mu.Unlock()
	room, _ := g.box.room(now)
	if g.breaker.down() || g.serving[account] > 0 || g.taken >= g.width()+g.kept || room <= 0 {
		return 0, false
	}
	g.taken++
	g.serve(account, 1)
	return g.box.begin(1, now), true
}

// serve counts the slots of an account; called with the lock held.
func (g *gate) serve(account string, slots int) {
	if g.serving == nil {
		g.serving = map[string]int{}
	}
	if g.serving[account] += slots; g.serving[account] == 0 {
		delete(g.serving, account)
	}
}
