package queue

import (
	"cmp"
	"context"
	"database/sql"
	"slices"

	"postern/relay/message"
)

// rerouteBatch is how many messages one step of Reroute moves.
const rerouteBatch = 500

// movable is the condition of deliveries whose lane may change: also of those
// being sent, since what is deferred must not wait in a lane that is no more.
const movable = `state IN ('queued','deferred','held','sending') AND lane NOT LIKE 'upstream:%'`

// Reroute implements Store.
func (s *SQLite) Reroute(ctx context.Context, route Router) error {
	open, err := s.openMessages(ctx)
	if err != nil {
		return err
	}
	for batch := range slices.Chunk(open, rerouteBatch) {
		moves, err := s.moves(ctx, batch, route)
		if err != nil {
			return err
		}
		if len(moves) == 0 {
			continue
		}
		if err := s.w.do(ctx, other, func(t *tx) error { return relane(t, moves) }); err != nil {
			return err
		}
	}
	s.bells.ringAll()
	return nil
}

// Lanes implements Store.
func (s *SQLite) Lanes(ctx context.Context) (map[string]int, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT lane, count(*) FROM deliveries INDEXED BY deliveries_due WHERE `+waiting+` GROUP BY lane`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	lanes := map[string]int{}
	for rows.Next() {
		var lane string
		var n int
		if err := rows.Scan(&lane, &n); err != nil {
			return nil, err
		}
		lanes[lane] = n
	}
	return lanes, rows.Err()
}

// routedBy is the sender that chooses the route of messages m, as
// [message.Message.RoutedBy].
const routedBy = `iif(m.about = '', m.sender, (SELECT recipient FROM deliveries WHERE message = m.n ORDER BY n LIMIT 1))`

// openMessages are the rows of what has not ended, in their order.
func (s *SQLite) openMessages(ctx context.Context) ([]int64, error) {
	keys, err := s.keys(ctx, `SELECT n FROM messages INDEXED BY messages_open WHERE finished IS NULL`)
	slices.Sort(keys)
	return keys, err
}

// laneMove takes a delivery from one lane to another.
type laneMove struct {
	key      int64
	n        int
	from, to string
}

// moves is what the routes change about these messages.
func (s *SQLite) moves(ctx context.Context, keys []int64, route Router) ([]laneMove, error) {
	rows, err := s.db.QueryContext(ctx, waitingColumns+` WHERE m.n BETWEEN ? AND ? AND m.finished IS NULL AND d.`+movable+` ORDER BY m.n, d.n`,
		keys[0], keys[len(keys)-1])
	if err != nil {
		return nil, err
	}
	placed, err := scanPlaced(rows)
	if err != nil {
		return nil, err
	}
	var moves []laneMove
	for _, p := range placed {
		lanes := route(s.waiting(p, func(query string, args []any, dest ...any) error {
			return s.db.QueryRowContext(ctx, query, args...).Scan(dest...)
		}))
		for i, lane := range lanes {
			if lane != "" && lane != p.lanes[i] {
				moves = append(moves, laneMove{p.key, p.n[i], p.lanes[i], lane})
			}
		}
	}
	return moves, nil
}

// relane moves deliveries that have not ended.
func relane(t *tx, moves []laneMove) error {
	for _, m := range moves {
		if _, err := t.exec(`UPDATE deliveries SET lane = ? WHERE message = ? AND n = ? AND +lane = ? AND `+movable, m.to, m.key, m.n, m.from); err != nil {
			return err
		}
	}
	return nil
}

// placed is a message and where its recipients wait.
type placed struct {
	Waiting
	key   int64
	n     []int // parallel to To
	lanes []string
}

// waitingColumns are what scanPlaced reads, ordered by message.
const waitingColumns = `SELECT m.n, m.account, ` + routedBy + `, m.size, CASE WHEN json_valid(m.client) THEN coalesce(m.client ->> '$.Listener', '') ELSE '' END,
	d.n, d.recipient, d.lane FROM messages m JOIN deliveries d ON d.message = m.n`

// scanPlaced groups deliveries by message. Those whose addresses cannot be read
// are left out: they are damaged.
func scanPlaced(rows *sql.Rows) ([]placed, error) {
	defer rows.Close()
	var all []placed
	for rows.Next() {
		var p placed
		var n int
		var sender, recipient, lane string
		if err := rows.Scan(&p.key, &p.Account, &sender, &p.Size, &p.Listener, &n, &recipient, &lane); err != nil {
			return nil, err
		}
		var to message.Address
		if cmp.Or(p.From.UnmarshalText([]byte(sender)), to.UnmarshalText([]byte(recipient))) != nil {
			continue
		}
		if len(all) == 0 || all[len(all)-1].key != p.key {
			all = append(all, p)
		}
		last := &all[len(all)-1]
		last.To, last.n, last.lanes = append(last.To, to), append(last.n, n), append(last.lanes, lane)
	}
	return all, rows.Err()
}

// waiting is what a Router is told of a message, which get reads.
func (s *SQLite) waiting(p placed, get func(query string, args []any, dest ...any) error) Waiting {
	w := p.Waiting
	w.Read = func() (*message.Message, error) {
		m, err := scanMessage(s.spoolDir(), func(dest ...any) error {
			return get(`SELECT `+messageColumns+` FROM messages m LEFT JOIN contents c ON c.message = m.n WHERE m.n = ?`, []any{p.key}, dest...)
		})
		if err != nil {
			return nil, err
		}
		for _, to := range w.To {
			m.To = append(m.To, message.Recipient{Address: to})
		}
		return m, nil
	}
	return w
}
