package webapi

import (
	"slices"

	"postern/relay/message"
	"postern/relay/upstream/transport"
)

// Prepared is a letter that is ready to be sent to those recipients who can be
// served.
type Prepared struct {
	// Message is to the recipients who can be served alone; nil if there are none.
	Message *message.Message
	all     int
	refused map[int]transport.Result
}

// Prepare has the letter made ready for what is offered. The error is an
// *[transport.Unfit] or an [transport.Unprepared].
func (c *Client) Prepare(l transport.Letter, o transport.Offer) (Prepared, error) {
	m, err := l.Prepare(o)
	if err != nil {
		return Prepared{}, transport.Unprepared{Err: err}
	}
	load := transport.LoadOf(m)
	if reply := o.Refuse(load); reply != nil && l.Elsewhere(load) {
		return Prepared{}, c.Unfit(reply)
	}
	p := Prepared{all: len(m.To), refused: o.Unable(m)}
	if len(p.refused) == p.all {
		return p, nil
	}
	served := *m
	served.To = nil
	for i, r := range m.To {
		if _, not := p.refused[i]; !not {
			served.To = append(served.To, r)
		}
	}
	p.Message = &served
	return p, nil
}

// Unfit is the error for a message that another upstream may take.
func (c *Client) Unfit(reply *message.Reply) error {
	return &transport.Unfit{Upstream: c.cfg.Name, Reply: reply}
}

// Results is how each recipient fared, when those who can be served all fared
// alike.
func (p Prepared) Results(alike transport.Result) []transport.Result {
	results := slices.Repeat([]transport.Result{alike}, p.all)
	for i, r := range p.refused {
		results[i] = r
	}
	return results
}
