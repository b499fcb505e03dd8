// Package sliding counts what happened lately: how much of something, in a
// period that always ends now. It is a leaf; who counts what, and what follows
// from it, is left to the rooms.
package sliding

import (
	"slices"
	"time"

	"postern/relay/setting"
)

// grain is into how many parts a period is cut. What happened within one part
// of it is remembered together.
const grain = 60

// A Window counts what happened in the last period, in at most grain+2 slots
// however much that was. It errs on the strict side: what is remembered
// together is forgotten when the last of it is a period old, so no period,
// wherever it begins, ever holds more than was allowed.
//
// Times are told as durations since some fixed moment.
type Window struct {
	slots []slot // oldest first
}

type slot struct {
	first, last time.Duration
	n           int
}

// Add counts n at a time; those before it were added before it.
func (w *Window) Add(n int, at, period time.Duration) {
	if i := len(w.slots) - 1; i >= 0 && at-w.slots[i].first < period/grain {
		s := &w.slots[i]
		s.last, s.n = max(s.last, at), s.n+n
		return
	}
	w.slots = append(w.slots, slot{at, at, n})
}

// Precede counts n at a time not after any that was added: histories are read
// from their end.
func (w *Window) Precede(n int, at, period time.Duration) {
	if len(w.slots) > 0 && w.slots[0].last-at < period/grain {
		s := &w.slots[0]
		s.first, s.n = min(s.first, at), s.n+n
		return
	}
	w.slots = slices.Insert(w.slots, 0, slot{at, at, n})
}

// Count is how much happened in the period that ends now. What happened before
// it is forgotten.
func (w *Window) Count(now, period time.Duration) int {
	gone := 0
	for gone < len(w.slots) && now-w.slots[gone].last >= period {
		gone++
	}
	w.slots = slices.Delete(w.slots, 0, gone)
	return w.Sum()
}

// Sum is how much is remembered.
func (w *Window) Sum() (n int) {
	for _, s := range w.slots {
		n += s.n
	}
	return n
}

// Each tells what is remembered, oldest first: so many, the last of them at.
func (w *Window) Each(tell func(n int, at time.Duration)) {
	for _, s := range w.slots {
		tell(s.n, s.last)
	}
}

// Room is when n more will fit into the rate, if nothing else happens until
// then: now, if they fit already. More than the rate allows at once never fit;
// for those it is when the window is empty.
func (w *Window) Room(n int, now time.Duration, rate setting.Rate) time.Duration {
	used, at := w.Count(now, rate.Per), now
	for _, s := range w.slots {
		if used+n <= rate.Count {
			break
		}
		used, at = used-s.n, s.last+rate.Per
	}
	return at
}
