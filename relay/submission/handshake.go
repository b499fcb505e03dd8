package submission

import (
	"context"
	"os"
	"runtime"
	"time"
)

// gate bounds how many TLS handshakes compute at once, so that a fleet that
// connects after a restart does not keep those waiting who are served already.
// One core is left for them.
type gate chan struct{}

func newGate() gate { return make(gate, max(1, runtime.GOMAXPROCS(0)-1)) }

// turn is one handshake at the gate: it passes while we compute, and steps back
// whenever it is the client's turn, so that none who stalls keeps others out.
// It is not for concurrent use. The zero turn computes when it likes.
type turn struct {
	gate   gate
	inside bool
}

// take waits until we may compute.
func (t *turn) take(ctx context.Context, deadline time.Time) error {
	if t.gate == nil || t.inside {
		return nil
	}
	late := time.NewTimer(time.Until(deadline))
	defer late.Stop()
	select {
	case t.gate <- struct{}{}:
		t.inside = true
		return nil
	case <-late.C:
		return os.ErrDeadlineExceeded
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pause lets others compute.
func (t *turn) pause() {
	if t.inside {
		<-t.gate
		t.inside = false
	}
}

// beginHandshake gives the client time for TLS, and us a turn for our part.
func (g *guard) beginHandshake(at gate) {
	g.opening.startTLS()
	g.turn = turn{gate: at}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.command = time.Now().Add(g.timeouts.handshake)
}

// endHandshake ends the turn.
func (g *guard) endHandshake() {
	g.turn.pause()
	g.turn = turn{}
}

// takeTurn waits with the deadline of the handshake.
func (g *guard) takeTurn() error {
	g.mu.Lock()
	deadline := g.command
	g.mu.Unlock()
	return g.turn.take(g.ctx, deadline)
}
