package queue

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"postern/relay/message"
)

// interrupt makes uncertain what a process before this one was sending: it may
// have been sent, and nobody is left to say.
func (s *SQLite) interrupt(ctx context.Context) error {
	i := interruption{settings: s.settings.Load(), now: time.Now()}
	if err := s.w.do(ctx, outcome, i.apply); err != nil {
		return err
	}
	for _, c := range i.found {
		for _, d := range c.deliveries {
			s.metrics.DeliveriesUncertain.WithLabelValues(d.Upstream).Inc()
			s.log.Warn("uncertain", "id", c.message.ID, "account", c.message.Client.Account, "to", d.Recipient.Address.String(),
				"upstream", d.Upstream, "state", string(d.State), "reply", d.Reply.Text)
		}
	}
	return nil
}

// interruption is interrupt on its way through the writer.
type interruption struct {
	settings *settings
	now      time.Time

	found []concerned
}

func (i *interruption) apply(t *tx) error {
	var err error
	i.found, err = t.deliveries(`SELECT m.n, m.id, m.account, m.received, m.sender, d.owner, ` + deliveryColumns + `
		FROM deliveries d INDEXED BY deliveries_rest JOIN messages m ON m.n = d.message
		WHERE d.state = 'sending' AND d.state IN ('sending','held') ORDER BY d.message, d.n`)
	if err != nil {
		return err
	}
	for _, c := range i.found {
		event := Event{Upstream: c.deliveries[0].Upstream}
		for k := range c.deliveries {
			d := &c.deliveries[k]
			*d = i.settings.of(d.Lane).settle(*d, Outcome{Result: interrupted}, c.message.Received, i.now, rand.Float64())
			if err := t.move(c.key, Sending, c.owner, "", d); err != nil {
				return err
			}
			event.Results = append(event.Results, d.result())
		}
		if err := errors.Join(t.record(c.key, i.now, "interrupted", event), t.changed(c.key)); err != nil {
			return err
		}
	}
	return nil
}

var interrupted = message.Result{
	Outcome: message.Uncertain,
	Reply:   message.Reply{Text: "the process ended while it was being sent"},
}
