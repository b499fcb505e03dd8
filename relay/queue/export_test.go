package queue

import (
	"context"
	"time"
)

// What the tests of this package reach inside for: faults that a disk makes.

// FailCommits lets commits fail with what fault returns, unless that is nil.
func (s *SQLite) FailCommits(fault func() error) error {
	return s.w.do(context.Background(), other, func(*tx) error {
		commit := s.w.commit
		s.w.commit = func() error {
			if err := fault(); err != nil {
				return err
			}
			return commit()
		}
		return nil
	})
}

// Exec runs a statement in the database.
func (s *SQLite) Exec(query string, args ...any) error {
	return s.w.do(context.Background(), other, func(t *tx) error {
		_, err := t.exec(query, args...)
		return err
	})
}

// Impatient has the store wait for other programs not at all.
func (s *SQLite) Impatient() error {
	return s.Exec("PRAGMA busy_timeout(0)")
}

// LimitLog has the write-ahead log brought back from that size.
func (s *SQLite) LimitLog(size int64) error {
	return s.w.do(context.Background(), other, func(*tx) error {
		s.w.log.limit, s.w.log.next = size, size
		return nil
	})
}

// InFlight is how many accepts and outcomes are expected.
func (s *SQLite) InFlight() (accepts, outcomes int64) {
	return s.w.accepts.Load(), s.w.outcomes.Load()
}

// NextAttempt and Expired are the schedule of cfg.
func NextAttempt(cfg Config, attempts int, now time.Time, chance float64) time.Time {
	return newSchedule(cfg, "").next(attempts, now, chance)
}

func Expired(cfg Config, received, now time.Time) bool {
	return newSchedule(cfg, "").expired(received, now)
}

// FailCopy lets the copying of the log end with err.
func (s *SQLite) FailCopy(err error) error {
	return s.w.do(context.Background(), other, func(*tx) error {
		s.w.log.copying = true
		s.w.log.copied <- err
		return nil
	})
}

// Advise is what a person is told of an error of Open.
var Advise = advise

// Unfit is what is wrong with a file system.
var Unfit = unfit

// File and Files are how body files are written; a Disk really writes them.
type (
	File  = file
	Files interface {
		Create(path string) (File, error)
		Remove(path string) error
		SyncDir(dir string) error
	}
)

// exported makes Files what the store wants.
type exported struct{ Files }

func (e exported) create(path string) (file, error) { return e.Create(path) }
func (e exported) remove(path string) error         { return e.Remove(path) }
func (e exported) syncDir(dir string) error         { return e.SyncDir(dir) }

// WriteBy has the store write its body files so.
func (s *SQLite) WriteBy(f Files) { s.files = exported{f} }

// SyncDir makes the names in a directory durable.
var SyncDir = syncDir

// Unsynced has commits synced no more.
func (s *SQLite) Unsynced() error {
	return s.w.do(context.Background(), other, func(t *tx) error {
		for _, step := range []string{"COMMIT", "PRAGMA synchronous(OFF)", "BEGIN IMMEDIATE"} {
			if err := t.w.exec(step); err != nil {
				return err
			}
		}
		return nil
	})
}

// Fill takes into the index of the history all that goes there, at once.
func (s *SQLite) Fill(ctx context.Context) error {
	for after := int64(0); ; {
		next, _, err := s.fillSome(ctx, after, time.Now().Add(time.Hour), false)
		if err != nil || next == 0 {
			return err
		}
		after = next
	}
}

// StopFilling leaves it to Fill.
func (s *SQLite) StopFilling() {
	s.stopFilling()
	s.filling.Wait()
}

// Known counts the messages that the index of the history knows as they are, and
// Terms all that are in it.
func (s *SQLite) Known() int { return s.count("SELECT count(*) FROM messages WHERE sought = 1") }
func (s *SQLite) Terms() int { return s.count("SELECT count(*) FROM search") }

func (s *SQLite) count(query string) (n int) {
	if s.db.QueryRow(query).Scan(&n) != nil {
		return -1
	}
	return n
}

// FreshReach is how many messages a search looks at that the index does not know.
const FreshReach = freshReach

// Plan is how the database goes about a search.
func (s *SQLite) Plan(f Filter) (steps []string, err error) {
	for _, w := range s.walks(f) {
		query, args := w.query(entryColumns, f)
		rows, err := s.db.Query("EXPLAIN QUERY PLAN "+query, args...)
		if err != nil {
			return nil, err
		}
		defer rows.Close()
		for rows.Next() {
			var id, parent, unused int
			var step string
			if err := rows.Scan(&id, &parent, &unused, &step); err != nil {
				return nil, err
			}
			steps = append(steps, step)
		}
		if err := rows.Err(); err != nil {
			return nil, err
		}
	}
	return steps, nil
}
