package queue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"postern/relay/message"
)

// Do is what a person can have done with deliveries.
type Do string

const (
	// Retry makes what waits due now.
	Retry Do = "retry"
	// Hold keeps what waits from being sent until it is released.
	Hold Do = "hold"
	// Release makes what is held due now. What was uncertain stays so, and goes
	// through the same upstream.
	Release Do = "release"
	// Drop ends what waits or is held. Nobody is told.
	Drop Do = "drop"
	// Arrived settles what is uncertain, or was when it was held: it was delivered.
	Arrived Do = "arrived"
	// Lost settles what is uncertain, or was when it was held: it was not
	// delivered, and any upstream of its route may be given it now.
	Lost Do = "lost"
)

// past is what the history calls what was done.
var past = map[Do]string{Retry: "retried", Hold: "held", Release: "released", Drop: "dropped", Arrived: "settled", Lost: "settled"}

// Order has something done with deliveries.
type Order struct {
	Do Do
	// IDs are the messages.
	IDs []string
	// Recipient narrows it to one recipient, in any letter case; "" is all.
	Recipient string
	// By is who ordered it, and Reason why. Both go to the history.
	By, Reason string
}

// Acted is what an Order meant for one message.
type Acted struct {
	ID string `json:"id"`
	// Deliveries is how many of its recipients were concerned.
	Deliveries int `json:"deliveries"`
	// Why tells why it was none.
	Why string `json:"why,omitempty"`
}

// actBatch is how many messages one step of Act changes.
const actBatch = 200

// Act implements Store.
func (s *SQLite) Act(ctx context.Context, o Order, route Router) ([]Acted, error) {
	if past[o.Do] == "" {
		return nil, fmt.Errorf("%q is nothing that can be done with a message", o.Do)
	}
	var all []Acted
	for ids := range slices.Chunk(o.IDs, actBatch) {
		a := acting{store: s, order: o, ids: ids, route: route}
		if err := s.w.do(ctx, other, a.apply); err != nil {
			return all, err
		}
		for _, file := range a.files {
			s.unlink(file)
		}
		for _, lane := range a.lanes {
			s.bells.ring(lane)
		}
		all = append(all, a.acted...)
	}
	return all, nil
}

// acting is one step of Act on its way through the writer.
type acting struct {
	store *SQLite
	order Order
	ids   []string
	route Router

	home  map[int]string // the lanes of what is Lost, in its message
	acted []Acted
	files []string // to unlink
	lanes []string // to ring
}

func (a *acting) apply(t *tx) error {
	a.acted, a.files, a.lanes = nil, nil, nil
	now := time.Now()
	for _, id := range a.ids {
		acted, err := a.message(t, strings.ToLower(id), now)
		if err != nil {
			return err
		}
		a.acted = append(a.acted, acted)
	}
	return nil
}

// message does what was ordered with one message.
func (a *acting) message(t *tx, id string, now time.Time) (Acted, error) {
	acted := Acted{ID: id}
	found, err := t.deliveries(`SELECT m.n, m.id, m.account, m.received, `+routedBy+`, d.owner, `+deliveryColumns+`
		FROM messages m JOIN deliveries d ON d.message = m.n WHERE m.id = ? ORDER BY d.message, d.n`, id)
	if err != nil {
		return acted, err
	}
	if len(found) == 0 {
		acted.Why = ErrNotFound.Error()
		return acted, nil
	}
	m := found[0]
	if acted.Why, err = a.unable(t, m); err != nil || acted.Why != "" {
		return acted, err
	}
	event := Event{Text: a.words()}
	for _, d := range m.deliveries {
		if a.order.Recipient != "" && !strings.EqualFold(d.Recipient.Address.String(), a.order.Recipient) {
			continue
		}
		if acted.Why = a.refuses(d); acted.Why != "" {
			continue
		}
		a.change(&d, now)
		if err := t.place(m.key, d); err != nil {
			return acted, err
		}
		event.Results = append(event.Results, d.result())
		a.lanes = append(a.lanes, d.Lane)
	}
	if acted.Deliveries = len(event.Results); acted.Deliveries == 0 {
		if acted.Why == "" {
			acted.Why = "it has no such recipient"
		}
		return acted, nil
	}
	acted.Why = ""
	if err := t.record(m.key, now, past[a.order.Do], event); err != nil {
		return acted, err
	}
	file, err := t.finish(m.key, now)
	if file != "" {
		a.files = append(a.files, file)
	}
	return acted, err
}

