package queue

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// reader looks at the database through connections that cannot write. Readers
// never wait for the writer, nor it for them.
type reader struct {
	db  *sql.DB
	dir string
	old bool // the database is not yet brought up to date, and knows no reports
	// unindexed: nor has it the index of terms.
	unindexed bool
}

// columns are those of messages m that are there to be read.
func (r *reader) columns(names string) string {
	if r.old {
		return strings.Replace(names, "m.about", "''", 1)
	}
	return names
}

func (r *reader) spoolDir() string { return filepath.Join(r.dir, "spool") }

// listLimit is the length of a list when none is asked for.
const listLimit = 100

// maxList bounds a page, whatever is asked for.
const maxList = 1000

// List implements Reader.
func (r *reader) List(ctx context.Context, f Filter) ([]Entry, error) {
	if !f.open() {
		found, err := r.Search(ctx, f)
		return found.Entries, err
	}
	found, err := r.walk(ctx, f, f.waiting())
	return r.withDeliveries(ctx, found, err)
}

// open tells whether the list is of what has not ended.
func (f Filter) open() bool {
	return !f.All && !slices.ContainsFunc(f.States, State.Ended)
}

// limit is the length of a page.
func (f Filter) limit() int {
	if f.Limit <= 0 {
		return listLimit
	}
	return min(f.Limit, maxList)
}

// row is an entry and its place.
type row struct {
	Entry
	key int64
}

// withDeliveries completes what was found.
func (r *reader) withDeliveries(ctx context.Context, found []row, err error) ([]Entry, error) {
	if err != nil {
		return nil, err
	}
	var entries []Entry
	for _, e := range found {
		if err := r.loadDeliveries(ctx, &e.Entry, e.key); err != nil {
			return nil, err
		}
		entries = append(entries, e.Entry)
	}
	return entries, nil
}

const entryColumns = `m.n, m.id, m.received, m.finished, m.size, m.damaged, m.sender, m.envelope, m.client, m.about`

// scanEntry reads entryColumns. What cannot be parsed is told in Damaged.
func scanEntry(row scanner) (e Entry, key int64, err error) {
	var received int64
	var finished sql.NullInt64
	var sender, envelope, client string
	if err := row.Scan(&key, &e.ID, &received, &finished, &e.Size, &e.Damaged, &sender, &envelope, &client, &e.About); err != nil {
		return e, 0, err
	}
	e.Received, e.Finished = fromMillis(received), fromMillis(finished.Int64)
	var parseErr error
	e.Envelope, parseErr = decodeEnvelope(sender, envelope)
	parseErr = errors.Join(parseErr, json.Unmarshal([]byte(client), &e.Client))
	if parseErr != nil && e.Damaged == "" {
		e.Damaged = parseErr.Error()
	}
	return e, key, nil
}

func (r *reader) loadDeliveries(ctx context.Context, e *Entry, key int64) error {
	rows, err := r.db.QueryContext(ctx, `SELECT `+deliveryColumns+` FROM deliveries d WHERE d.message = ? ORDER BY d.n`, key)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		d, err := scanDelivery(rows)
		if err != nil {
			return err
		}
		e.To = append(e.To, d.Recipient)
		e.Deliveries = append(e.Deliveries, d)
	}
	return rows.Err()
}

// Show implements Reader.
func (r *reader) Show(ctx context.Context, id string) (*Entry, error) {
	id = strings.ToLower(id)
	e, key, err := scanEntry(r.db.QueryRowContext(ctx, `SELECT `+r.columns(entryColumns)+` FROM messages m WHERE m.id = ?`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("%s: %w", id, ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	if err := r.loadDeliveries(ctx, &e, key); err != nil {
		return nil, err
	}
	if err := r.loadHistory(ctx, &e, key); err != nil {
		return nil, err
	}
	if e.Finished.IsZero() {
		r.loadContent(ctx, &e, key)
	}
	return &e, nil
}

func (r *reader) loadHistory(ctx context.Context, e *Entry, key int64) error {
	rows, err := r.db.QueryContext(ctx, `SELECT at, what, detail FROM history WHERE message = ? ORDER BY n`, key)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var event Event
		var at int64
		var what, detail string
		if err := rows.Scan(&at, &what, &detail); err != nil {
			return err
		}
		if json.Unmarshal([]byte(detail), &event) != nil {
			event.Text = detail
		}
		event.At, event.What = fromMillis(at), what
		e.History = append(e.History, event)
	}
	return rows.Err()
}

// loadContent adds header and body. What prevents it is told in Damaged.
func (r *reader) loadContent(ctx context.Context, e *Entry, key int64) {
	m, err := scanMessage(r.spoolDir(), func(dest ...any) error {
		return r.db.QueryRowContext(ctx, `SELECT `+r.columns(messageColumns)+`
			FROM messages m LEFT JOIN contents c ON c.message = m.n WHERE m.n = ?`, key).Scan(dest...)
	})
	if m != nil {
		e.Header, e.Body = m.Header, m.Body
	}
	if err != nil && e.Damaged == "" {
		e.Damaged = err.Error()
	}
}
