package queue

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"postern/relay/message"
)

// Settle implements Store.
func (s *SQLite) Settle(ctx context.Context, c *Claim, outcomes []Outcome, tell Reporter) ([]Settled, error) {
	if len(outcomes) != len(c.deliveries) {
		return nil, fmt.Errorf("%d outcomes for %d recipients", len(outcomes), len(c.deliveries))
	}
	schedule := s.settings.Load().of(c.Lane)
	now := time.Now()
	after := make([]Delivery, len(outcomes))
	for i, o := range outcomes {
		after[i] = schedule.settle(c.deliveries[i], o, c.Message.Received, now, rand.Float64())
	}
	e := ending{claim: c, after: after, now: now, what: attempted, event: Event{Upstream: c.Upstream, Text: c.Detour, Changes: c.Made.Changes, Phases: c.Phases}, tell: tell}
	if err := s.end(ctx, &e); err != nil {
		return nil, err
	}
	return e.settled, nil
}

// attempted is what the history calls an attempt that came to an outcome.
const attempted = "attempted"

// Due is since when the first recipient of the claim has been due.
func (c *Claim) Due() time.Time {
	due := time.Now()
	for _, d := range c.deliveries {
		if d.NextAt.Before(due) {
			due = d.NextAt
		}
	}
	return due
}

// Return implements Store.
func (s *SQLite) Return(ctx context.Context, c *Claim, reason string) error {
	now := time.Now()
	after := make([]Delivery, len(c.deliveries))
	for i, d := range c.deliveries {
		after[i] = due(d, now)
	}
	what := "returned"
	if reason == "" {
		what = ""
	}
	return s.end(ctx, &ending{claim: c, after: after, now: now, what: what, event: Event{Upstream: c.Upstream, Text: reason, Phases: c.Phases}})
}

// end ends a claim.
func (s *SQLite) end(ctx context.Context, e *ending) error {
	defer s.handIn(e.claim)
	e.owner, e.damage = s.incarnation, e.claim.damage()
	err := s.w.do(ctx, outcome, e.apply)
	if s.mayPass(err) {
		err = s.insist(ctx, e, err)
	}
	if err != nil {
		return err
	}
	s.ended(e)
	return nil
}

// mayPass tells whether an outcome that was not recorded because of err may be
// recorded later: always, but for a store or a claim that has ended.
func (s *SQLite) mayPass(err error) bool {
	return err != nil && !errors.Is(err, errNotOurs) && !errors.Is(err, errClosed) && !s.w.hasFailed()
}

// insist tries to record an outcome each second until it is, cannot be any
// more, or ctx ends; then the last error is returned. Meanwhile nothing is
// claimed.
func (s *SQLite) insist(ctx context.Context, e *ending, err error) error {
	s.w.unrecorded.Add(1)
	defer s.w.unrecorded.Add(-1)
	s.log.Warn("an outcome cannot be recorded; trying again, and nothing else is sent until it is", "id", e.claim.Message.ID, "error", err)
	for s.mayPass(err) {
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Second):
			err = s.w.do(ctx, outcome, e.apply)
		}
	}
	return err
}

// ended does what an ended claim brings with it, now that it is durable.
func (s *SQLite) ended(e *ending) {
	if e.file != "" {
		s.unlink(e.file)
	}
	for _, d := range e.after {
		if !d.NextAt.IsZero() {
			s.bells.ring(d.Lane)
		}
	}
	s.ring(e.lanes)
	if e.damage == "" {
		return
	}
	s.log.Error("set aside a message that is damaged", "id", e.claim.Message.ID, "damage", e.damage)
	if err := s.countDamaged(); err != nil {
		s.log.Error("cannot count damaged messages", "err", err)
	}
}

// damage is what was found wrong with the body while it was being sent.
func (c *Claim) damage() string {
	if b, ok := c.Message.Body.(*body); ok {
		if what := b.damage.Load(); what != nil {
			return *what
		}
	}
	return ""
}

// ending is the end of a claim on its way through the writer: its deliveries
// become what after says, which is recorded under that name unless it is "".
type ending struct {
	claim  *Claim
	owner  string
	after  []Delivery
	now    time.Time
	what   string
	event  Event
	damage string
	tell   Reporter

	settled []Settled
	lanes   []string // where reports wait
	file    string   // to unlink
}

func (e *ending) apply(t *tx) error {
	key := e.claim.key
	event := e.event
	event.Results, e.settled = nil, nil
	for i := range e.after {
		d := &e.after[i]
		if e.damage != "" && !d.State.Ended() {
			d.State, d.NextAt = Held, time.Time{}
		}
		if err := t.move(key, Sending, e.owner, e.claim.Lane, d); err != nil {
			return err
		}
		event.Results = append(event.Results, d.result())
		e.settled = append(e.settled, newSettled(e.claim.Message, *d))
	}
	if e.what != "" {
		if err := t.record(key, e.now, e.what, event); err != nil {
			return err
		}
	}
	if e.damage != "" {
		if err := t.setAside(key, e.now, e.damage); err != nil {
			return err
		}
	}
	if e.what == attempted && len(e.claim.Made.Signatures) > 0 && slices.ContainsFunc(e.after, func(d Delivery) bool { return !d.State.Ended() }) {
		if _, err := t.exec(`UPDATE contents SET made = ? WHERE message = ?`, encode(e.claim.Made), key); err != nil {
			return err
		}
	}
	var err error
	if e.lanes, err = t.tell(e.tell, key, e.claim.Message, e.settled, e.now); err != nil {
		return err
	}
	e.file, err = t.finish(key, e.now)
	return err
}

func newSettled(m *message.Message, d Delivery) Settled {
	return Settled{
		ID: m.ID, Account: m.Client.Account, From: m.From, Received: m.Received,
		Recipient: d.Recipient.Address, State: d.State, Lane: d.Lane, Upstream: d.Upstream,
		Attempts: d.Attempts, NextAt: d.NextAt, Reply: d.Reply, RemoteID: d.RemoteID,
		Last: d.last, Expired: d.expired,
	}
}
