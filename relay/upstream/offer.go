package upstream

import (
	"slices"
	"sync"
	"time"

	"postern/relay/message"
)

// Load is what a message asks of the servers it goes through. The zero Load is
// carried by every one.
type Load struct {
	// Size is in octets (RFC 1870), EightBit asks for 8BITMIME (RFC 6152) and
	// UTF8 for SMTPUTF8 (RFC 6531).
	Size           int64
	EightBit, UTF8 bool
}

// LoadOf is what m asks, its header and body being known.
func LoadOf(m *message.Message) Load {
	return Load{Size: m.Size(), EightBit: m.NeedsEightBit(), UTF8: m.NeedsSMTPUTF8()}
}

// Offer is what a server carries.
type Offer struct {
	// Size is the largest message in octets; 0 is no limit.
	Size int64
	// EightBit: 8BITMIME, UTF8: SMTPUTF8.
	EightBit, UTF8 bool
}

// anything is the offer of a server that was not asked yet.
var anything = Offer{EightBit: true, UTF8: true}

// offer is what the reply to EHLO says of it.
func (e extensions) offer() Offer {
	return Offer{Size: e.maxSize(), EightBit: e.has("8BITMIME"), UTF8: e.has("SMTPUTF8")}
}

// Refuse is the reply to a message that asks for more than is offered, nil when
// it does not. A client may read it, and whoever reads the message's history.
func (o Offer) Refuse(l Load) *message.Reply {
	switch {
	case o.Size > 0 && l.Size > o.Size:
		return message.Refuse(552, "5.3.4", "the message has %d octets, and the mail server it goes through takes at most %d", l.Size, o.Size)
	case l.UTF8 && !o.UTF8:
		return message.Refuse(550, "5.6.7", "an address or the header is not plain ASCII, and the mail server it goes through does not offer SMTPUTF8")
	case l.EightBit && !o.EightBit:
		return message.Refuse(554, "5.6.3", "the message holds 8-bit text, and the mail server it goes through does not offer 8BITMIME; encode it as quoted-printable or base64")
	}
	return nil
}

// or is the most that is offered by one or the other.
func (o Offer) or(p Offer) Offer {
	most := Offer{EightBit: o.EightBit || p.EightBit, UTF8: o.UTF8 || p.UTF8}
	if o.Size > 0 && p.Size > 0 {
		most.Size = max(o.Size, p.Size)
	}
	return most
}

// refuseAll is why none of the offers is enough; nil when one is, or there is
// none at all. It speaks of the best there is: of the largest size, of SMTPUTF8
// when nobody has it.
func refuseAll(offers []Offer, l Load) *message.Reply {
	fits := func(o Offer) bool { return o.Refuse(l) == nil }
	if len(offers) == 0 || slices.ContainsFunc(offers, fits) {
		return nil
	}
	best := offers[0]
	for _, o := range offers[1:] {
		best = best.or(o)
	}
	if reply := best.Refuse(l); reply != nil {
		return reply
	}
	return message.Refuse(554, "5.3.3", "the message asks for more than any one of the mail servers it could go through offers")
}

// offerKept is how long an offer is remembered. Mail that is refused for it
// makes no connection on which a better one could be heard, so at the latest
// then the server is asked again.
const offerKept = time.Hour

// heard is the offer a server made last.
type heard struct {
	mu    sync.Mutex
	offer Offer
	until time.Time
}

func (h *heard) set(o Offer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.offer, h.until = o, time.Now().Add(offerKept)
}

// get is anything when the server was not heard for long.
func (h *heard) get() Offer {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !time.Now().Before(h.until) {
		return anything
	}
	return h.offer
}

// Offers is what each upstream of the lane is known to offer, in order of
// preference.
func (s *Set) Offers(lane string) []Known {
	var all []Known
	for _, u := range s.lanes[lane] {
		all = append(all, Known{u.cfg.Name, u.transport.offer()})
	}
	return all
}

// Suppose has every server of the Set be known to offer that much, as if it had
// just been heard.
func (s *Set) Suppose(o Offer) {
	for _, u := range s.upstreams {
		if h, ok := u.transport.(*smarthost); ok {
			h.heard.set(o)
		}
	}
}

// Known is the last offer of an upstream.
type Known struct {
	Upstream string
	Offer    Offer
}

// Carries tells whether a message may go into the lane: nil when one of its
// upstreams can carry it as far as is known, else the reply to refuse it with.
// An upstream is known by what it offered on its last connection.
func (s *Set) Carries(lane string, l Load) *message.Reply {
	var offers []Offer
	for _, u := range s.lanes[lane] {
		offers = append(offers, u.transport.offer())
	}
	return refuseAll(offers, l)
}
