package queue

import (
	"context"
	"encoding/json"
	"time"
)

// The index of terms is filled behind the mail. What has ended goes into it within
// seconds, what waits for longer than fillAfter too, and again when something has
// become of it. All that is kept of this is messages.sought, which changes in the
// transaction that fills the index, so that neither the end of the process nor a
// clock can part them. A message goes into the index with nothing else left of
// it to do; it leaves with its rows.
const (
	fillAfter = time.Minute
	// fillEvery is how often is looked for more, once all is in it.
	fillEvery = time.Second
	// While mail comes or goes, few messages are taken at once, and the writer is left
	// to it for fillShare times as long as they took.
	fillFew, fillMany = 32, 256
	fillShare         = 50
	fillQuiet         = 50 * time.Millisecond
)

// fill fills the index until ctx ends, in rounds: what is not to go in yet is passed
// over once in each.
func (s *SQLite) fill(ctx context.Context) {
	timer := time.NewTimer(fillEvery)
	defer timer.Stop()
	for after := int64(0); ; {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		began, busy := time.Now(), s.w.busy(fillQuiet)
		next, took, err := s.fillSome(ctx, after, began.Add(-fillAfter), busy)
		pause := took
		switch {
		case err != nil && ctx.Err() == nil:
			s.log.Warn("the index of the history is behind; searches look at the newest messages one by one", "error", err)
			pause = fillAfter
		case next == 0:
			pause = max(fillEvery, time.Since(began)*fillShare)
		case busy:
			pause *= fillShare
		}
		after = next
		timer.Reset(pause)
	}
}

// fillSome takes some messages beyond a place into the index, of those that wait the
// ones received before that time. It returns the place of the last, 0 when there are
// no more, and how long the writer was at it.
func (s *SQLite) fillSome(ctx context.Context, after int64, before time.Time, busy bool) (next int64, took time.Duration, err error) {
	if s.Ready() != nil {
		return 0, 0, nil // space is kept for mail
	}
	most := fillMany
	if busy {
		most = fillFew
	}
	keys, err := s.keys(ctx, `SELECT n FROM messages INDEXED BY messages_unsought WHERE sought = 0 AND n > ?
		AND (finished IS NOT NULL OR received < ?) ORDER BY n LIMIT ?`, after, millis(before), most)
	if err != nil || len(keys) == 0 {
		return 0, 0, err
	}
	err = s.w.do(ctx, behind, func(t *tx) error {
		began := time.Now()
		defer func() { took = time.Since(began) }()
		return t.index(keys)
	})
	return keys[len(keys)-1], took, err
}

// index takes messages into the index as they are now. Those that are not there any
// more are left out.
func (t *tx) index(keys []int64) error {
	names, _ := json.Marshal(keys) // of numbers it does not fail
	found, err := t.terms(string(names))
	if err != nil {
		return err
	}
	for key, terms := range found {
		if _, err := t.exec(`INSERT OR REPLACE INTO search (rowid, terms) VALUES (?,?)`, key, terms.text()); err != nil {
			return err
		}
	}
	_, err = t.exec(`UPDATE messages SET sought = 1 WHERE n IN (SELECT value FROM json_each(?))`, string(names))
	return err
}

// terms are those of messages, given as a JSON array of their places.
func (t *tx) terms(keys string) (map[int64]terms, error) {
	all := map[int64]terms{}
	var key, received int64
	var account, sender string
	err := t.each(`SELECT n, account, sender, received FROM messages WHERE n IN (SELECT value FROM json_each(?))`, keys, func() {
		all[key] = terms{}
		all[key].message(account, sender, received)
	}, &key, &account, &sender, &received)
	if err != nil {
		return nil, err
	}
	var recipient, remoteID string
	var state State
	err = t.each(`SELECT message, recipient, state, remote_id FROM deliveries WHERE message IN (SELECT value FROM json_each(?))`, keys, func() {
		if m, ok := all[key]; ok {
			m.delivery(recipient, state, remoteID)
		}
	}, &key, &recipient, &state, &remoteID)
	if err != nil {
		return nil, err
	}
	var detail string
	return all, t.each(`SELECT message, detail FROM history WHERE message IN (SELECT value FROM json_each(?))`, keys, func() {
		if m, ok := all[key]; ok {
			m.event(detail)
		}
	}, &key, &detail)
}

// each calls do for every row of a query with one argument, read into dest.
func (t *tx) each(query, arg string, do func(), dest ...any) error {
	rows, err := t.query(query, arg)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		do()
	}
	return rows.Err()
}

// changed says that the index does not know a message any more as it is, and takes it
// out if it is there: a search would else meet what no longer holds, of 100,000
// messages if all that wait are held at once.
func (t *tx) changed(key int64) error {
	known, err := t.change(`UPDATE messages SET sought = 0 WHERE n = ? AND sought = 1`, key)
	if known == 0 || err != nil {
		return err
	}
	_, err = t.exec(`DELETE FROM search WHERE rowid = ?`, key)
	return err
}
