package relay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"postern/relay/queue"
)

// laneSet is a loop for each lane that mail waits in, one that watches the DKIM
// keys and one that keeps access tokens fresh, all of one configuration.
type laneSet struct {
	mu     sync.Mutex
	of     *stations // nil once stopped
	served map[string]bool
	ctx    context.Context
	cancel context.CancelFunc
	loops  sync.WaitGroup
}

// start ends the loops of the stations before and begins those of s.
func (l *laneSet) start(r *Relay, s *stations) {
	l.stop()
	l.mu.Lock()
	l.of, l.served = s, map[string]bool{}
	l.ctx, l.cancel = context.WithCancel(r.cut)
	ctx := l.ctx
	l.loops.Go(func() { s.dkim.Watch(ctx) })
	l.loops.Go(func() { s.oauth.Watch(ctx) })
	l.mu.Unlock()
	for _, lane := range s.upstreams.Lanes() {
		l.serve(r, lane)
	}
}

// stop ends the loops; deliveries they began go on.
func (l *laneSet) stop() {
	l.mu.Lock()
	if l.of != nil {
		l.cancel()
	}
	l.of = nil
	l.mu.Unlock()
	l.loops.Wait()
}

// serve sees to it that a lane has its loop. It is false when the configuration
// in force has no such lane. Once stopped it does nothing.
func (l *laneSet) serve(r *Relay, lane string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.of == nil || l.served[lane]:
		return true
	case !l.of.upstreams.Serves(lane):
		return false
	}
	l.served[lane] = true
	ctx, s := l.ctx, l.of
	l.loops.Go(func() { r.serve(ctx, s, lane) })
	return true
}

// attend sees to it that what a claim has left waiting is served: it may be in a
// lane where nothing waited before, or that a reload has meanwhile taken away.
func (r *Relay) attend(s *stations, settled []queue.Settled) {
	known := true
	for _, d := range settled {
		if !d.State.Ended() {
			known = r.lanes.serve(r, d.Lane) && known
		}
		if d.ReportLane != "" {
			known = r.lanes.serve(r, d.ReportLane) && known
		}
	}
	if !known {
		r.catchUp(s)
	}
}

// catchUp moves what was accepted or put off under a configuration that a reload
// has replaced.
func (r *Relay) catchUp(s *stations) {
	now := r.stations.Load()
	if now == s {
		return
	}
	if err := errors.Join(r.reroute(r.cut, now), r.serveWaiting(r.cut, r.orphaned)); err != nil {
		r.log.Error("mail waits for a route that is gone until the next reload", "error", err)
	}
}

// serveWaiting sees to it that each lane that mail waits in has its loop. Those
// that the configuration in force does not have are told to orphaned, if it is
// not nil, with how much waits there.
func (r *Relay) serveWaiting(ctx context.Context, orphaned func(lane string, deliveries int)) error {
	waiting, err := r.queue.Lanes(ctx)
	if err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	for lane, n := range waiting {
		if !r.lanes.serve(r, lane) && orphaned != nil {
			orphaned(lane, n)
		}
	}
	return nil
}

// burst is how many messages one round of a lane claims at most: enough to
// share a commit, few enough to keep the rounds fair between accounts.
const burst = 16

// serve hands out the deliveries of one lane as they fall due: first a free
// connection, then the claim, so that nothing is marked as being sent while it
// only waits for its turn.
func (r *Relay) serve(ctx context.Context, s *stations, lane string) {
	for ctx.Err() == nil {
		if err := r.round(ctx, s, lane); err != nil && ctx.Err() == nil {
			r.log.Error("nothing is sent for now", "lane", lane, "error", err)
			pause(ctx, 5*time.Second)
		}
	}
}

// round waits for work and a connection, and starts as many deliveries as
// there are of both.
func (r *Relay) round(ctx context.Context, s *stations, lane string) error {
	if err := r.queue.Wait(ctx, lane); err != nil {
		return err
	}
	slots, err := s.upstreams.Slots(ctx, lane, burst)
	if err != nil {
		return err
	}
	claims, err := r.queue.Claim(ctx, lane, slots[0].Upstream(), len(slots), slots[0].Recipients())
	for i, slot := range slots {
		if i < len(claims) {
			r.sending.Go(func() { r.deliver(s, slot, claims[i]) })
		} else {
			slot.Release()
		}
	}
	return err
}

func pause(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-ctx.Done()
}
