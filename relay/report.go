package relay

import (
	"context"
	"iter"
	"net"
	"slices"
	"time"

	"postern/relay/bounce"
	"postern/relay/message"
	"postern/relay/queue"
)

// What the sender learns: bounce writes it, and the queue keeps it in the same
// transaction as the outcome it is about.

// tell is what is told of an attempt made at that time; zero for what was given
// up between attempts. Of success only an upstream tells that was asked to.
func (s *stations) tell(attempt time.Time, passed bool) queue.Reporter {
	return func(m *message.Message, settled []queue.Settled) queue.Told {
		return s.told(m, settled, attempt, func(d queue.Settled) bounce.Action {
			if passed && d.State == queue.Delivered {
				return ""
			}
			return endings[d.State]
		})
	}
}

// endings are the actions reported on when a delivery has come to its end.
var endings = map[queue.State]bounce.Action{queue.Failed: bounce.Failed, queue.Delivered: bounce.Relayed}

// late is what is told of deliveries that wait for long.
func (s *stations) late(m *message.Message, settled []queue.Settled) queue.Told {
	return s.told(m, settled, time.Time{}, func(queue.Settled) bounce.Action { return bounce.Delayed })
}

// told is what the account's policy and the sender's wishes have told of
// outcomes. Mail without a return path has nobody to be told of it. Of a report
// that cannot be delivered the postmaster reads in the next digest; of a digest
// there is nobody left to be told.
func (s *stations) told(m *message.Message, settled []queue.Settled, attempt time.Time, action func(queue.Settled) bounce.Action) (told queue.Told) {
	policy, places := s.bounce(m.Client.Account), map[bounce.Action][]int{}
	if m.About != "" {
		policy = bounce.None
		if m.About != bounce.Digest && !s.config.Postmaster.IsNull() {
			policy = bounce.Digest
		}
	}
	for i, d := range settled {
		a := action(d)
		switch {
		case policy == bounce.Digest && a == bounce.Failed:
			told.Digest = append(told.Digest, i)
		case policy == bounce.DSN && a != "" && !m.From.IsNull() && bounce.Wanted(a, m.To[i].Notify):
			places[a] = append(places[a], i)
		}
	}
	for _, a := range []bounce.Action{bounce.Failed, bounce.Delayed, bounce.Relayed} {
		for of := range slices.Chunk(places[a], bounce.MaxCases) {
			told.Reports = append(told.Reports, s.report(a, m, settled, of, attempt))
		}
	}
	return told
}

// bounce is the policy of an account, one that the configuration has no more
// included.
func (s *stations) bounce(account string) string {
	if policy, ok := s.bounces[account]; ok {
		return policy
	}
	return bounce.DSN
}

// report is the report about those outcomes of m.
func (s *stations) report(a bounce.Action, m *message.Message, settled []queue.Settled, of []int, attempt time.Time) queue.Report {
	r := bounce.Report{ID: message.NewID(time.Now()), Action: a, Original: m, At: time.Now()}
	for _, i := range of {
		c := s.fate(settled[i])
		c.Recipient, c.Attempt, c.Until = m.To[i], attempt, m.Received.Add(s.queue.Of(settled[i].Lane).Expire.Std())
		r.Cases = append(r.Cases, c)
	}
	made := s.author.Report(r)
	return queue.Report{Message: made, Lane: s.homeward(made, settled[of[0]].Lane), Of: of}
}

// fate is an outcome as bounce tells of it.
func (s *stations) fate(d queue.Settled) bounce.Case {
	_, uncertain := message.PinnedTo(d.Lane)
	return bounce.Case{
		Recipient: message.Recipient{Address: d.Recipient}, Upstream: d.Upstream, Remote: s.remote(d.Upstream),
		Reply: d.Last, Expired: d.Expired, Uncertain: uncertain,
	}
}

