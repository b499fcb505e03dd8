package queue

import (
	"context"
	"database/sql"
	"encoding/json"
	"iter"
	"time"
)

// Digest implements Store.
func (s *SQLite) Digest(ctx context.Context, every time.Duration, write func(failures iter.Seq[Failure]) Report) (id string, err error) {
	if due, err := s.digestDue(ctx, every); err != nil || !due {
		return "", err
	}
	d := digesting{write: write, now: time.Now()}
	if err := s.w.do(ctx, outcome, d.apply); err != nil {
		return "", err
	}
	s.bells.ring(d.report.Lane)
	return d.report.Message.ID, nil
}

// digestDue tells whether the first failure has waited so long, or comes from a
// future that the clock has left.
func (s *SQLite) digestDue(ctx context.Context, every time.Duration) (bool, error) {
	var first sql.NullInt64
	if err := s.db.QueryRowContext(ctx, `SELECT at FROM digest ORDER BY n LIMIT 1`).Scan(&first); err != nil {
		if err == sql.ErrNoRows {
			err = nil
		}
		return false, err
	}
	waited := time.Since(fromMillis(first.Int64))
	return waited >= every || waited < 0, nil
}

// digesting is Digest on its way through the writer.
type digesting struct {
	write func(iter.Seq[Failure]) Report
	now   time.Time

	report Report
	err    error // of reading
}

func (d *digesting) apply(t *tx) error {
	d.err = nil
	d.report = d.write(func(yield func(Failure) bool) { d.err = t.failures(yield) })
	if d.err != nil {
		return d.err
	}
	if err := t.report(d.report, d.now); err != nil {
		return err
	}
	_, err := t.exec(`DELETE FROM digest`)
	return err
}

// failures reads what is left to the digest, in order.
func (t *tx) failures(yield func(Failure) bool) error {
	rows, err := t.query(`SELECT at, detail FROM digest ORDER BY n`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var at int64
		var detail string
		if err := rows.Scan(&at, &detail); err != nil {
			return err
		}
		f := Failure{At: fromMillis(at)}
		if json.Unmarshal([]byte(detail), &f.Settled) != nil {
			f.Reply.Text = detail // damaged, and better shown than lost
		}
		if !yield(f) {
			break
		}
	}
	return rows.Err()
}
