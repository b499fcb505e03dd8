package queue

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"postern/relay/message"
)

// A message leaves for another store in three steps, each durable before the
// next: it is held, with a mark of what it was; somebody writes it to an archive
// and makes that durable; it is dropped here. Whoever dies between two of them
// leaves it held, and never nowhere. A move that fails is called off, which
// makes of it what it was.

// marked begins, in the owner of a held delivery, what it was before it was held
// for a move; its next_at stays what it was.
const marked = "move:"

// step is one step of a move, done with one message.
type step func(t *tx, m concerned, now time.Time) (acted Acted, file string, err error)

// BeginMove implements Store.
func (s *SQLite) BeginMove(ctx context.Context, ids []string, by, archive string) ([]Acted, error) {
	return s.move(ctx, ids, func(t *tx, m concerned, now time.Time) (Acted, string, error) {
		acted := Acted{ID: m.message.ID}
		var damage string
		if err := t.get(`SELECT damaged FROM messages WHERE n = ?`, []any{m.key}, &damage); err != nil {
			return acted, "", err
		}
		open := m.open()
		switch {
		case damage != "":
			acted.Why = "it is damaged: " + damage
		case len(open) == 0:
			acted.Why = "it has ended"
		case slices.ContainsFunc(open, func(d Delivery) bool { return d.State == Sending }):
			acted.Why = "it is being sent right now"
		}
		if acted.Why != "" {
			return acted, "", nil
		}
		_, err := t.exec(`UPDATE deliveries SET owner = CASE WHEN state = 'held' AND owner LIKE 'move:%' THEN owner ELSE 'move:' || state END, state = 'held'
			WHERE message = ? AND state IN ('queued','deferred','held','uncertain')`, m.key)
		if err != nil {
			return acted, "", err
		}
		for i := range open {
			open[i].State = Held
		}
		acted.Deliveries = len(open)
		return acted, "", t.record(m.key, now, "held", Event{Text: "by " + by + ": to be moved to " + archive, Results: results(open)})
	})
}

// CancelMove implements Store.
func (s *SQLite) CancelMove(ctx context.Context, ids []string, by, why string) ([]Acted, error) {
	acted, err := s.move(ctx, ids, func(t *tx, m concerned, now time.Time) (Acted, string, error) {
		acted := Acted{ID: m.message.ID}
		n, err := t.change(`UPDATE deliveries SET state = substr(owner, 6), owner = '' WHERE message = ? AND state = 'held' AND owner LIKE 'move:%'`, m.key)
		if acted.Deliveries = int(n); n == 0 || err != nil {
			acted.Why = "it is not held for a move"
			return acted, "", err
		}
		return acted, "", t.record(m.key, now, "not moved", Event{Text: "by " + by + ": " + why})
	})
	s.bells.ringAll()
	return acted, err
}

// EndMove implements Store.
func (s *SQLite) EndMove(ctx context.Context, ids []string, by, archive string) ([]Acted, error) {
	return s.move(ctx, ids, func(t *tx, m concerned, now time.Time) (acted Acted, file string, err error) {
		acted.ID = m.message.ID
		var free int // deliveries that somebody has meanwhile done something with
		err = t.get(`SELECT count(*) FROM deliveries WHERE message = ? AND state NOT IN ('delivered','failed','dropped')
			AND NOT (state = 'held' AND owner LIKE 'move:%')`, []any{m.key}, &free)
		open := m.open()
		if err != nil || free > 0 || len(open) == 0 {
			acted.Why = "something else was done with it meanwhile, and it is in the archive all the same"
			return acted, "", err
		}
		event := Event{Text: "by " + by + ": to " + archive}
		for i := range open {
			d := &open[i]
			d.State, d.NextAt, d.Reply = Dropped, time.Time{}, message.Reply{Text: "moved to " + archive}
			if err := t.place(m.key, *d); err != nil {
				return acted, "", err
			}
		}
		event.Results, acted.Deliveries = results(open), len(open)
		if err := t.record(m.key, now, moved, event); err != nil {
			return acted, "", err
		}
		file, err = t.finish(m.key, now)
		return acted, file, err
	})
}

// moved is what the history calls the end of a move.
const moved = "moved"

// move does a step with each message.
func (s *SQLite) move(ctx context.Context, ids []string, do step) ([]Acted, error) {
	var all []Acted
	for batch := range slices.Chunk(ids, actBatch) {
		var acted []Acted
		var files []string
		err := s.w.do(ctx, other, func(t *tx) error {
			acted, files = nil, nil
			for _, id := range batch {
				a, file, err := t.step(strings.ToLower(id), do)
				if err != nil {
					return err
				}
				acted = append(acted, a)
				if file != "" {
					files = append(files, file)
				}
			}
			return nil
		})
		if err != nil {
			return all, err
		}
		for _, file := range files {
			s.unlink(file)
		}
		all = append(all, acted...)
	}
	return all, nil
}

func (t *tx) step(id string, do step) (Acted, string, error) {
	found, err := t.deliveries(`SELECT m.n, m.id, m.account, m.received, `+routedBy+`, d.owner, `+deliveryColumns+`
		FROM messages m JOIN deliveries d ON d.message = m.n WHERE m.id = ? ORDER BY d.message, d.n`, id)
	if err == nil && len(found) == 0 {
		return Acted{ID: id, Why: ErrNotFound.Error()}, "", nil
	}
	if err != nil {
		return Acted{}, "", err
	}
	acted, file, err := do(t, found[0], time.Now())
	return acted, file, errors.Join(err, t.changed(found[0].key))
}

// open are the deliveries that have not ended.
func (c concerned) open() []Delivery {
	return slices.DeleteFunc(slices.Clone(c.deliveries), func(d Delivery) bool { return d.State.Ended() })
}

func results(deliveries []Delivery) (all []EventResult) {
	for _, d := range deliveries {
		all = append(all, d.result())
	}
	return all
}
