package transport

import (
	"context"
	"math"
	"sync"
	"time"

	"postern/relay/message"
)

// Phases of handing over, after those of reaching the upstream.
const (
	PhaseEnvelope = "envelope"
	PhaseData     = "data"
)

// Watch is how long the phases of one delivery took. Like a trace of
// net/http/httptrace it goes along with the context of the delivery, since a
// connection is made for whoever needs one first.
type Watch struct {
	mu     sync.Mutex
	phases []message.Phase
}

type watchKey struct{}

// With is ctx with w going along.
func (w *Watch) With(ctx context.Context) context.Context {
	return context.WithValue(ctx, watchKey{}, w)
}

// Took adds a duration to a phase of the delivery of ctx, if one is watched.
func Took(ctx context.Context, phase string, d time.Duration) {
	if w, ok := ctx.Value(watchKey{}).(*Watch); ok {
		w.Add(phase, d)
	}
}

// Add adds a duration to a phase.
func (w *Watch) Add(phase string, d time.Duration) {
	seconds := math.Round(d.Seconds()*1e6) / 1e6
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.phases {
		if w.phases[i].Phase == phase {
			w.phases[i].Seconds += seconds
			return
		}
	}
	w.phases = append(w.phases, message.Phase{Phase: phase, Seconds: seconds})
}

// Phases are those there were, in the order in which they first ended.
func (w *Watch) Phases() []message.Phase {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]message.Phase(nil), w.phases...)
}
