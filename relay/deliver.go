package relay

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"postern/relay/message"
	"postern/relay/queue"
	"postern/relay/upstream"
	"postern/relay/upstream/transport"
)

// deliver makes one attempt: the upstream is sent the message as it wants it,
// and how each recipient fared is recorded. The claim was durable before it began, so
// whatever ends it half-way is known to be uncertain at the next start.
func (r *Relay) deliver(s *stations, slot *upstream.Slot, c *queue.Claim) {
	defer slot.Release()
	results, err := r.send(s, slot, c)
	if not := (misfit{}); errors.As(err, new(*transport.Unfit)) || errors.As(err, &not) && not.other {
		results, err = r.passOn(s, c, err)
	}
	if err != nil && r.elsewhere(s, c, err) {
		r.giveBack(c, err)
		return
	}
	if err != nil {
		results = s.unsent(c, err)
	}
	settled, err := r.queue.Settle(r.recording, c, results, nil)
	if err != nil {
		r.log.Error("outcome not recorded; the delivery counts as uncertain", "id", c.Message.ID, "upstream", c.Upstream, "error", err)
		return
	}
	r.record(settled)
}

// send makes of the message what the upstream is to get, once it is known what
// it offers, and sends that. What was made of it is noted in the claim.
func (r *Relay) send(s *stations, slot *upstream.Slot, c *queue.Claim) ([]message.Result, error) {
	return slot.Send(r.cut, c.Message, func(o transport.Offer) (*message.Message, error) {
		m, made, err := s.letter(r.cut, c.Message, slot.Upstream(), o, c.Made)
		if err == nil {
			c.Made = made
			r.changed(made.Changes)
		}
		return m, err
	})
}

// passTime is how long a claim waits for its turn at another upstream.
const passTime = 20 * time.Second

// passOn sends a claim through another upstream of its lane that can carry it.
// While it waits for its turn there it keeps the slot it has, so that no more is
// claimed than can be sent. Has none a slot for it in time, or it cannot carry it
// either, the mail waits for its next attempt: each is passed on once.
func (r *Relay) passOn(s *stations, c *queue.Claim, unfit error) ([]message.Result, error) {
	ctx, cancel := context.WithTimeout(r.cut, passTime)
	defer cancel()
	slot := s.upstreams.SlotFor(ctx, c.Lane, s.fits(c.Message))
	if slot == nil {
		return nil, unfit
	}
	defer slot.Release()
	if err := r.queue.Reassign(r.recording, c, slot.Upstream()); err != nil {
		return nil, err
	}
	c.Made.Changes = nil // they were for the other
	return r.send(s, slot, c)
}

// elsewhere tells whether a claim that was not sent is better given back than
// put off: its upstream could not be reached and another one of its lane that can carry it is up,
// or we are stopping and it was never really tried.
func (r *Relay) elsewhere(s *stations, c *queue.Claim, why error) bool {
	if errors.Is(why, transport.ErrStopping) || r.cut.Err() != nil {
		return true
	}
	return errors.As(why, new(*transport.Unreachable)) && s.upstreams.Available(c.Lane, s.fits(c.Message))
}

// giveBack returns a claim unchanged. Nothing of it was sent.
func (r *Relay) giveBack(c *queue.Claim, why error) {
	if err := r.queue.Return(r.recording, c, why.Error()); err != nil {
		r.log.Error("claim not given back; the delivery counts as uncertain", "id", c.Message.ID, "upstream", c.Upstream, "error", err)
	}
}

// unsent is the outcome of an attempt that did not reach MAIL: never held
// against the message, unless the configuration leaves no upstream for it.
func (s *stations) unsent(c *queue.Claim, why error) []message.Result {
	result := message.Result{Outcome: message.Deferred, Reply: message.Reply{Text: why.Error()}}
	if not := (misfit{}); errors.As(why, &not) && s.carried(c.Message, c.Lane) != nil {
		result = message.Result{Outcome: message.Failed, Reply: message.Reply{Enhanced: not.Enhanced, Text: not.Text}}
	}
	return slices.Repeat([]message.Result{result}, len(c.Message.To))
}

// laneSet is one loop per lane, and one that watches the DKIM keys, all of one
// configuration.
type laneSet struct {
	cancel context.CancelFunc
	loops  sync.WaitGroup
}

// start ends the loops of the stations before and begins those of s.
func (l *laneSet) start(r *Relay, s *stations) {
	l.stop()
	ctx, cancel := context.WithCancel(r.cut)
	l.cancel = cancel
	l.loops.Go(func() { s.dkim.Watch(ctx) })
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
