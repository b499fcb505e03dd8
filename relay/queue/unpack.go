package queue

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"postern/relay/message"
)

// Unpack implements Store.
func (s *SQLite) Unpack(ctx context.Context, p *Parcel, from string) (taken bool, err error) {
	if err := s.Ready(); err != nil {
		return false, err
	}
	m := p.Message
	if m.Header.Size() > message.MaxHeaderSize-2 || len(m.Header) > message.MaxHeaderFields {
		return false, message.Refuse(552, "5.3.4", "The message header is too large")
	}
	b, err := s.keep(m.Body)
	if err != nil {
		return false, err
	}
	if b != m.Body {
		defer b.spool.Discard() // our own copy
	}
	defer b.spool.leave()
	u := unpacking{put: newPut(m, b, make([]Way, len(m.To)), "", time.Now(), false), parcel: p, from: from}
	for i, d := range p.Deliveries {
		d.n = i
		if d.State == Uncertain && s.settings.Load().Uncertain == "hold" {
			d.State, d.NextAt = Held, time.Time{}
		}
		u.put.deliveries[i] = d
	}
	err = s.w.do(ctx, accept, u.apply)
	b.spool.kept = err == nil && u.taken || s.w.hasFailed()
	if err != nil || !u.taken {
		return false, err
	}
	for _, d := range p.Deliveries {
		s.bells.ring(d.Lane)
	}
	return true, nil
}

// unpacking is one Unpack on its way through the writer.
type unpacking struct {
	put    *put
	parcel *Parcel
	from   string

	taken bool
}

func (u *unpacking) apply(t *tx) error {
	var err error
	if u.taken, err = t.absent(u.put.m.ID); err != nil || !u.taken {
		return err
	}
	p := u.put
	if err := p.insertMessage(t); err != nil {
		return err
	}
	for i, d := range p.deliveries {
		_, err := t.exec(`INSERT INTO deliveries (message, n, recipient, parameters, account, lane, state, upstream, owner, attempts, next_at, reply, remote_id)
			VALUES (?,?,?,?,?,?,?,?,'',?,?,?,?)`,
			p.key, d.n, d.Recipient.Address.String(), p.parameters[i], p.m.Client.Account, d.Lane, d.State, d.Upstream, d.Attempts, millis(d.NextAt), encode(d.Reply), d.RemoteID)
		if err != nil {
			return err
		}
	}
	if u.parcel.Warned {
		if _, err := t.exec(`UPDATE messages SET warned = 1 WHERE n = ?`, p.key); err != nil {
			return err
		}
	}
	return u.remember(t)
}

// remember keeps the history. It begins at 1, as that of what another store has
// accepted: Accepted does not count it as sent today by those who sent it.
func (u *unpacking) remember(t *tx) error {
	for i, e := range u.parcel.History {
		_, err := t.exec(`INSERT INTO history (message, n, at, what, detail) VALUES (?,?,?,?,?)`, u.put.key, i+1, millis(e.At), e.What, encode(e))
		if err != nil {
			return err
		}
	}
	event := Event{Text: "from " + u.from, Results: append(results(u.put.deliveries), u.parcel.Ended...)}
	_, err := t.exec(`INSERT INTO history (message, n, at, what, detail) VALUES (?,?,?,'imported',?)`,
		u.put.key, len(u.parcel.History)+1, millis(u.put.now), encode(event))
	return err
}

// absent tells whether no message of that id is here. One that left by a move is
// forgotten for that: its history comes back with it.
func (t *tx) absent(id string) (bool, error) {
	var key int64
	var left bool
	err := t.get(`SELECT n, finished IS NOT NULL AND EXISTS (SELECT 1 FROM history WHERE message = messages.n AND what = 'moved')
		FROM messages WHERE id = ?`, []any{id}, &key, &left)
	if errors.Is(err, sql.ErrNoRows) {
		return true, nil
	}
	if err != nil || !left {
		return false, err
	}
	for _, forget := range []string{`DELETE FROM search WHERE rowid = ?`, `DELETE FROM deliveries WHERE message = ?`, `DELETE FROM history WHERE message = ?`, `DELETE FROM messages WHERE n = ?`} {
		if _, err := t.exec(forget, key); err != nil {
			return false, err
		}
	}
	return true, nil
}
