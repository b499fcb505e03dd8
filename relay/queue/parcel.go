package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"postern/relay/message"
)

// Parcel is a message between two stores.
type Parcel struct {
	// Message has only those recipients that have not ended.
	Message *message.Message
	// Deliveries are how far these have come, parallel to Message.To.
	Deliveries []Delivery
	// Ended is what became of the others.
	Ended []EventResult
	// History is that of the stores it was in.
	History []Event
	// Warned is set when its sender has been told of its delay.
	Warned bool
}

// Pack implements Store.
func (s *SQLite) Pack(ctx context.Context, id string) (*Parcel, error) {
	e, err := s.Show(ctx, id)
	switch {
	case err != nil:
		return nil, err
	case !e.Finished.IsZero():
		return nil, fmt.Errorf("it has ended: %w", ErrNotFound)
	case e.Damaged != "":
		return nil, errors.New("it is damaged: " + e.Damaged)
	}
	if err := whole(e.Body); err != nil {
		return nil, err
	}
	before, warned, err := s.beforeMove(ctx, e.ID)
	if err != nil {
		return nil, err
	}
	p := &Parcel{History: e.History, Warned: warned, Message: &message.Message{ID: e.ID, Envelope: e.Envelope, Header: e.Header, Body: e.Body,
		Client: e.Client, Received: e.Received, About: e.About}}
	p.Message.To = nil
	for i, d := range e.Deliveries {
		if d.unreadable {
			return nil, fmt.Errorf("it is damaged: its recipient %q cannot be read", d.Recipient.Address.Local)
		}
		if d.State.Ended() {
			p.Ended = append(p.Ended, d.result())
			continue
		}
		if was, ok := before[i]; ok {
			d.State, d.NextAt = was.State, was.NextAt
		}
		if d.State == Sending { // nobody who reads this later knows how that ended
			d.State, d.Lane = Uncertain, message.PinnedLane(d.Upstream)
		}
		p.Message.To, p.Deliveries = append(p.Message.To, d.Recipient), append(p.Deliveries, d)
	}
	if len(p.Deliveries) == 0 {
		return nil, fmt.Errorf("it has ended: %w", ErrNotFound)
	}
	return p, nil
}

// whole reads a body to its end, where damage shows.
func whole(b message.Body) error {
	r, err := b.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err
}

