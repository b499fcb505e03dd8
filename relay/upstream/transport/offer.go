package transport

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
	// DSN: it is told who wants which reports, and makes them (RFC 3461).
	DSN bool
	// Recipients is how many one transaction takes; 0 is no limit.
	Recipients int
	// NoEnvelope: whoever stands in To, Cc and Bcc gets the message, and nobody else.
	NoEnvelope bool
	// NoQuotedPrintable: it damages parts in quoted-printable (RFC 2045, section
	// 6.7); base64 comes through.
	NoQuotedPrintable bool
}

// Anything is the offer of a server that was not asked yet.
var Anything = Offer{EightBit: true, UTF8: true}

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

// Unable are the recipients of m, by index, whom a server cannot serve that
// offers so much, with what they are to be told.
func (o Offer) Unable(m *message.Message) map[int]Result {
	reply := o.Refuse(LoadOf(m))
	if reply == nil {
		return nil
	}
	all := o.Refuse(LoadOf(toASCII(m))) != nil // it is not only some of the addresses
	refused := map[int]Result{}
	for i, r := range m.To {
		if all || !r.Address.IsASCII() {
			refused[i] = Own(message.Failed, reply.Enhanced, "%s", reply.Text)
		}
	}
	return refused
}

// toASCII is m without the recipients whose address is not ASCII.
func toASCII(m *message.Message) *message.Message {
	part := *m
	part.To = slices.DeleteFunc(slices.Clone(m.To), func(r message.Recipient) bool { return !r.Address.IsASCII() })
	return &part
}

// Or is the most that is offered by one or the other.
func (o Offer) Or(p Offer) Offer {
	most := Offer{EightBit: o.EightBit || p.EightBit, UTF8: o.UTF8 || p.UTF8}
	if o.Size > 0 && p.Size > 0 {
		most.Size = max(o.Size, p.Size)
	}
	return most
}

// offerKept is how long an offer is remembered. Mail that is refused for it
// makes no connection on which a better one could be heard, so at the latest
// then the server is asked again.
const offerKept = time.Hour

// Heard is the offer a server made last.
type Heard struct {
	mu    sync.Mutex
	offer Offer
	until time.Time
}

// Set notes an offer that was just made.
func (h *Heard) Set(o Offer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.offer, h.until = o, time.Now().Add(offerKept)
}

// Get is Anything when the server was not heard for long.
func (h *Heard) Get() Offer {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !time.Now().Before(h.until) {
		return Anything
	}
	return h.offer
}
