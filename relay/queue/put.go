package queue

import (
	"context"
	"fmt"
	"slices"
	"time"

	"postern/relay/message"
)

// Put implements Store.
func (s *SQLite) Put(ctx context.Context, m *message.Message, ways []Way) ([]*Claim, error) {
	if err := s.Ready(); err != nil {
		return nil, err
	}
	// What could not be read back must not be accepted.
	if m.Header.Size() > message.MaxHeaderSize-2 || len(m.Header) > message.MaxHeaderFields {
		return nil, message.Refuse(552, "5.3.4", "The message header is too large")
	}
	if len(m.To) == 0 {
		return nil, message.Refuse(554, "5.5.1", "No recipients")
	}
	if len(ways) != len(m.To) {
		return nil, fmt.Errorf("%d ways for %d recipients", len(ways), len(m.To))
	}
	b, err := s.keep(m.Body)
	if err != nil {
		return nil, err
	}
	if b != m.Body {
		defer b.spool.Discard() // our own copy
	}
	defer b.spool.leave()
	p := newPut(m, b, ways, s.incarnation, time.Now(), s.w.unrecorded.Load() == 0)
	err = s.w.do(ctx, accept, p.apply)
	// When the store has failed nobody knows whether the row is on the disk: then
	// the file stays, for the next start to find its row or sweep it.
	b.spool.kept = err == nil || s.w.hasFailed()
	switch {
	case isFull(err):
		return nil, replyFull()
	case err != nil:
		return nil, err
	}
	for _, d := range p.deliveries {
		if d.State == Queued {
			s.bells.ring(d.Lane)
		}
	}
	claims := p.claims(b)
	for _, c := range claims {
		s.handOut(c)
	}
	return claims, nil
}

// put is a message encoded for its rows, so that the writer has little to do.
type put struct {
	m                *message.Message
	body             *body
	header           []byte
	envelope, client string
	accepted         string // detail of the history row
	deliveries       []Delivery
	parameters       []string // parallel to deliveries
	owner            string
	now              time.Time

	key int64 // of the row; set by apply
}

// newPut encodes m. Its recipients are claimed as their ways say, if that may be.
func newPut(m *message.Message, b *body, ways []Way, owner string, now time.Time, claim bool) *put {
	p := &put{
		m: m, body: b, header: m.Header.Bytes(),
		envelope: encodeEnvelope(m.Envelope), client: encode(m.Client), accepted: encode(Event{Changes: m.Changes}),
		owner: owner, now: now,
	}
	for i, to := range m.To {
		d := Delivery{Recipient: to, State: Queued, Lane: ways[i].Lane, NextAt: now, n: i}
		if claim && ways[i].Upstream != "" {
			d.State, d.Upstream = Sending, ways[i].Upstream
		}
		p.deliveries = append(p.deliveries, d)
		p.parameters = append(p.parameters, encodeRecipient(to))
	}
	return p
}

func (p *put) apply(t *tx) error {
	m := p.m
	if err := p.insertMessage(t); err != nil {
		return err
	}
	for i, d := range p.deliveries {
		owner := ""
		if d.State == Sending {
			owner = p.owner
		}
		_, err := t.exec(`INSERT INTO deliveries (message, n, recipient, parameters, account, lane, state, upstream, owner, attempts, next_at, reply, remote_id)
			VALUES (?,?,?,?,?,?,?,?,?,0,?,'{}','')`,
			p.key, d.n, d.Recipient.Address.String(), p.parameters[i], m.Client.Account, d.Lane, d.State, d.Upstream, owner, millis(d.NextAt))
		if err != nil {
			return err
		}
	}
	_, err := t.exec(`INSERT INTO history (message, n, at, what, detail) VALUES (?,0,?,'accepted',?)`, p.key, millis(p.now), p.accepted)
	return err
}

// insertMessage writes the rows of the message and of its content.
func (p *put) insertMessage(t *tx) error {
	m := p.m
	row, err := t.exec(`INSERT INTO messages (id, account, received, sender, envelope, client, size, about) VALUES (?,?,?,?,?,?,?,?)`,
		m.ID, m.Client.Account, millis(m.Received), m.From.String(), p.envelope, p.client, m.Header.Size()+2+p.body.size, m.About)
	if err != nil {
		return err
	}
	if p.key, err = row.LastInsertId(); err != nil {
		return err
	}
	return p.insertContent(t)
}

func (p *put) insertContent(t *tx) error {
	var file string
	inline := p.body.data
	if p.body.path != "" {
		file, inline = p.body.name(), nil
	}
	_, err := t.exec(`INSERT INTO contents (message, header, header_sum, body, file, body_size, body_sum, eight_bit) VALUES (?,?,?,?,?,?,?,?)`,
		p.key, p.header, checksum(p.header), inline, file, p.body.size, p.body.sum, p.body.eight)
	return err
}

// claims are those made in the same transaction, one for each lane: the message
// as it is in memory, to the recipients claimed.
func (p *put) claims(b *body) []*Claim {
	var all []*Claim
	for _, d := range p.deliveries {
		if d.State != Sending {
			continue
		}
		i := slices.IndexFunc(all, func(c *Claim) bool { return c.Lane == d.Lane })
		if i < 0 {
			m := *p.m
			m.Body, m.To = b, nil
			all, i = append(all, &Claim{Message: &m, Lane: d.Lane, Upstream: d.Upstream, key: p.key}), len(all)
		}
		all[i].Message.To = append(all[i].Message.To, d.Recipient)
		all[i].deliveries = append(all[i].deliveries, d)
	}
	return all
}

// record adds an event to a message's history.
func (t *tx) record(key int64, now time.Time, what string, e Event) error {
	_, err := t.exec(`INSERT INTO history (message, n, at, what, detail)
		SELECT ?1, coalesce(max(n), -1) + 1, ?2, ?3, ?4 FROM history WHERE message = ?1`, key, millis(now), what, encode(e))
	return err
}
