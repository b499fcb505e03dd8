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

// List implements Reader.
func (r *reader) List(ctx context.Context, f Filter) ([]Entry, error) {
	query, args := f.query(r.columns(entryColumns))
	rows, err := r.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var entries []Entry
	var keys []int64
	for rows.Next() {
		e, key, err := scanEntry(rows)
		if err != nil {
			return nil, err
		}
		entries, keys = append(entries, e), append(keys, key)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	for i := range entries {
		if err := r.loadDeliveries(ctx, &entries[i], keys[i]); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

const entryColumns = `m.n, m.id, m.received, m.finished, m.size, m.damaged, m.sender, m.envelope, m.client, m.about`

// query is the filter in SQL. When only messages that have not ended can
// match, those are walked, and not the ids of all that have.
func (f Filter) query(columns string) (string, []any) {
	var where []string
	var args []any
	and := func(condition string, values ...any) {
		where, args = append(where, condition), append(args, values...)
	}
	id, from := "m.id", "messages m"
	if !f.All && !slices.ContainsFunc(f.States, State.Ended) {
		id, from = "+m.id", "messages m INDEXED BY messages_open"
		and("m.finished IS NULL")
	}
	order := " ASC"
	if f.Newest {
		order = " DESC"
	}
	switch {
	case f.After == "":
	case f.Newest:
		and(id+" < ?", f.After)
	default:
		and(id+" > ?", f.After)
	}
	if f.Account != "" {
		and("m.account = ? COLLATE NOCASE", f.Account)
	}
	if f.Sender != "" {
		and("m.sender = ? COLLATE NOCASE", f.Sender)
	}
	if condition, values := f.delivery(); condition != "" {
		and("EXISTS (SELECT 1 FROM deliveries d WHERE d.message = m.n"+condition+")", values...)
	}
	limit := f.Limit
	if limit <= 0 {
		limit = listLimit
	}
	if len(where) == 0 {
		and("TRUE")
	}
	return "SELECT " + columns + " FROM " + from + " WHERE " + strings.Join(where, " AND ") +
		" ORDER BY " + id + order + " LIMIT ?", append(args, limit)
}

// delivery is what one delivery of the message must fulfil; "" when nothing.
func (f Filter) delivery() (where string, args []any) {
	if len(f.States) > 0 {
		where += " AND d.state IN (?" + strings.Repeat(",?", len(f.States)-1) + ")"
		for _, s := range f.States {
			args = append(args, s)
		}
	}
	if f.Recipient != "" {
		where, args = where+" AND d.recipient = ? COLLATE NOCASE", append(args, f.Recipient)
	}
	if f.Lane != "" {
		where, args = where+" AND d.lane = ?", append(args, f.Lane)
	}
	return where, args
}

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
