package throttle

import "time"

const (
	// regain is how long it takes to come back to what was refused.
	regain = 5 * time.Minute
	// forget is how long after a refusal what was learned of it counts.
	forget = time.Hour

	// backOff is what is left of the rate that got through.
	backOff = 0.97
	// slowest is the lowest rate that is learned, in messages a minute: below it the
	// pauses after refusals do the rest.
	slowest = 6.0
)

// learned is a limit that nobody told us. The zero learned is none.
type learned struct {
	low, top float64       // it fell to low, because top was too much
	since    time.Duration // when it fell
	known    bool
}

// at is the limit at a time: a curve that rises quickly at first, is flat around
// top, and steep beyond it.
func (l learned) at(now time.Duration) (limit float64, known bool) {
	if !l.known || now-l.since >= forget {
		return 0, false
	}
	x := float64(now-l.since)/float64(regain) - 1
	return l.top + (l.top-l.low)*x*x*x, true
}

// slower learns from a refusal that the rate was too high. When one pause was
// enough it was hardly so. Else what is allowed lies between what got through since
// the last time, pauses and all, and what would have without the last of them, of
// which nobody knows how much was needed: half is a good guess to begin with.
func (t *Throttle) slower(now time.Duration) {
	lately := float64(t.recent.Count(now, time.Minute))
	low, top := max(lately, t.through(now, t.idle/2)), max(lately, t.through(now, t.idle))
	was, known := t.rate.at(now)
	if known && (!t.needed || top > 0.8*was) {
		top = was
	}
	if !t.needed {
		low = top
	}
	top = max(top, slowest)
	t.rate = learned{low: min(backOff*max(low, slowest), backOff*top), top: top, since: now, known: true}
	t.got, t.since, t.idle, t.needed = 0, now, 0, false
}

// through is how many messages a minute were accepted since the rate fell, but
// for some time.
func (t *Throttle) through(now, but time.Duration) float64 {
	return float64(t.got) * float64(time.Minute) / float64(max(now-t.since-but, time.Second))
}

// narrower learns from a refusal that too many connections were in use.
func (t *Throttle) narrower(now time.Duration) {
	top := float64(t.flying)
	low := top / 2
	if was, known := t.width.at(now); known {
		top = min(top, float64(int(was)))
		low = top / 2
		if now-t.width.since >= regain {
			low = top - 1
		}
	}
	t.width = learned{low: max(low, 1), top: max(top, 1), since: now, known: true}
	t.widest = 0
}
