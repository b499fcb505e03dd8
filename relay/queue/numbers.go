package queue

import (
	"context"
	"database/sql"
	"time"

	"postern/metrics"
)

// Numbers implements Store. It reads only indexes of what has not ended.
func (s *SQLite) Numbers(ctx context.Context) (metrics.QueueNumbers, error) {
	n := metrics.QueueNumbers{Deliveries: map[string]int{}, Waiting: map[string]int{}}
	var err error
	if n.FreeBytes, err = freeSpace(s.dir); err != nil {
		return n, err
	}
	var oldest, bytes sql.NullInt64
	err = s.db.QueryRowContext(ctx, `SELECT min(received), CAST(total(size) AS INTEGER) FROM messages WHERE finished IS NULL`).Scan(&oldest, &bytes)
	if err != nil {
		return n, err
	}
	n.Bytes = bytes.Int64
	if oldest.Valid {
		n.OldestSeconds = max(0, time.Since(fromMillis(oldest.Int64)).Seconds())
	}
	rows, err := s.db.QueryContext(ctx, `
		SELECT lane, state, count(*) FROM deliveries INDEXED BY deliveries_due WHERE `+waiting+` GROUP BY lane, state UNION ALL
		SELECT '', state, count(*) FROM deliveries INDEXED BY deliveries_rest WHERE state IN ('sending','held') GROUP BY state`)
	if err != nil {
		return n, err
	}
	defer rows.Close()
	for rows.Next() {
		var lane, state string
		var count int
		if err := rows.Scan(&lane, &state, &count); err != nil {
			return n, err
		}
		n.Deliveries[state] += count
		if state != string(Sending) && state != string(Held) {
			n.Waiting[lane] += count
		}
	}
	return n, rows.Err()
}