// remote is the server of an upstream; "" for one that has none.
func (s *stations) remote(name string) string {
	for _, u := range s.config.Upstreams {
		if u.Upstream.Name == name {
			known, _, _ := u.Upstream.Effective() // Check has seen it
			host, _, _ := net.SplitHostPort(known.Address)
			return host
		}
	}
	return ""
}

// homeward is the lane of mail of our own: that of the mail of whom it goes to;
// where that has no route any more, the route before.
func (s *stations) homeward(m *message.Message, before string) string {
	if lane := s.homes(m)[0]; lane != "" {
		return lane
	}
	if _, pinned := message.PinnedTo(before); !pinned {
		return message.RouteOf(before)
	}
	return s.upstreams.Lanes()[0]
}

// digest is the message to the postmaster about failures.
func (s *stations) digest(failures iter.Seq[queue.Failure]) queue.Report {
	now := time.Now()
	m := s.author.Digest(message.NewID(now), func(yield func(bounce.Failure) bool) {
		for f := range failures {
			if !yield(bounce.Failure{At: f.At, ID: f.ID, Account: f.Account, From: f.From, Case: s.fate(f.Settled)}) {
				return
			}
		}
	}, now)
	return queue.Report{Message: m, Lane: s.homeward(m, s.upstreams.Lanes()[0])}
}

// pace is how often to look at what is due by the clock: each minute, or as soon
// as the shortest time that the configuration asks for is over.
func (s *stations) pace() time.Duration {
	pace := min(time.Minute, s.queue.Shortest().Std())
	if warn := s.queue.WarnAfter.Std(); warn > 0 {
		pace = min(pace, warn)
	}
	if !s.config.Postmaster.IsNull() {
		pace = min(pace, s.config.Digest.Every.Std())
	}
	return max(time.Second, pace)
}

// sweep does what is due by the clock: gives up what has waited for too long,
// tells of delays, and sends the digest.
func (r *Relay) sweep(ctx context.Context) {
	s := r.stations.Load()
	given, err := r.queue.Sweep(ctx, s.tell(time.Time{}, false))
	r.swept(ctx, "sweep", err)
	r.record(given, nil)
	r.reported(s, given)
	late, err := r.queue.Warn(ctx, s.late)
	r.swept(ctx, "tell of delays", err)
	r.reported(s, late)
	r.sendDigest(ctx, s)
	r.swept(ctx, "serve what waits", r.serveWaiting(ctx, nil))
	r.catchUp(s) // if a reload came between, lanes of reports may be gone
}

// sendDigest sends the postmaster, where there is one, the digest if it is due.
func (r *Relay) sendDigest(ctx context.Context, s *stations) {
	if s.config.Postmaster.IsNull() {
		return
	}
	id, err := r.queue.Digest(ctx, s.config.Digest.Every.Std(), s.digest)
	r.swept(ctx, "digest", err)
	if id != "" {
		r.log.Info("reported", "id", id, "about", "digest", "to", s.config.Postmaster.String())
	}
}

// swept logs what went wrong; the next sweep tries again.
func (r *Relay) swept(ctx context.Context, what string, err error) {
	if err != nil && ctx.Err() == nil {
		r.log.Error(what, "error", err)
	}
}

// reported counts what was told of outcomes, and logs each report once. What
// has not ended, and is told of, is late.
func (r *Relay) reported(s *stations, settled []queue.Settled) {
	logged := map[string]bool{}
	for _, d := range settled {
		result := string(endings[d.State])
		switch {
		case d.Report == "" && d.State == queue.Failed:
			result = "silent"
		case d.Report == "":
			continue
		case result == "":
			result = string(bounce.Delayed)
		}
		r.metrics.Bounces.WithLabelValues(s.bounce(d.Account), result).Inc()
		if id := d.Report; id != "" && id != "digest" && !logged[id] {
			logged[id] = true
			r.log.Info("reported", "id", id, "about", d.ID, "to", d.From.String(), "result", result)
		}
	}
}
