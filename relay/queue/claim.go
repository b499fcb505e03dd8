package queue

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"postern/relay/message"
)

// Claim implements Store.
func (s *SQLite) Claim(ctx context.Context, lane, upstream string, max, recipients int) ([]*Claim, error) {
	if s.w.unrecorded.Load() > 0 {
		return nil, nil
	}
	c := claiming{store: s, lane: lane, upstream: upstream, max: max, recipients: recipients}
	if recipients <= 0 {
		c.recipients = -1 // SQLite's word for no limit
	}
	if err := s.w.do(ctx, other, c.apply); err != nil {
		return nil, err
	}
	if c.setAside > 0 {
		s.log.Error("set aside messages that are damaged", "messages", c.setAside, "lane", lane)
		if err := s.countDamaged(); err != nil {
			s.log.Error("cannot count damaged messages", "err", err)
		}
	}
	for _, claim := range c.claims {
		s.handOut(claim)
	}
	return c.claims, nil
}

// handOut counts the claim among those an outcome is to come from.
func (s *SQLite) handOut(c *Claim) *Claim {
	c.expected = true
	s.w.outcomes.Add(1)
	return c
}

// handIn says that no outcome is to come from the claim any more.
func (s *SQLite) handIn(c *Claim) {
	if c.expected {
		c.expected = false
		s.w.outcomes.Add(-1)
	}
}

// claiming is one Claim on its way through the writer.
type claiming struct {
	store          *SQLite
	lane, upstream string
	max            int
	recipients     int // of one claim

	claims   []*Claim
	setAside int
}

// apply takes one message of each account that has one due, again and again,
// so that the backlog of one does not keep the others waiting.
func (c *claiming) apply(t *tx) error {
	c.claims, c.setAside = nil, 0
	now := time.Now()
	accounts, err := c.dueAccounts(t, now)
	for err == nil && len(accounts) > 0 && len(c.claims) < c.max {
		account := accounts[0]
		accounts = accounts[1:]
		var more bool
		if more, err = c.take(t, account, now); more {
			accounts = append(accounts, account)
		}
		c.store.served[c.lane] = account
	}
	return err
}

// eachAccount is, in one pass, the accounts that wait in a lane and when the
// first delivery of each is due. It skips from account to account in the
// index, so its cost is that of the accounts, not of what they have queued.
const eachAccount = `
WITH RECURSIVE a (account) AS (
	SELECT min(account) FROM deliveries WHERE lane = ?1 AND ` + waiting + `
	UNION ALL
	SELECT (SELECT min(account) FROM deliveries WHERE lane = ?1 AND account > a.account AND ` + waiting + `)
	FROM a WHERE a.account IS NOT NULL
)
SELECT account, (SELECT min(next_at) FROM deliveries WHERE lane = ?1 AND account = a.account AND ` + waiting + `) AS next_at
FROM a WHERE account IS NOT NULL`

// dueAccounts starts with the one after the account served last.
func (c *claiming) dueAccounts(t *tx, now time.Time) ([]string, error) {
	rows, err := t.query(`SELECT account FROM (`+eachAccount+`) WHERE next_at <= ?2 ORDER BY account <= ?3, account`,
		c.lane, millis(now), c.store.served[c.lane])
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var accounts []string
	for rows.Next() {
		var account string
		if err := rows.Scan(&account); err != nil {
			return nil, err
		}
		accounts = append(accounts, account)
	}
	return accounts, rows.Err()
}

// take claims the account's next due message, or sets it aside; false when
// there is none.
func (c *claiming) take(t *tx, account string, now time.Time) (bool, error) {
	var key int64
	err := t.get(`SELECT message FROM deliveries INDEXED BY deliveries_due
		WHERE lane = ? AND account = ? AND `+waiting+` AND next_at <= ? ORDER BY next_at LIMIT 1`,
		[]any{c.lane, account, millis(now)}, &key)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	claim, err := c.load(t, key, now)
	if errors.Is(err, message.ErrDamaged) {
		c.setAside++
		return true, t.setAside(key, now, strings.TrimPrefix(err.Error(), message.ErrDamaged.Error()+": "))
	}
	if err != nil {
		return false, err
	}
	c.claims = append(c.claims, claim)
	return true, c.mark(t, claim)
}

