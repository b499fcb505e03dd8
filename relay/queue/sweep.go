package queue

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"postern/relay/message"
)

// sweepBatch is how many messages one step of a sweep takes, so that clients
// and deliveries never wait long for it.
const sweepBatch = 200

// Sweep implements Store.
func (s *SQLite) Sweep(ctx context.Context, tell Reporter) ([]Settled, error) {
	if !s.inPlace() {
		return nil, s.Err()
	}
	err := errors.Join(s.restoreReserve(), s.mendTimes(ctx))
	settled, expireErr := s.expire(ctx, tell)
	return settled, errors.Join(err, expireErr, s.forget(ctx))
}

// expire gives up on what waits beyond its time.
func (s *SQLite) expire(ctx context.Context, tell Reporter) ([]Settled, error) {
	var all []Settled
	settings, now := s.settings.Load(), time.Now()
	for _, overdue := range settings.overdue(now) {
		for {
			keys, err := s.keys(ctx, overdue.query, append(overdue.args, sweepBatch)...)
			if err != nil {
				return all, err
			}
			e := expiry{settings: settings, keys: keys, now: now, spoolDir: s.spoolDir(), tell: tell}
			if len(keys) > 0 {
				if err := s.w.do(ctx, outcome, e.apply); err != nil {
					return all, err
				}
			}
			for _, file := range e.files {
				s.unlink(file)
			}
			s.ring(e.lanes)
			all = append(all, e.settled...)
			if len(keys) < sweepBatch || len(e.settled) == 0 {
				break
			}
		}
	}
	return all, nil
}

// finding finds messages; the last argument is how many.
type finding struct {
	query string
	args  []any
}

// overdue finds the messages that have waited for too long, those of routes with
// an expiry of their own one by one. Theirs are found by the lane: by age alone
// each sweep would look at all that waits elsewhere and may be older.
func (s *settings) overdue(now time.Time) []finding {
	own := []string{} // null would not be an array
	var all []finding
	for route, schedule := range s.routes {
		own = append(own, route)
		all = append(all, finding{`SELECT DISTINCT d.message FROM deliveries d INDEXED BY deliveries_due JOIN messages m ON m.n = d.message
			WHERE (lane = ?1 OR lane > ?1 || '/' AND lane < ?1 || '0') AND ` + waiting + ` AND m.received <= ?2 LIMIT ?3`,
			[]any{route, millis(now.Add(-schedule.expire))}})
	}
	names, _ := json.Marshal(own) // of strings it does not fail
	return append(all, finding{`SELECT n FROM messages INDEXED BY messages_open WHERE finished IS NULL AND received <= ?1
		AND EXISTS (SELECT 1 FROM deliveries WHERE message = messages.n AND ` + waiting + `
			AND substr(lane, 1, instr(lane || '/', '/') - 1) NOT IN (SELECT value FROM json_each(?2))) LIMIT ?3`,
		[]any{millis(now.Add(-s.usual.expire)), string(names)}})
}

