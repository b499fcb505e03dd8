package queue

import (
	"context"
	"time"
)

// Warn implements Store.
func (s *SQLite) Warn(ctx context.Context, tell Reporter) ([]Settled, error) {
	after := s.settings.Load().WarnAfter.Std()
	if after == 0 {
		return nil, nil
	}
	var all []Settled
	for {
		w := warning{before: time.Now().Add(-after), spoolDir: s.spoolDir(), tell: tell}
		if err := s.w.do(ctx, other, w.apply); err != nil {
			return all, err
		}
		s.ring(w.lanes)
		all = append(all, w.told...)
		if w.messages < sweepBatch {
			return all, nil
		}
	}
}

// warning is one step of Warn on its way through the writer.
type warning struct {
	before   time.Time // what was received by then is late
	spoolDir string
	tell     Reporter

	messages int
	told     []Settled
	lanes    []string
}

// apply marks each message, told of or not, so that it is asked about once.
func (w *warning) apply(t *tx) error {
	w.messages, w.told, w.lanes = 0, nil, nil
	late, err := t.deliveries(`SELECT m.n, m.id, m.account, m.received, m.sender, d.owner, `+deliveryColumns+`
		FROM deliveries d JOIN messages m ON m.n = d.message
		WHERE d.message IN (SELECT n FROM messages INDEXED BY messages_unwarned
			WHERE finished IS NULL AND warned = 0 AND received <= ?
			AND EXISTS (SELECT 1 FROM deliveries WHERE message = messages.n AND `+waiting+`) LIMIT ?)
		AND `+waiting+` ORDER BY d.message, d.n`, millis(w.before), sweepBatch)
	if err != nil {
		return err
	}
	w.messages = len(late)
	for _, c := range late {
		if err := w.warn(t, c); err != nil {
			return err
		}
	}
	return nil
}

func (w *warning) warn(t *tx, c concerned) error {
	var settled []Settled
	for _, d := range c.deliveries {
		d.last = d.Reply
		settled = append(settled, newSettled(&c.message, d))
	}
	lanes, err := t.tellOf(w.tell, c, w.spoolDir, settled, time.Now())
	if err != nil {
		return err
	}
	for _, d := range settled {
		if d.Report != "" {
			w.told = append(w.told, d)
		}
	}
	w.lanes = append(w.lanes, lanes...)
	_, err = t.exec(`UPDATE messages SET warned = 1 WHERE n = ?`, c.key)
	return err
}
