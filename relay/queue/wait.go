package queue

import (
	"context"
	"database/sql"
	"time"
)

// maxNap bounds a wait, because the clock of the wall may be set meanwhile.
const maxNap = time.Minute

// Wait implements Store.
func (s *SQLite) Wait(ctx context.Context, lane string) error {
	for {
		bell := s.bells.listen(lane)
		next, err := s.earliest(ctx, lane)
		if err != nil {
			return err
		}
		nap := maxNap
		if !next.IsZero() {
			nap = min(nap, time.Until(next))
		}
		if s.w.unrecorded.Load() > 0 {
			nap = time.Second // nothing may be claimed until the outcomes are recorded
		} else if nap <= 0 {
			return nil
		}
		if err := s.nap(ctx, nap, bell); err != nil {
			return err
		}
	}
}

// nap returns nil when the time is over or the bell has rung.
func (s *SQLite) nap(ctx context.Context, d time.Duration, bell <-chan struct{}) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-bell:
	case <-timer.C:
	case <-s.w.failed:
		return s.w.err
	case <-s.w.ended:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// earliest is when the first delivery of a lane is due; zero when none waits.
func (s *SQLite) earliest(ctx context.Context, lane string) (time.Time, error) {
	var next sql.NullInt64
	err := s.db.QueryRowContext(ctx, `SELECT min(next_at) FROM (`+eachAccount+`)`, lane).Scan(&next)
	return fromMillis(next.Int64), err
}