// words are who did it and why.
func (a *acting) words() string {
	text := "by " + a.order.By
	switch a.order.Do {
	case Arrived:
		text = "as delivered " + text
	case Lost:
		text = "as not delivered " + text
	}
	if a.order.Reason != "" {
		text += ": " + a.order.Reason
	}
	return text
}

// refuses says why it cannot be done with a delivery; "" when it can.
func (do Do) refuses(d Delivery) string {
	_, pinned := message.PinnedTo(d.Lane)
	switch {
	case d.State == Sending:
		return "it is being sent right now; try again in a moment"
	case d.State.Ended():
		return "it is " + string(d.State) + " already"
	case do == Release && d.State != Held:
		return "it is not held"
	case (do == Hold || do == Retry) && d.State == Held:
		return "it is held; release sends it"
	case (do == Arrived || do == Lost) && !pinned:
		return "it is not uncertain: it was certainly not delivered yet"
	}
	return ""
}

// change is what the order makes of a delivery it can be done with.
func (a *acting) change(d *Delivery, now time.Time) {
	_, pinned := message.PinnedTo(d.Lane)
	d.NextAt = now
	switch a.order.Do {
	case Hold:
		d.State, d.NextAt = Held, time.Time{}
	case Release:
		d.State = Queued
		if pinned {
			d.State = Uncertain
		}
	case Drop:
		d.State, d.NextAt = Dropped, time.Time{}
		d.Reply = message.Reply{Text: a.words()}
	case Arrived:
		d.State, d.NextAt = Delivered, time.Time{}
		d.Reply = message.Reply{Text: a.words()}
	case Lost:
		d.State, d.Lane = Queued, a.home[d.n]
	}
}

// unable says why nothing can be done with a message; "" when it may be.
func (a *acting) unable(t *tx, m concerned) (why string, err error) {
	var damage string
	if err := t.get(`SELECT damaged FROM messages WHERE n = ?`, []any{m.key}, &damage); err != nil {
		return "", err
	}
	if damage != "" && a.order.Do != Drop {
		return "it is damaged: " + damage + "; it can only be dropped", nil
	}
	if a.order.Do == Lost {
		a.home, err = a.homes(t, m.key)
	}
	return "", err
}

// homes are the lanes that the routes in force have for the recipients of a
// message, by their place in it.
func (a *acting) homes(t *tx, key int64) (map[int]string, error) {
	rows, err := t.query(waitingColumns+` WHERE m.n = ? ORDER BY d.n`, key)
	if err != nil {
		return nil, err
	}
	all, err := scanPlaced(rows)
	homes := map[int]string{}
	for _, p := range all {
		for i, lane := range a.route(a.store.waiting(p, t.get)) {
			homes[p.n[i]] = lane
		}
	}
	return homes, err
}

// refuses says why it cannot be done with a delivery; "" when it can.
func (a *acting) refuses(d Delivery) string {
	if why := a.order.Do.refuses(d); why != "" || a.order.Do != Lost || a.home[d.n] != "" {
		return why
	}
	return "no route takes mail to <" + d.Recipient.Address.String() + "> from this sender any more"
}

// place writes where a delivery stands that nobody is sending.
func (t *tx) place(key int64, d Delivery) error {
	_, err := t.exec(`UPDATE deliveries SET state = ?, lane = ?, next_at = ?, reply = ?, owner = '' WHERE message = ? AND n = ?`,
		d.State, d.Lane, millis(d.NextAt), encode(d.Reply), key, d.n)
	return err
}

// Note implements Store.
func (s *SQLite) Note(ctx context.Context, id, what, text string) error {
	return s.w.do(ctx, other, func(t *tx) error {
		var key int64
		err := t.get(`SELECT n FROM messages WHERE id = ?`, []any{id}, &key)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		return t.record(key, time.Now(), what, Event{Text: text})
	})
}