// keys are the rows that a query finds.
func (s *SQLite) keys(ctx context.Context, query string, args ...any) ([]int64, error) {
	rows, err := s.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var keys []int64
	for rows.Next() {
		var key int64
		if err := rows.Scan(&key); err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, rows.Err()
}

// expiry is one step of expire on its way through the writer.
type expiry struct {
	settings *settings
	keys     []int64 // the messages
	now      time.Time
	spoolDir string
	tell     Reporter

	settled []Settled
	lanes   []string // where reports wait
	files   []string // to unlink
}

func (e *expiry) apply(t *tx) error {
	e.settled, e.lanes, e.files = nil, nil, nil
	waiting, err := t.deliveries(`SELECT m.n, m.id, m.account, m.received, m.sender, d.owner, `+deliveryColumns+`
		FROM deliveries d JOIN messages m ON m.n = d.message
		WHERE d.message IN (SELECT value FROM json_each(?)) AND `+waiting+` ORDER BY d.message, d.n`, encode(e.keys))
	if err != nil {
		return err
	}
	for _, c := range waiting {
		c.deliveries = slices.DeleteFunc(c.deliveries, func(d Delivery) bool {
			return !e.settings.of(d.Lane).expired(c.message.Received, e.now)
		})
		if len(c.deliveries) == 0 {
			continue
		}
		if err := e.giveUp(t, c); err != nil {
			return err
		}
	}
	return nil
}

// giveUp is the end of one message's deliveries.
func (e *expiry) giveUp(t *tx, o concerned) error {
	var event Event
	var settled []Settled
	for _, d := range o.deliveries {
		was := d.State
		d = e.settings.of(d.Lane).giveUp(d)
		if err := t.move(o.key, was, o.owner, d.Lane, &d); err != nil {
			return err
		}
		event.Results = append(event.Results, d.result())
		settled = append(settled, newSettled(&o.message, d))
	}
	if err := t.record(o.key, e.now, "expired", event); err != nil {
		return err
	}
	lanes, err := t.tellOf(e.tell, o, e.spoolDir, settled, e.now)
	if err != nil {
		return err
	}
	e.settled, e.lanes = append(e.settled, settled...), append(e.lanes, lanes...)
	file, err := t.finish(o.key, e.now)
	if file != "" {
		e.files = append(e.files, file)
	}
	return err
}

// concerned is a message without its content, and some of its deliveries.
type concerned struct {
	key        int64
	owner      string
	message    message.Message
	deliveries []Delivery
}

// deliveries reads what a query finds, grouped by message. Its columns are
// m.n, m.id, m.account, m.received, m.sender, d.owner and deliveryColumns,
// ordered by message.
func (t *tx) deliveries(query string, args ...any) ([]concerned, error) {
	rows, err := t.query(query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []concerned
	for rows.Next() {
		var c concerned
		var received int64
		var sender string
		d, err := scanDelivery(rows, &c.key, &c.message.ID, &c.message.Client.Account, &received, &sender, &c.owner)
		if err != nil {
			return nil, err
		}
		c.message.Received = fromMillis(received)
		if c.message.From.UnmarshalText([]byte(sender)) != nil {
			c.message.From = message.Address{Local: sender} // damaged, and good enough to name it
		}
		if len(all) == 0 || all[len(all)-1].key != c.key {
			all = append(all, c)
		}
		last := &all[len(all)-1]
		last.deliveries = append(last.deliveries, d)
	}
	return all, rows.Err()
}

// forget deletes the history of messages that ended longer ago than the
// retention, then the oldest beyond the size it may have.
func (s *SQLite) forget(ctx context.Context) error {
	cfg := s.settings.Load()
	before := time.Now().Add(-cfg.Retention.Std())
	for {
		n, _, err := s.forgetSome(ctx, before)
		if err != nil {
			return err
		}
		if n < sweepBatch {
			break
		}
	}
	var kept sql.NullInt64
	if err := s.db.QueryRowContext(ctx, `SELECT sum(kept) FROM messages WHERE finished IS NOT NULL`).Scan(&kept); err != nil {
		return err
	}
	for over := kept.Int64 - int64(cfg.HistoryMax); over > 0; {
		n, freed, err := s.forgetSome(ctx, time.Now())
		if err != nil || n == 0 {
			return err
		}
		over -= freed
	}
	return nil
}

// forgetSome deletes a batch of the messages that ended before that time,
// oldest first. It returns how many they were and what they took.
func (s *SQLite) forgetSome(ctx context.Context, before time.Time) (n int, freed int64, err error) {
	err = s.w.do(ctx, other, func(t *tx) error {
		n, freed = 0, 0
		var kept sql.NullInt64
		const oldest = `SELECT n FROM messages WHERE finished IS NOT NULL AND finished <= ?1 ORDER BY finished LIMIT ?2`
		args := []any{millis(before), sweepBatch}
		err := t.get(`SELECT count(*), sum(kept) FROM messages WHERE n IN (`+oldest+`)`, args, &n, &kept)
		if err != nil || n == 0 {
			return err
		}
		freed = kept.Int64
		for _, statement := range []string{
			`DELETE FROM search WHERE rowid IN (` + oldest + `)`,
			`DELETE FROM history WHERE message IN (` + oldest + `)`,
			`DELETE FROM deliveries WHERE message IN (` + oldest + `)`,
			`DELETE FROM messages WHERE n IN (` + oldest + `)`,
		} {
			if _, err := t.exec(statement, args...); err != nil {
				return err
			}
		}
		return nil
	})
	return n, freed, err
}
