// Package world is what the simulated providers have in common: who is there and
// what they may do (Data), what was sent (Message), how much of it in a time
// (Take, Enter), and what goes wrong on request (Fault).
//
// It is a leaf: who asks, and in which protocol, is left to the packages beside it.
package world

import (
	"log/slog"
	"maps"
	"sync"
	"time"
)

// World is one simulation. It may be used by many at once.
type World struct {
	Data
	// Minute is how long one lasts.
	Minute time.Duration
	// Dir keeps the messages.
	Dir string

	log *slog.Logger

	mu        sync.Mutex
	messages  []Message
	lastID    int
	faults    []*Fault
	lastFault int
	inside    map[string]int
	windows   map[string][]taken
	stats     Stats
}

// New is a world in which nothing has happened yet.
func New(d Data, dir string, minute time.Duration, log *slog.Logger) *World {
	w := &World{Data: d, Minute: minute, Dir: dir, log: log}
	w.Reset()
	return w
}

// Day is how long one lasts.
func (w *World) Day() time.Duration { return 24 * 60 * w.Minute }

// Log says what happens.
func (w *World) Log() *slog.Logger { return w.log }

// Reset forgets what was sent and counted, and takes back every fault. Tokens stay.
func (w *World) Reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.messages {
		m.remove()
	}
	w.messages, w.faults = nil, nil
	w.windows = map[string][]taken{}
	if w.inside == nil {
		w.inside = map[string]int{}
	}
	w.stats = Stats{Counts: map[string]int{}, Peaks: map[string]int{}}
}

// Stats are numbers of a simulation.
type Stats struct {
	// Counts by what happened: "microsoft-smtp accepted", "microsoft-smtp 432".
	Counts map[string]int `json:"counts"`
	// Peaks are the most that were inside at the same time, by who and where.
	Peaks map[string]int `json:"peaks"`
}

// Stats are the numbers so far.
func (w *World) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return Stats{Counts: maps.Clone(w.stats.Counts), Peaks: maps.Clone(w.stats.Peaks)}
}

// Count adds one to what happened at a service.
func (w *World) Count(service, what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stats.Counts[service+" "+what]++
}

// Enter asks for one of limit places under key. Whoever gets one leaves by
// calling what is returned.
func (w *World) Enter(key string, limit int) (leave func(), ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.inside[key] >= limit {
		return nil, false
	}
	w.inside[key]++
	w.stats.Peaks[key] = max(w.stats.Peaks[key], w.inside[key])
	return sync.OnceFunc(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.inside[key]--
	}), true
}

type taken struct {
	at time.Time
	n  int
}

// Take counts n under key, unless that made more than limit within span; then it
// says how long until it would not.
func (w *World) Take(key string, n, limit int, span time.Duration) (wait time.Duration, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	window := w.windows[key]
	for len(window) > 0 && now.Sub(window[0].at) >= span {
		window = window[1:]
	}
	sum := n
	for _, t := range window {
		sum += t.n
	}
	w.windows[key] = window
	for i := 0; sum > limit; i++ {
		if i == len(window) {
			return span, false
		}
		sum -= window[i].n
		wait = span - now.Sub(window[i].at)
	}
	if wait > 0 {
		return wait, false
	}
	w.windows[key] = append(window, taken{now, n})
	return 0, true
}
