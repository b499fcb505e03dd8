package queue

import (
	"context"
	"database/sql"
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"
)

// walk goes through messages m in an order, by an index, and keeps those that
// match. All values are bound, none is part of the SQL.
type walk struct {
	from, key string // key is what they are ordered by
	where     []string
	args      []any
	words     []string // of replies, where the index does not answer for them
}

func newWalk(from, key string) walk { return walk{from: from, key: key} }

func (w walk) and(condition string, values ...any) walk {
	w.where, w.args = append(slices.Clip(w.where), condition), append(slices.Clip(w.args), values...)
	return w
}

// check has the words of a reply looked for in the history of each message.
func (w walk) check(reply string) walk {
	w.words = words(reply)
	return w
}

// waiting walks what has not ended, by their ids.
func (f Filter) waiting() walk {
	return newWalk("messages m INDEXED BY messages_open", "+m.id").and("m.finished IS NULL")
}

// query is a page of a walk in SQL.
func (w walk) query(columns string, f Filter) (string, []any) {
	order, beyond := " ASC", " > "
	if f.Newest {
		order, beyond = " DESC", " < "
	}
	if f.After != "" {
		after := "(SELECT n FROM messages WHERE id = ?)"
		if w.key == "+m.id" {
			after = "?"
		}
		w = w.and(w.key+beyond+after, strings.ToLower(f.After))
	}
	w = f.narrow(w.and("TRUE"))
	return "SELECT " + columns + " FROM " + w.from + " WHERE " + strings.Join(w.where, " AND ") + " ORDER BY " + w.key + order, w.args
}

// narrow adds what the message, and one delivery of it, must fulfil.
func (f Filter) narrow(w walk) walk {
	if f.ID != "" {
		w = w.and("m.id = ?", strings.ToLower(f.ID))
	}
	if f.Account != "" {
		w = w.and("m.account = ? COLLATE NOCASE", f.Account)
	}
	if f.Sender != "" {
		w = w.and("m.sender = ? COLLATE NOCASE", strings.TrimPrefix(f.Sender, "<>"))
	}
	if !f.Since.IsZero() {
		w = w.and("m.received >= ?", millis(f.Since))
	}
	if !f.Until.IsZero() {
		w = w.and("m.received < ?", millis(f.Until))
	}
	if d := f.delivery(); d.where != nil {
		w = w.and("EXISTS (SELECT 1 FROM deliveries d WHERE d.message = m.n AND "+strings.Join(d.where, " AND ")+")", d.args...)
	}
	return w
}

// delivery is what one delivery of the message must fulfil, all of it.
func (f Filter) delivery() (d walk) {
	if len(f.States) > 0 {
		states, _ := json.Marshal(f.States) // of strings it does not fail
		d = d.and("d.state IN (SELECT value FROM json_each(?))", string(states))
	}
	if f.Recipient != "" {
		d = d.and("d.recipient = ? COLLATE NOCASE", f.Recipient)
	}
	if f.RemoteID != "" {
		d = d.and("d.remote_id = ? COLLATE NOCASE", f.RemoteID)
	}
	if f.Lane != "" {
		d = d.and("d.lane = ?", f.Lane)
	}
	return d
}

// details is the history of a message, a line for each event.
const details = `, (SELECT group_concat(h.detail, char(10)) FROM history h WHERE h.message = m.n)`

// walk finds a page.
func (r *reader) walk(ctx context.Context, f Filter, w walk) ([]row, error) {
	columns := r.columns(entryColumns)
	if w.words != nil {
		columns += details
	}
	query, args := w.query(columns, f)
	rows, err := r.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var found []row
	for len(found) < f.limit() && rows.Next() {
		var history sql.NullString
		var more []any
		if w.words != nil {
			more = []any{&history}
		}
		e, key, err := scanEntry(wider{rows, more})
		if err != nil {
			return nil, err
		}
		if said(history.String, w.words) {
			found = append(found, row{e, key})
		}
	}
	return found, rows.Err()
}

// wider is a row with more columns than its reader asks for.
type wider struct {
	scanner
	more []any
}

func (w wider) Scan(dest ...any) error { return w.scanner.Scan(append(dest, w.more...)...) }

// said tells whether the replies in a history hold all the words.
func said(history string, wanted []string) bool {
	small := strings.ToLower(history)
	if slices.ContainsFunc(wanted, func(word string) bool { return !stands(small, word) }) {
		return false // as nearly always, and quickly seen
	}
	t := terms{}
	for event := range strings.SplitSeq(history, "\n") {
		t.event(event)
	}
	return !slices.ContainsFunc(wanted, func(word string) bool { return !t[word] })
}

// stands tells whether a word is in JSON with no letter or digit beside it, but for
// those of an escape. One that was cut to the length of a term may go on.
func stands(text, word string) bool {
	for {
		before, after, found := strings.Cut(text, word)
		if !found {
			return false
		}
		n := len(before)
		escaped := n >= 2 && before[n-2] == '\\' || n >= 6 && before[n-6:n-4] == `\u`
		last, _ := utf8.DecodeLastRuneInString(before)
		next, _ := utf8.DecodeRuneInString(after)
		if (n == 0 || escaped || !isWord(last)) && (after == "" || !isWord(next) || len(word) > maxTerm-utf8.UTFMax) {
			return true
		}
		text = text[n+1:]
	}
}
