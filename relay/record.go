package relay

import (
	"math"
	"strconv"
	"strings"
	"time"

	"postern/metrics"
	"postern/relay/message"
	"postern/relay/queue"
	"postern/relay/upstream/transport"
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

// waited is the phase of a delivery that is due and has no connection yet.
const waited = "queue"

// delays are those of Postfix's log, in seconds: until it was due, waiting for a
// connection, bringing one up, sending, until the outcome was durable. Earlier attempts
// and the pauses after them are in the first. They sum up to the whole delay.
func delays(whole, before time.Duration, phases []message.Phase) string {
	var in [4]float64
	for _, p := range phases {
		switch p.Phase {
		case waited:
			in[1] += p.Seconds
		case transport.PhaseEnvelope, transport.PhaseData: // in the rest
		default:
			in[2] += p.Seconds
		}
	}
	in[0] = max(0, min(before, whole).Seconds())
	in[3] = max(0, whole.Seconds()-in[0]-in[1]-in[2])
	var parts [4]string
	for i, seconds := range in {
		parts[i] = strconv.FormatFloat(math.Round(seconds*1000)/1000, 'f', -1, 64)
	}
	return strings.Join(parts[:], "/")
}

// record is a line for each outcome; c is the claim it ended, nil if there was none.
func (r *Relay) record(settled []queue.Settled, c *queue.Claim) {
	for _, d := range settled {
		delay := max(0, time.Since(d.Received)) // the clock may have been set back
		r.count(d, delay)
		attrs := []any{"id", d.ID, "account", d.Account, "from", d.From.String(), "to", d.Recipient.String(),
			"upstream", d.Upstream, "attempts", d.Attempts, "delay", delay.Round(time.Millisecond).String(), "reply", d.Reply.String()}
		if c != nil {
			attrs = append(attrs, "delays", delays(delay, c.Due().Sub(d.Received), c.Phases))
		}
		if d.RemoteID != "" {
			attrs = append(attrs, "remote_id", d.RemoteID)
		}
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
