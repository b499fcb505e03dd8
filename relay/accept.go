package relay

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"postern/policy"
	"postern/relay/message"
	"postern/relay/queue"
	"postern/relay/submission"
	"postern/relay/upstream"
	"postern/rewrite"
)

// gateway answers what a session asks. Whatever may be answered at MAIL or RCPT
// is answered there; the last word is Accept's.
type gateway struct{ *Relay }

// Connect turns away who has tried too many names, and everybody while the relay
// drains.
func (g gateway) Connect(c message.Client) error {
	if err := g.pausing.refusal(421); err != nil {
		return err
	}
	if until := g.bans.Address(c.Address.Addr(), time.Now()); !until.IsZero() {
		return message.Refuse(421, "4.7.0", "Too many failed logins from your address; try again after %s", policy.Clock(until))
	}
	return nil
}

// Password tells who the client is.
func (g gateway) Password(ctx context.Context, c message.Client, name, password string) (message.Identity, error) {
	return g.login(ctx, c, name, func() (message.Identity, error) {
		return g.stations.Load().accounts.Password(ctx, name, password, c.Address.Addr())
	})
}

// Bearer tells which account the client is by its token.
func (g gateway) Bearer(ctx context.Context, c message.Client, name, token string) (message.Identity, error) {
	return g.login(ctx, c, name, func() (message.Identity, error) {
		return g.stations.Load().accounts.Bearer(ctx, name, token, c.Address.Addr())
	})
}

// Certificate tells which account has the client's certificate.
func (g gateway) Certificate(ctx context.Context, c message.Client, name string, chain []*x509.Certificate) (message.Identity, error) {
	return g.login(ctx, c, name, func() (message.Identity, error) {
		return g.stations.Load().accounts.Certificate(chain, name, c.Address.Addr())
	})
}

// Challenge lets the client prove which account it is in several steps.
func (g gateway) Challenge(ctx context.Context, c message.Client, mechanism string) (submission.Challenge, error) {
	exchange, err := g.stations.Load().accounts.Challenge(mechanism, c.Address.Addr())
	if err != nil {
		return nil, err
	}
	return challenge{exchange, g.Relay, ctx, c}, nil
}

// Trust tells which account a client is that its address alone vouches for.
func (g gateway) Trust(c message.Client) (message.Identity, error) {
	account, ok := g.stations.Load().accounts.Trusted(c.Address.Addr())
	if !ok {
		return message.Identity{}, message.Refuse(530, "5.7.0", "Authentication required")
	}
	return message.Identity{Account: account}, nil
}

// Left is told of every connection that has ended.
func (g gateway) Left(v message.Visit) { g.devices.Note(v) }

// Mail tells whether the account may begin a transaction with that return
// path, and how large the message may be.
func (g gateway) Mail(_ context.Context, m *message.Message) (int64, error) {
	s := g.stations.Load()
	if err := cmp.Or(g.pausing.refusal(451), g.queue.Ready()); err != nil {
		return 0, err
	}
	if err := cmp.Or(s.sender(m), s.policy.Room(g.usage, m.Client, 0)); err != nil {
		return 0, g.refused(err)
	}
	return s.policy.MaxSize(m.Client.Account), nil
}

// Recipient tells whether the message may go to r too, or to whom rules send
// what was meant for it.
func (g gateway) Recipient(_ context.Context, m *message.Message, r message.Recipient) (message.Recipient, error) {
	s := g.stations.Load()
	r, changes, err := s.recipient(m, r)
	if err := cmp.Or(err, s.policy.Room(g.usage, m.Client, len(m.To)+1)); err != nil {
		return r, g.refused(err)
	}
	m.Changes = rewrite.Add(m.Changes, changes...)
	return r, nil
}

// Spool begins to keep a body.
func (g gateway) Spool() submission.Spool { return g.queue.Spool() }

// Accept takes responsibility for m. When it returns nil the client may be
// told 250: header, body and recipients are on disk. A message whose lane has a
// free connection is claimed in the same commit and sent at once.
func (r *Relay) Accept(ctx context.Context, m *message.Message) error {
	s := r.stations.Load() // one configuration from start to end, whatever a reload does meanwhile
	if window := s.policy.ResendWindow(m.Client.Account); window > 0 {
		return r.acceptOnce(ctx, s, m, window)
	}
	return r.accept(ctx, s, m)
}

func (r *Relay) accept(ctx context.Context, s *stations, m *message.Message) error {
	lanes, err := s.complete(m, time.Now())
	if err != nil {
		return r.refused(err)
	}
	room, err := s.policy.Reserve(r.usage, m.Client, len(m.To))
	if err != nil {
		return r.refused(err)
	}
	defer room.GiveBack() // unless it is counted
	ways, slots := s.ways(lanes, m.Client.Account)
	claims, err := r.queue.Put(ctx, m, ways)
	if err != nil {
		release(slots)
		return fmt.Errorf("queue: %w", err)
	}
	room.Count()
	r.accepted(m)
	for _, claim := range claims {
		slot := slots[claim.Lane]
		delete(slots, claim.Lane)
		r.sending.Go(func() { r.deliver(s, slot, claim) })
	}
	release(slots)
	for _, lane := range lanes {
		r.lanes.serve(r, lane)
	}
	r.catchUp(s) // if a reload came between, the lane may be gone
	return nil
}

// ways are where recipients wait, and the free slots of those lanes, each for as
// many recipients as one transaction of its upstream takes. An account with nothing on its
// way has slots that others leave free.
func (s *stations) ways(lanes []string, account string) ([]queue.Way, map[string]*upstream.Slot) {
	ways, slots, claimed := make([]queue.Way, len(lanes)), map[string]*upstream.Slot{}, map[string]int{}
	for i, lane := range lanes {
		slot, asked := slots[lane]
		if !asked {
			if slot = s.upstreams.TrySlot(lane); slot == nil {
				slot = s.upstreams.SpareSlot(lane, account)
			}
			slots[lane] = slot
		}
		ways[i].Lane = lane
		if most := slot.Recipients(); most == 0 || claimed[lane] < most {
			ways[i].Upstream = slot.Upstream()
			claimed[lane]++
		}
	}
	return ways, slots
}

// release gives slots back that nothing was claimed for.
func release(slots map[string]*upstream.Slot) {
	for _, slot := range slots {
		slot.Release()
	}
}

// refused counts a refusal of policy by its rule; nil and other errors pass.
func (r *Relay) refused(err error) error {
	var refusal *policy.Refusal
	var limited *policy.Limited
	switch {
	case errors.As(err, &refusal):
		r.metrics.PolicyRefusals.WithLabelValues(refusal.Rule).Inc()
	case errors.As(err, &limited):
		r.metrics.PolicyLimited.WithLabelValues(limited.Rule).Inc()
	}
	return err
}
