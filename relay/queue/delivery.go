package queue

import (
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"postern/relay/message"
)

// deliveryColumns are what scanDelivery reads, of a table named d.
const deliveryColumns = `d.n, d.recipient, d.parameters, d.state, d.lane, d.upstream, d.attempts, d.next_at, d.reply, d.remote_id`

type scanner interface{ Scan(dest ...any) error }

// scanDelivery reads a row, after the columns in before. A recipient that
// cannot be parsed is marked, not an error: one bad row must not hide others.
func scanDelivery(row scanner, before ...any) (Delivery, error) {
	var d Delivery
	var address, parameters, reply string
	var next int64
	err := row.Scan(append(before, &d.n, &address, &parameters, &d.State, &d.Lane, &d.Upstream, &d.Attempts, &next, &reply, &d.RemoteID)...)
	if err != nil {
		return d, err
	}
	if d.Recipient, err = decodeRecipient(address, parameters); err != nil {
		d.Recipient.Address, d.unreadable = message.Address{Local: address}, true
	}
	if json.Unmarshal([]byte(reply), &d.Reply) != nil {
		d.Reply = message.Reply{Text: reply}
	}
	if !d.State.Ended() && d.State != Held {
		d.NextAt = fromMillis(next)
	}
	return d, nil
}

// move writes what has become of a delivery that was in that state and, while
// sending, of that owner; errNotOurs when it is not so any more. Its lane becomes
// that of d if that is a pinned one, or if the delivery is still in the lane it
// was claimed in: Reroute may have moved it meanwhile. d gets the one in force.
func (t *tx) move(key int64, was State, owner, claimed string, d *Delivery) error {
	if _, pinned := message.PinnedTo(d.Lane); pinned {
		claimed = ""
	}
	err := t.get(`UPDATE deliveries SET state = ?1, lane = CASE WHEN ?3 = '' OR lane = ?3 THEN ?2 ELSE lane END,
		attempts = ?4, next_at = ?5, reply = ?6, remote_id = ?7, owner = ''
		WHERE message = ?8 AND n = ?9 AND state = ?10 AND owner = ?11 RETURNING lane`,
		[]any{d.State, d.Lane, claimed, d.Attempts, millis(d.NextAt), encode(d.Reply), d.RemoteID, key, d.n, was, owner}, &d.Lane)
	if errors.Is(err, sql.ErrNoRows) {
		return errNotOurs
	}
	return err
}

// finish ends the message when none of its recipients waits for anything any
// more: its content goes, its history stays. It returns the name of a body
// file to unlink once this is durable, or "".
func (t *tx) finish(key int64, now time.Time) (file string, err error) {
	var open int
	err = t.get(`SELECT count(*) FROM deliveries WHERE message = ? AND state NOT IN ('delivered','failed','dropped')`, []any{key}, &open)
	if err != nil {
		return "", err
	}
	if err := t.changed(key); err != nil || open > 0 {
		return "", err
	}
	if err := t.record(key, now, "ended", Event{}); err != nil {
		return "", err
	}
	// What a row takes beside its text, with its place in the indexes, is near
	// 200 octets.
	_, err = t.exec(`UPDATE messages SET finished = ?2, kept = 400 + length(envelope) + length(client)
		+ (SELECT sum(200 + length(detail)) FROM history WHERE message = ?1)
		+ (SELECT sum(200 + length(reply)) FROM deliveries WHERE message = ?1) WHERE n = ?1`, key, millis(now))
	if err != nil {
		return "", err
	}
	err = t.get(`DELETE FROM contents WHERE message = ? RETURNING file`, []any{key}, &file)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return file, err
}

// setAside keeps a damaged message from being claimed again and says why. It
// is never deleted: a person may still make something of it.
func (t *tx) setAside(key int64, now time.Time, what string) error {
	if _, err := t.exec(`UPDATE messages SET damaged = ? WHERE n = ?`, what, key); err != nil {
		return err
	}
	if _, err := t.exec(`UPDATE deliveries SET state = 'held', next_at = 0 WHERE message = ? AND `+waiting, key); err != nil {
		return err
	}
	if err := t.changed(key); err != nil {
		return err
	}
	return t.record(key, now, "damaged", Event{Text: what})
}

// result is the delivery's part of an event.
func (d Delivery) result() EventResult {
	r := EventResult{Recipient: d.Recipient.Address.String(), State: d.State, Reply: d.Reply, RemoteID: d.RemoteID}
	if _, only, _ := message.SplitLane(d.Lane); !d.State.Ended() {
		r.By = only
	}
	return r
}
