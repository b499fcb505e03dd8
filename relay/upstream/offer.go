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

// offer is what a server carries.
type offer struct {
	size           int64 // octets; 0 is no limit
	eightBit, utf8 bool
}

// anything is the offer of a server that was not asked yet.
var anything = offer{eightBit: true, utf8: true}

// offer is what the reply to EHLO says of it.
func (e extensions) offer() offer {
	return offer{size: e.maxSize(), eightBit: e.has("8BITMIME"), utf8: e.has("SMTPUTF8")}
}

// refuse is the reply to a message that asks for more than is offered, nil when
// it does not. A client may read it, and whoever reads the message's history.
func (o offer) refuse(l Load) *message.Reply {
	switch {
	case o.size > 0 && l.Size > o.size:
		return message.Refuse(552, "5.3.4", "the message has %d octets, and the mail server it goes through takes at most %d", l.Size, o.size)
	case l.UTF8 && !o.utf8:
		return message.Refuse(550, "5.6.7", "an address or the header is not plain ASCII, and the mail server it goes through does not offer SMTPUTF8")
	case l.EightBit && !o.eightBit:
		return message.Refuse(554, "5.6.3", "the message holds 8-bit text, and the mail server it goes through does not offer 8BITMIME; encode it as quoted-printable or base64")
	}
	return nil
}

// or is the most that is offered by one or the other.
func (o offer) or(p offer) offer {
	most := offer{eightBit: o.eightBit || p.eightBit, utf8: o.utf8 || p.utf8}
	if o.size > 0 && p.size > 0 {
		most.size = max(o.size, p.size)
	}
	return most
}

// refuseAll is why none of the offers is enough; nil when one is, or there is
// none at all. It speaks of the best there is: of the largest size, of SMTPUTF8
// when nobody has it.
func refuseAll(offers []offer, l Load) *message.Reply {
	fits := func(o offer) bool { return o.refuse(l) == nil }
	if len(offers) == 0 || slices.ContainsFunc(offers, fits) {
		return nil
	}
	best := offers[0]
	for _, o := range offers[1:] {
		best = best.or(o)
	}
	if reply := best.refuse(l); reply != nil {
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
	offer offer
	until time.Time
}

func (h *heard) set(o offer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.offer, h.until = o, time.Now().Add(offerKept)
}

// get is anything when the server was not heard for long.
func (h *heard) get() offer {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !time.Now().Before(h.until) {
		return anything
	}
	return h.offer
}

// Carries tells whether a message may go into the lane: nil when one of its
// upstreams can carry it as far as is known, else the reply to refuse it with.
// An upstream is known by what it offered on its last connection.
func (s *Set) Carries(lane string, l Load) *message.Reply {
	var offers []offer
	for _, u := range s.lanes[lane] {
		offers = append(offers, u.transport.offer())
	}
	return refuseAll(offers, l)
}
