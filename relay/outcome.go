package relay

import (
	"errors"
	"slices"
	"time"

	"postern/relay/message"
	"postern/relay/queue"
	"postern/relay/upstream/transport"
)

// outcomes is what becomes of the recipients of a claim: of each for itself, by
// what the upstream said of it, or by why nothing was sent.
//
// A narrowed lane is for one attempt. Whatever is put off begins again in its home
// lane, with all upstreams of its route that can be given it.
func (s *stations) outcomes(c *queue.Claim, results []transport.Result, unsent error) []queue.Outcome {
	if unsent != nil {
		results = slices.Repeat([]transport.Result{s.unsent(c, unsent)}, len(c.Message.To))
	}
	// One who alone is too many will be so again.
	less := len(results) > 1
	outcomes := make([]queue.Outcome, len(results))
	var homes []string
	for i, r := range results {
		o := s.outcome(c, r, less)
		if o.Outcome == message.Deferred && o.Lane == "" && message.RouteOf(c.Lane) != c.Lane {
			if homes == nil {
				homes = s.homes(c.Message)
			}
			o.Lane = homes[i]
		}
		outcomes[i] = o
	}
	return outcomes
}

// outcome is what becomes of one recipient; less tells whether a transaction to
// fewer is possible.
//
// What has been handed over, or may have been, ends here. What this upstream
// refuses for itself alone goes on through the others of the lane, in their turn;
// what it only cannot take now does if one of them is up. That way no upstream is
// asked twice in one attempt, and trouble of an upstream never fails the mail.
// While none of the route is up the mail just waits for one: that is no attempt.
func (s *stations) outcome(c *queue.Claim, r transport.Result, less bool) queue.Outcome {
	o := queue.Outcome{Result: r.Result}
	if o.Outcome == message.Delivered || o.Outcome == message.Uncertain {
		return o
	}
	switch r.Advice.Action {
	case transport.Split:
		o.Outcome = message.Deferred
		if less {
			o.Lane, o.GoesOn = c.Lane, true
		}
	case transport.Failover:
		s.goOn(c, &o)
		o.Wait = r.Advice.For
	case transport.Hold, transport.Reauth, transport.Configure: // until when is the upstream's matter
		o.Outcome = message.Deferred
		s.goOn(c, &o)
		o.GoesOn = o.GoesOn || !s.upstreams.Up(message.RouteOf(c.Lane))
	case transport.Slow:
		o.Outcome = message.Deferred
		s.goOn(c, &o)
		o.Wait = max(r.Advice.For, slowWait)
	case transport.Nothing:
		o.Wait = r.Advice.For
	}
	return o
}

// slowWait is how long mail waits that was too much for an upstream: its throttle
// sees to the rest.
const slowWait = 5 * time.Second

// goOn leads what one upstream of a lane does not take to the others. A pinned lane
// has none.
func (s *stations) goOn(c *queue.Claim, o *queue.Outcome) {
	forGood := o.Outcome == message.Failed
	rest := s.upstreams.Without(c.Lane, c.Upstream, forGood)
	_, _, others := message.SplitLane(c.Lane)
	switch {
	case rest != "" && (forGood || s.upstreams.Up(rest)):
		o.Lane, o.GoesOn = rest, true
	case forGood && rest == "" && others:
		o.Outcome = message.Deferred // one that was passed over may take it yet
	}
}

// unsent is the result of an attempt that did not reach MAIL: never held
// against the message, unless the configuration leaves no upstream for it.
func (s *stations) unsent(c *queue.Claim, why error) transport.Result {
	deferred := transport.Result{Result: message.Result{Outcome: message.Deferred, Reply: message.Reply{Text: why.Error()}}}
	not := misfit{}
	if unfit := new(transport.Unfit); errors.As(why, &unfit) {
		not = misfit{unfit.Reply, true}
	} else if !errors.As(why, &not) {
		return deferred
	}
	failed := transport.Result{Result: message.Result{Outcome: message.Failed, Reply: message.Reply{Enhanced: not.Enhanced, Text: not.Text}}}
	_, pinned := message.PinnedTo(c.Lane)
	_, refusal := s.lanes(c.Message)
	switch {
	case pinned || refusal != nil:
		return failed
	case not.other && s.upstreams.Without(c.Lane, c.Upstream, true) != "":
		failed.Advice.Action = transport.Failover
		return failed
	}
	return deferred
}
