package queue

import (
	"cmp"
	"context"
)

// Reassign implements Store.
func (s *SQLite) Reassign(ctx context.Context, c *Claim, upstream string) error {
	err := s.w.do(ctx, other, func(t *tx) error {
		for _, d := range c.deliveries {
			if err := t.reassign(c.key, s.incarnation, d, upstream); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.Upstream = upstream
	for i := range c.deliveries {
		c.deliveries[i].Upstream = upstream
	}
	return nil
}

// reassign notes whom a delivery is sent through; errNotOurs when it is not
// being sent by that owner any more.
func (t *tx) reassign(key int64, owner string, d Delivery, upstream string) error {
	row, err := t.exec(`UPDATE deliveries SET upstream = ? WHERE message = ? AND n = ? AND state = 'sending' AND owner = ?`,
		upstream, key, d.n, owner)
	if err != nil {
		return err
	}
	if n, err := row.RowsAffected(); err != nil || n != 1 {
		return cmp.Or(err, errNotOurs)
	}
	return nil
}
