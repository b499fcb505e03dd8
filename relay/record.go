package relay

import (
	"strings"
	"time"

	"postern/metrics"
	"postern/relay/message"
	"postern/relay/queue"
)

// One log line and one count per outcome, id first, in fixed words: accepted,
// passed on, delivered, deferred, failed, uncertain, held. Refusals are logged by the
// session that was refused.

func (r *Relay) accepted(m *message.Message) {
	r.metrics.MessageBytes.Observe(float64(m.Size()))
	r.metrics.Accepted(m.Client.Account, time.Now())
	r.changed(m.Changes)
	attrs := []any{"id", m.ID, "account", m.Client.Account, "from", m.From.String(), "to", addresses(m.To),
		"size", m.Size(), "message_id", m.Header.Get("Message-ID"), "client", m.Client.Address.Addr().String(), "changes", rules(m.Changes)}
	if m.Client.User != "" {
		attrs = append(attrs, "user", m.Client.User)
	}
	r.log.Info("accepted", attrs...)
}

// changed counts what rules did to a message, when it was accepted or for one
// attempt. Signatures have numbers of their own.
func (r *Relay) changed(changes []message.Change) {
	for _, c := range changes {
		if c.Rule != byDKIM {
			r.metrics.RewriteChanges.WithLabelValues(c.Rule).Inc()
		}
	}
}

func (r *Relay) record(settled []queue.Settled) {
	for _, d := range settled {
		delay := max(0, time.Since(d.Received)) // the clock may have been set back
		r.count(d, delay)
		attrs := []any{"id", d.ID, "account", d.Account, "from", d.From.String(), "to", d.Recipient.String(),
			"upstream", d.Upstream, "attempts", d.Attempts, "delay", delay.Round(time.Millisecond).String(), "reply", d.Reply.String()}
		if !d.NextAt.IsZero() {
			attrs = append(attrs, "next", d.NextAt.UTC().Format(time.RFC3339))
		}
		word := string(d.State)
		if d.State == queue.Queued {
			word, attrs = "passed on", append(attrs, "lane", d.Lane)
		}
		r.log.Info(word, attrs...)
	}
}

// saveDevices keeps what is known of devices. Mail does not depend on it.
func (r *Relay) saveDevices() {
	if err := r.devices.Save(); err != nil {
		r.log.Warn("devices", "error", err)
	}
}

// saveUpstreams keeps holds and counts for the next run. Mail goes on without.
func (r *Relay) saveUpstreams() {
	if err := r.stations.Load().upstreams.Save(); err != nil {
		r.log.Warn("upstreams", "error", err)
	}
}

func (r *Relay) count(d queue.Settled, delay time.Duration) {
	route := message.RouteOf(d.Lane)
	if d.State != queue.Queued { // that is no outcome yet
		r.metrics.Deliveries.WithLabelValues(route, string(d.State)).Inc()
	}
	switch d.State {
	case queue.Delivered:
		metrics.ObserveWith(r.metrics.DeliverySeconds.WithLabelValues(route), delay.Seconds(), d.ID)
	case queue.Uncertain:
		r.metrics.DeliveriesUncertain.WithLabelValues(d.Upstream).Inc()
	}
}

func addresses(to []message.Recipient) string {
	names := make([]string, len(to))
	for i, r := range to {
		names[i] = r.Address.String()
	}
	return strings.Join(names, ", ")
}

func rules(changes []message.Change) string {
	names := make([]string, len(changes))
	for i, c := range changes {
		names[i] = c.Rule
	}
	return strings.Join(names, ", ")
}
