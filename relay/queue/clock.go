package queue

import (
	"context"
	"time"
)

// Times from a future that the clock has left, as of a box that boots with the
// year 2035 until it has asked the network. ?1 is now, ?2 the latest time a
// delivery can be waiting for. What is queued is due now, whatever its time
// says.
const (
	lateDeliveries = waiting + ` AND (next_at > ?2 OR state = 'queued' AND next_at > ?1)`
	lateMessages   = `finished IS NULL AND received > ?1`

	findLate = `SELECT EXISTS (SELECT 1 FROM deliveries INDEXED BY deliveries_due WHERE ` + lateDeliveries + `)
		OR EXISTS (SELECT 1 FROM messages INDEXED BY messages_open WHERE ` + lateMessages + `)`
	mendDeliveries = `UPDATE deliveries INDEXED BY deliveries_due SET next_at = CASE state WHEN 'queued' THEN ?1 ELSE ?2 END WHERE ` + lateDeliveries
	mendMessages   = `UPDATE messages INDEXED BY messages_open SET received = ?1, sought = 0 WHERE ` + lateMessages
)

// mendTimes brings such times back, or mail would wait for years to be tried
// or to be given up. Nearly always there are none, and the writer is left
// alone.
func (s *SQLite) mendTimes(ctx context.Context) error {
	var late bool
	now, ceiling := s.reach()
	if err := s.db.QueryRowContext(ctx, findLate, now, ceiling).Scan(&late); err != nil || !late {
		return err
	}
	var deliveries, messages int64
	err := s.w.do(ctx, other, func(t *tx) error {
		now, ceiling := s.reach()
		var err error
		if deliveries, err = t.change(mendDeliveries, now, ceiling); err != nil {
			return err
		}
		messages, err = t.change(mendMessages, now)
		return err
	})
	if err != nil {
		return err
	}
	s.log.Warn("brought back times that are too far away; has the clock been set back?", "deliveries", deliveries, "messages", messages)
	s.bells.ringAll()
	return nil
}

// reach is now and the latest time a delivery can be waiting for, as in rows.
func (s *SQLite) reach() (now, ceiling int64) {
	t := time.Now()
	return millis(t), millis(s.settings.Load().ceiling(t))
}