// load reads a message with its recipients that are due in the lane, as many as
// one claim may have.
func (c *claiming) load(t *tx, key int64, now time.Time) (*Claim, error) {
	m, err := t.message(key, c.store.spoolDir())
	if err != nil {
		return nil, err
	}
	claim := &Claim{Message: m, Lane: c.lane, Upstream: c.upstream, key: key}
	if claim.Made, err = made(t, key); err != nil {
		return nil, err
	}
	// The + keeps SQLite from looking the lane up instead of the message.
	rows, err := t.query(`SELECT `+deliveryColumns+` FROM deliveries d
		WHERE d.message = ? AND +d.lane = ? AND `+waiting+` AND d.next_at <= ? ORDER BY d.n LIMIT ?`, key, c.lane, millis(now), c.recipients)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		d, err := scanDelivery(rows)
		if err != nil {
			return nil, err
		}
		if d.unreadable {
			return nil, fmt.Errorf("%w: its recipient %q cannot be read", message.ErrDamaged, d.Recipient.Address.Local)
		}
		m.To = append(m.To, d.Recipient)
		claim.deliveries = append(claim.deliveries, d)
	}
	return claim, rows.Err()
}

// message reads the message of a row without its recipients.
func (t *tx) message(key int64, spoolDir string) (*message.Message, error) {
	m, err := scanMessage(spoolDir, func(dest ...any) error {
		return t.get(`SELECT `+messageColumns+` FROM messages m LEFT JOIN contents c ON c.message = m.n WHERE m.n = ?`, []any{key}, dest...)
	})
	if errors.Is(err, sql.ErrNoRows) {
		err = fmt.Errorf("%w: row %d is of no message", message.ErrDamaged, key)
	}
	return m, err
}

// made is what an earlier attempt made of a message, the zero Made if nothing
// was kept or it cannot be read: it is made again then.
func made(t *tx, key int64) (m Made, err error) {
	var text string
	if err = t.get(`SELECT made FROM contents WHERE message = ?`, []any{key}, &text); err != nil {
		return m, err
	}
	if json.Unmarshal([]byte(text), &m) != nil {
		return Made{}, nil
	}
	return m, nil
}

// mark makes the claim durable: who sends, through whom.
func (c *claiming) mark(t *tx, claim *Claim) error {
	for i := range claim.deliveries {
		d := &claim.deliveries[i]
		d.State, d.Upstream = Sending, c.upstream
		_, err := t.exec(`UPDATE deliveries SET state = 'sending', upstream = ?, owner = ? WHERE message = ? AND n = ?`,
			c.upstream, c.store.incarnation, claim.key, d.n)
		if err != nil {
			return err
		}
	}
	return nil
}

// messageColumns are what scanMessage reads, of messages m and contents c.
const messageColumns = `m.id, m.received, m.sender, m.envelope, m.client, m.about,
	c.header, c.header_sum, c.body, c.file, c.body_size, c.body_sum, c.eight_bit`

// scanMessage reads a message without its recipients and verifies what it is
// made of, a body file only as far as it shows. Damage wraps
// message.ErrDamaged.
func scanMessage(spoolDir string, scan func(dest ...any) error) (*message.Message, error) {
	var m message.Message
	var received int64
	var sender, envelope, client string
	var header, inline []byte
	var file sql.NullString
	var headerSum, size, sum, eight sql.NullInt64
	if err := scan(&m.ID, &received, &sender, &envelope, &client, &m.About, &header, &headerSum, &inline, &file, &size, &sum, &eight); err != nil {
		return nil, err
	}
	damaged := func(what any) (*message.Message, error) { return nil, fmt.Errorf("%w: %v", message.ErrDamaged, what) }
	var err error
	m.Received = fromMillis(received)
	if m.Envelope, err = decodeEnvelope(sender, envelope); err != nil {
		return damaged(err)
	}
	if err := json.Unmarshal([]byte(client), &m.Client); err != nil {
		return damaged(err)
	}
	if !size.Valid {
		return damaged("its content is not in the database")
	}
	if checksum(header) != uint32(headerSum.Int64) {
		return damaged("its header does not have the checksum it was accepted with")
	}
	if m.Header, err = message.ParseHeader(header); err != nil {
		return damaged(err)
	}
	b := &body{data: inline, size: size.Int64, sum: uint32(sum.Int64), eight: eight.Int64 != 0}
	if file.String != "" {
		b.path = filepath.Join(spoolDir, file.String)
	}
	m.Body = b
	return &m, b.check()
}