// beforeMove is where the deliveries of a message stood, by their place in it,
// that are held for a move.
func (s *SQLite) beforeMove(ctx context.Context, id string) (map[int]Delivery, bool, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT m.warned, d.owner, d.next_at, `+deliveryColumns+`
		FROM messages m JOIN deliveries d ON d.message = m.n WHERE m.id = ? ORDER BY d.n`, id)
	if err != nil {
		return nil, false, err
	}
	defer rows.Close()
	before, warned := map[int]Delivery{}, false
	for rows.Next() {
		var owner string
		var next int64
		d, err := scanDelivery(rows, &warned, &owner, &next)
		if err != nil {
			return nil, false, err
		}
		was, ok := strings.CutPrefix(owner, marked)
		if !ok || d.State != Held {
			continue
		}
		if d.State = State(was); d.State != Held {
			d.NextAt = fromMillis(next)
		}
		before[d.n] = d
	}
	return before, warned, rows.Err()
}

// record is a Parcel without its content, as it stands in an archive. Its names
// are a promise to archives.
type record struct {
	ID       string    `json:"id"`
	Received time.Time `json:"received"`
	From     string    `json:"from"`
	mailParameters
	About      string           `json:"about,omitempty"`
	Warned     bool             `json:"warned,omitempty"`
	Client     message.Client   `json:"client"`
	Deliveries []recordDelivery `json:"deliveries"`
	Ended      []EventResult    `json:"ended,omitempty"`
	History    []recordEvent    `json:"history,omitempty"`
}

type recordDelivery struct {
	Recipient string `json:"recipient"`
	rcptParameters
	State State `json:"state"`
	// Route is where it waited, PinnedTo the upstream it may have left by.
	Route    string        `json:"route,omitempty"`
	PinnedTo string        `json:"pinned_to,omitempty"`
	Upstream string        `json:"upstream,omitempty"` // last tried
	Attempts int           `json:"attempts"`
	NextAt   time.Time     `json:"next_at,omitzero"`
	Reply    message.Reply `json:"reply,omitzero"`
	RemoteID string        `json:"remote_id,omitempty"`
}

type recordEvent struct {
	At   time.Time `json:"at"`
	What string    `json:"what"`
	Event
}

// Record is all of the parcel but the content of its message, as JSON.
func (p *Parcel) Record() ([]byte, error) {
	m := p.Message
	r := record{ID: m.ID, Received: m.Received.UTC(), From: m.From.String(), About: m.About, Warned: p.Warned, Client: m.Client, Ended: p.Ended,
		mailParameters: mailParameters{m.Return, m.EnvelopeID, m.BodyType, m.SMTPUTF8, m.DeclaredSize}}
	for _, d := range p.Deliveries {
		rd := recordDelivery{Recipient: d.Recipient.Address.String(), State: d.State, Upstream: d.Upstream, Attempts: d.Attempts,
			rcptParameters: rcptParameters{d.Recipient.Notify, d.Recipient.OriginalType, d.Recipient.Original},
			NextAt:         d.NextAt.UTC(), Reply: d.Reply, RemoteID: d.RemoteID}
		if pinned, ok := message.PinnedTo(d.Lane); ok {
			rd.PinnedTo = pinned
		} else {
			rd.Route = message.RouteOf(d.Lane)
		}
		r.Deliveries = append(r.Deliveries, rd)
	}
	for _, e := range p.History {
		r.History = append(r.History, recordEvent{e.At.UTC(), e.What, e})
	}
	return json.Marshal(r)
}

// ParseRecord is the parcel of a record, whose message has no content yet.
func ParseRecord(b []byte) (*Parcel, error) {
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, err
	}
	if r.ID == "" || strings.ToLower(r.ID) != r.ID || r.Received.IsZero() || len(r.Deliveries) == 0 {
		return nil, errors.New("it has no id, no time or no deliveries")
	}
	p := &Parcel{Warned: r.Warned, Ended: r.Ended, Message: &message.Message{ID: r.ID, Client: r.Client, Received: r.Received, About: r.About}}
	m := p.Message
	if err := m.From.UnmarshalText([]byte(r.From)); err != nil {
		return nil, err
	}
	q := r.mailParameters
	m.Return, m.EnvelopeID, m.BodyType, m.SMTPUTF8, m.DeclaredSize = q.Return, q.EnvelopeID, q.BodyType, q.SMTPUTF8, q.DeclaredSize
	for _, rd := range r.Deliveries {
		d, err := rd.delivery()
		if err != nil {
			return nil, err
		}
		m.To, p.Deliveries = append(m.To, d.Recipient), append(p.Deliveries, d)
	}
	for _, e := range r.History {
		e.Event.At, e.Event.What = e.At, e.What
		p.History = append(p.History, e.Event)
	}
	return p, nil
}

func (rd recordDelivery) delivery() (Delivery, error) {
	d := Delivery{State: rd.State, Lane: rd.Route, Upstream: rd.Upstream, Attempts: rd.Attempts, NextAt: rd.NextAt, Reply: rd.Reply, RemoteID: rd.RemoteID}
	if rd.PinnedTo != "" {
		d.Lane = message.PinnedLane(rd.PinnedTo)
	}
	switch {
	case d.State != Queued && d.State != Deferred && d.State != Held && d.State != Uncertain:
		return d, fmt.Errorf("%q is no state of what waits", d.State)
	case d.State == Uncertain && rd.PinnedTo == "":
		return d, errors.New("it is uncertain, and does not say of which upstream")
	}
	d.Recipient.Notify, d.Recipient.OriginalType, d.Recipient.Original = rd.Notify, rd.OriginalType, rd.Original
	return d, d.Recipient.Address.UnmarshalText([]byte(rd.Recipient))
}
