package relay

import (
	"context"
	"sync"
	"time"

	"postern/relay/message"
	"postern/relay/queue"
	"postern/relay/upstream"
)

// deliver makes one attempt: the upstream is sent the message, and how each
// recipient fared is recorded. The claim was durable before it began, so
// whatever ends it half-way is known to be uncertain at the next start.
func (r *Relay) deliver(s *stations, slot *upstream.Slot, c *queue.Claim) {
	defer slot.Release()
	results, err := slot.Send(r.cut, c.Message)
	if err != nil && r.elsewhere(s, c) {
		r.giveBack(c, err)
		return
	}
	if err != nil {
		results = deferAll(c, err)
	}
	settled, err := r.queue.Settle(r.recording, c, results)
	if err != nil {
		r.log.Error("outcome not recorded; the delivery counts as uncertain", "id", c.Message.ID, "upstream", c.Upstream, "error", err)
		return
	}
	r.record(settled)
}

// elsewhere tells whether a claim whose upstream could not be reached is better
// given back than put off: another upstream of its lane is up, or we are
// stopping and it was never really tried.
func (r *Relay) elsewhere(s *stations, c *queue.Claim) bool {
	return r.cut.Err() != nil || s.upstreams.Available(c.Lane)
}

// giveBack returns a claim unchanged. Nothing of it was sent.
func (r *Relay) giveBack(c *queue.Claim, why error) {
	if err := r.queue.Return(r.recording, c, why.Error()); err != nil {
		r.log.Error("claim not given back; the delivery counts as uncertain", "id", c.Message.ID, "upstream", c.Upstream, "error", err)
	}
}

// deferAll is the outcome of an attempt that did not reach MAIL: the
// upstream's trouble, never held against the message.
func deferAll(c *queue.Claim, why error) []message.Result {
	results := make([]message.Result, len(c.Message.To))
	for i := range results {
		results[i] = message.Result{Outcome: message.Deferred, Reply: message.Reply{Text: why.Error()}}
	}
	return results
}

// laneSet is one loop per lane, all of one configuration.
type laneSet struct {
	cancel context.CancelFunc
	loops  sync.WaitGroup
}

// start ends the loops of the stations before and begins those of s.
func (l *laneSet) start(r *Relay, s *stations) {
	l.stop()
	ctx, cancel := context.WithCancel(r.cut)
	l.cancel = cancel
	for _, lane := range s.upstreams.Lanes() {
		l.loops.Go(func() { r.serve(ctx, s, lane) })
	}
}

// stop ends the loops; deliveries they began go on.
func (l *laneSet) stop() {
	if l.cancel != nil {
		l.cancel()
	}
	l.loops.Wait()
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
	claims, err := r.queue.Claim(ctx, lane, slots[0].Upstream(), len(slots))
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
