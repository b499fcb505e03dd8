package relay

import (
	"errors"
	"time"

	"postern/relay/message"
	"postern/relay/queue"
	"postern/relay/upstream"
	"postern/relay/upstream/transport"
)

// deliver makes one attempt: the upstream is sent the message as it wants it,
// and how each recipient fared is recorded: delivered, failed, put off, or to go on
// at once through another upstream. The claim was durable before it began, so
// whatever ends it half-way is known to be uncertain at the next start.
func (r *Relay) deliver(s *stations, slot *upstream.Slot, c *queue.Claim) {
	defer slot.Release()
	slot.Carries(c.Message.Client.Account)
	c.Detour = slot.Detour()
	results, err := r.send(s, slot, c)
	if err != nil && r.elsewhere(s, c, err) {
		r.giveBack(c, err)
		return
	}
	settled, err := r.queue.Settle(r.recording, c, s.outcomes(c, results, err), s.tell(time.Now(), c.Made.DSN))
	if err != nil {
		r.log.Error("outcome not recorded; the delivery counts as uncertain", "id", c.Message.ID, "upstream", c.Upstream, "error", err)
		return
	}
	r.record(settled, c)
	r.attend(s, settled)
	r.reported(s, settled)
}

// send makes of the message what the upstream is to get, once it is known what
// it offers, and sends that. What was made of it, and how long each phase took, is
// noted in the claim.
func (r *Relay) send(s *stations, slot *upstream.Slot, c *queue.Claim) ([]transport.Result, error) {
	c.Phases = []message.Phase{{Phase: waited, Seconds: time.Since(c.Due()).Seconds()}}
	defer func() { c.Phases = append(c.Phases, slot.Phases()...) }()
	return slot.Send(r.cut, c.Message, func(o transport.Offer) (*message.Message, error) {
		m, made, err := s.letter(r.cut, c.Message, slot.Upstream(), o, c.Made)
		if err == nil {
			c.Made, c.Made.DSN = made, o.DSN
			r.changed(made.Changes)
		}
		return m, err
	})
}

// elsewhere tells whether a claim that was not sent is better given back than
// put off: its upstream could not be reached and another one of its lane is up,
// or we are stopping and it was never really tried.
func (r *Relay) elsewhere(s *stations, c *queue.Claim, why error) bool {
	if errors.Is(why, transport.ErrStopping) || r.cut.Err() != nil {
		return true
	}
	return errors.As(why, new(*transport.Unreachable)) && s.upstreams.Up(c.Lane)
}

// giveBack returns a claim unchanged. Nothing of it was sent.
func (r *Relay) giveBack(c *queue.Claim, why error) {
	if err := r.queue.Return(r.recording, c, why.Error()); err != nil {
		r.log.Error("claim not given back; the delivery counts as uncertain", "id", c.Message.ID, "upstream", c.Upstream, "error", err)
	}
}
