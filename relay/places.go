package relay

import (
	"cmp"
	"slices"

	"postern/policy"
	"postern/relay/message"
	"postern/relay/queue"
	"postern/relay/upstream"
	"postern/relay/upstream/transport"
)

// Where mail waits: each recipient in the lane of its route, among those
// upstreams of it that can be given the message. It is found anew for what waits
// at each start and reload, and for what is put off.

// waiting is what the lanes of m depend on.
func waiting(m *message.Message) queue.Waiting {
	w := queue.Waiting{Account: m.Client.Account, Listener: m.Client.Listener, From: m.RoutedBy(), Size: m.Size(),
		Read: func() (*message.Message, error) { return m, nil }}
	for _, r := range m.To {
		w.To = append(w.To, r.Address)
	}
	return w
}

// lanes is where the recipients of m wait, or the refusal of mail that no route
// takes or no upstream of its route can carry: better told now than bounced later.
func (s *stations) lanes(m *message.Message) ([]string, error) {
	return s.place(waiting(m), func(string) bool { return true })
}

// reroute is the [queue.Router] of the configuration.
func (s *stations) reroute(w queue.Waiting) []string {
	lanes, _ := s.place(w, s.choosy)
	return lanes
}

// homes are the lanes for the next attempt at a message.
func (s *stations) homes(m *message.Message) []string { return s.reroute(waiting(m)) }

// place finds the lane of each recipient: "" where no route takes it, and the whole
// route where none of its upstreams can carry it. The error is the refusal of the
// first of those. The message is read only for routes that have to look.
func (s *stations) place(w queue.Waiting, look func(route string) bool) (lanes []string, refusal error) {
	lanes = make([]string, len(w.To))
	for i, to := range w.To {
		named := s.upstreams.Routes(upstream.Mail{Account: w.Account, Listener: w.Listener, From: w.From, To: to, Size: w.Size})
		if len(named) == 0 {
			refusal = cmp.Or(refusal, noRoute(w.From, to))
			continue
		}
		lanes[i] = named[0]
	}
	routes := slices.Compact(slices.Sorted(slices.Values(lanes)))
	for _, route := range routes {
		if route == "" || !look(route) {
			continue
		}
		m, err := w.Read()
		if err != nil {
			return lanes, cmp.Or(refusal, err)
		}
		if len(routes) > 1 {
			m = part(m, func(i int) bool { return lanes[i] == route })
		}
		lane, why := s.among(m, route)
		if why != nil {
			refusal = cmp.Or(refusal, error(&policy.Refusal{Rule: "carry", Reply: why}))
			continue
		}
		for i := range lanes {
			if lanes[i] == route {
				lanes[i] = lane
			}
		}
	}
	return lanes, refusal
}

// part is m to those of its recipients.
func part(m *message.Message, is func(i int) bool) *message.Message {
	p := *m
	p.To = nil
	for i, r := range m.To {
		if is(i) {
			p.To = append(p.To, r)
		}
	}
	return &p
}

// among is the lane of a route for what m can be given to of its upstreams. There
// is a reply when it is none, or when one that refuses it is preferred to them:
// why not.
func (s *stations) among(m *message.Message, route string) (lane string, why *message.Reply) {
	var able []string
	for _, group := range s.upstreams.Offers(route) {
		forbidden := false
		for _, u := range group {
			not := s.unfit(m, u.Upstream, u.Offer)
			if not.Reply == nil {
				able = append(able, u.Upstream)
				continue
			}
			why, forbidden = cmp.Or(why, not.Reply), forbidden || !not.other
		}
		if forbidden && len(able) == 0 {
			return "", why
		}
	}
	if len(able) == 0 {
		return "", cmp.Or(s.upstreams.Carries(route, transport.Load{Size: m.Size()}), why) // the largest size there is
	}
	return s.upstreams.Only(route, able), nil
}

// choosy tells whether a route may lead different mail to different upstreams.
func (s *stations) choosy(route string) bool {
	known := slices.Concat(s.upstreams.Offers(route)...)
	return len(known) > 1 && slices.ContainsFunc(known, func(u upstream.Known) bool {
		u.Offer.Recipients = 0
		return u.Offer != transport.Anything || s.outfits[u.Upstream].choosy
	})
}

// leads is nil when some route may take m to that recipient, as far as it is known
// so far, and can carry that load.
func (s *stations) leads(m *message.Message, to message.Address, load transport.Load) error {
	routes := s.upstreams.Routes(upstream.Mail{Account: m.Client.Account, Listener: m.Client.Listener, From: m.From, To: to})
	if len(routes) == 0 {
		return noRoute(m.From, to)
	}
	var why *message.Reply
	for _, route := range routes {
		reply := s.upstreams.Carries(route, load)
		if reply == nil {
			return nil
		}
		why = cmp.Or(why, reply)
	}
	return &policy.Refusal{Rule: "carry", Reply: why}
}

// noRoute is the refusal of mail that no route takes.
func noRoute(from, to message.Address) error {
	if to.IsNull() {
		return &policy.Refusal{Rule: "route", Reply: message.Refuse(550, "5.7.1",
			"no route takes mail from <%s>; the administrator can add its domain to a route's senders", from)}
	}
	return &policy.Refusal{Rule: "route", Reply: message.Refuse(550, "5.7.1",
		"no route takes this mail from <%s> to <%s>; the administrator can add one, or widen its senders, recipients or sizes", from, to)}
}
