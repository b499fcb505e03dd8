package queue

import (
	"context"
	"slices"

	"postern/relay/message"
)

// rerouteBatch is how many messages one step of Reroute moves.
const rerouteBatch = 500

// Reroute implements Store.
func (s *SQLite) Reroute(ctx context.Context, route func(account string, from message.Address) (lane string, ok bool)) error {
	moves, err := s.moves(ctx, route)
	if err != nil {
		return err
	}
	for batch := range slices.Chunk(moves, rerouteBatch) {
		if err := s.w.do(ctx, other, func(t *tx) error { return relane(t, batch) }); err != nil {
			return err
		}
	}
	s.bells.ringAll()
	return nil
}

// Orphans implements Store.
func (s *SQLite) Orphans(ctx context.Context, lanes []string) (map[string]int, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT lane, count(*) FROM deliveries INDEXED BY deliveries_due WHERE `+waiting+` GROUP BY lane`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	orphans := map[string]int{}
	for rows.Next() {
		var lane string
		var n int
		if err := rows.Scan(&lane, &n); err != nil {
			return nil, err
		}
		if !slices.Contains(lanes, lane) {
			orphans[lane] = n
		}
	}
	return orphans, rows.Err()
}

// routedBy is the sender that chooses the route of messages m, as
// [message.Message.RoutedBy].
const routedBy = `iif(m.about = '', m.sender, (SELECT recipient FROM deliveries WHERE message = m.n ORDER BY n LIMIT 1))`

// laneMove takes a message's deliveries from one lane to another.
type laneMove struct {
	key      int64
	from, to string
}

// moves is what the routes change about the messages that have not ended.
func (s *SQLite) moves(ctx context.Context, route func(string, message.Address) (string, bool)) ([]laneMove, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT DISTINCT m.n, m.account, `+routedBy+`, d.lane FROM messages m INDEXED BY messages_open
		JOIN deliveries d ON d.message = m.n WHERE m.finished IS NULL AND d.state IN ('queued','deferred','held','sending')`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var moves []laneMove
	for rows.Next() {
		var key int64
		var account, sender, lane string
		if err := rows.Scan(&key, &account, &sender, &lane); err != nil {
			return nil, err
		}
		var from message.Address
		if _, pinned := message.PinnedTo(lane); pinned || from.UnmarshalText([]byte(sender)) != nil {
			continue
		}
		if to, ok := route(account, from); ok && to != lane {
			moves = append(moves, laneMove{key, lane, to})
		}
	}
	return moves, rows.Err()
}

// relane moves deliveries that have not ended, those being sent too: should
// they be deferred, they must not wait in a lane that is no more.
func relane(t *tx, moves []laneMove) error {
	for _, m := range moves {
		_, err := t.exec(`UPDATE deliveries SET lane = ? WHERE message = ? AND +lane = ?
			AND state IN ('queued','deferred','held','sending')`, m.to, m.key, m.from)
		if err != nil {
			return err
		}
	}
	return nil
}
