package upstream

import (
	"slices"

	"postern/relay/message"
	"postern/relay/upstream/smtp"
	"postern/relay/upstream/transport"
)

// refuseAll is why none of the offers is enough; nil when one is, or there is
// none at all. It speaks of the best there is: of the largest size, of SMTPUTF8
// when nobody has it.
func refuseAll(offers []transport.Offer, l transport.Load) *message.Reply {
	fits := func(o transport.Offer) bool { return o.Refuse(l) == nil }
	if len(offers) == 0 || slices.ContainsFunc(offers, fits) {
		return nil
	}
	best := offers[0]
	for _, o := range offers[1:] {
		best = best.Or(o)
	}
	if reply := best.Refuse(l); reply != nil {
		return reply
	}
	return message.Refuse(554, "5.3.3", "the message asks for more than any one of the mail servers it could go through offers")
}

// offer is what u carries as far as is known: what it offered on its last
// connection, within the limits of the configuration and what was too much for it.
func (u *upstream) offer() transport.Offer {
	o := u.cfg.Limits.bound(u.transport.Offer())
	if n := u.fewer.Get().Recipients; n > 0 && (o.Recipients == 0 || n < o.Recipients) {
		o.Recipients = n
	}
	return o
}

// learnSplit notes that a transaction had too many recipients for all of them to be
// refused for it: the next ones have half as many. Where some were taken the rest
// is few enough already.
func (u *upstream) learnSplit(results []transport.Result) {
	taken := func(r transport.Result) bool { return r.Advice.Action != transport.Split }
	if n := len(results); n > 1 && !slices.ContainsFunc(results, taken) {
		few := transport.Anything
		few.Recipients = n / 2
		u.fewer.Set(few)
	}
}

// Offers is what each upstream of the lane is known to offer, by groups in order
// of preference.
func (s *Set) Offers(lane string) [][]Known {
	var all [][]Known
	for _, g := range s.lane(lane) {
		var known []Known
		for _, u := range g.members {
			known = append(known, Known{u.cfg.Name, u.offer()})
		}
		all = append(all, known)
	}
	return all
}

// Suppose has every server of the Set be known to offer that much, as if it had
// just been heard.
func (s *Set) Suppose(o transport.Offer) {
	for _, u := range s.upstreams {
		if c, ok := u.transport.(*smtp.Client); ok {
			c.Suppose(o)
		}
	}
}

// Known is the last offer of an upstream.
type Known struct {
	Upstream string
	Offer    transport.Offer
}

// Carries tells whether a message may go into the lane: nil when one of its
// upstreams can carry it as far as is known, else the reply to refuse it with.
// An upstream is known by what it offered on its last connection.
func (s *Set) Carries(lane string, l transport.Load) *message.Reply {
	var offers []transport.Offer
	for _, u := range s.lane(lane).members() {
		offers = append(offers, u.offer())
	}
	return refuseAll(offers, l)
}
