package queue

import (
	"context"
	"time"

	"postern/relay/message"
)

// Put implements Store.
func (s *SQLite) Put(ctx context.Context, m *message.Message, lane, upstream string) (*Claim, error) {
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
	b, err := s.keep(m.Body)
	if err != nil {
		return nil, err
	}
	if b != m.Body {
		defer b.spool.Discard() // our own copy
	}
	defer b.spool.leave()
	if s.w.unrecorded.Load() > 0 {
		upstream = ""
	}
	p := newPut(m, b, lane, upstream, s.incarnation, time.Now())
	err = s.w.do(ctx, accept, p.apply)
	// When the store has failed nobody knows whether the row is on the disk: then
	// the file stays, for the next start to find its row or sweep it.
	b.spool.kept = err == nil || s.w.hasFailed()
	switch {
	case isFull(err):
		return nil, replyFull()
	case err != nil:
		return nil, err
	case upstream == "":
		s.bells.ring(lane)
		return nil, nil
	}
	return s.handOut(p.claim(b)), nil
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

func newPut(m *message.Message, b *body, lane, upstream, owner string, now time.Time) *put {
	p := &put{
		m: m, body: b, header: m.Header.Bytes(),
		envelope: encodeEnvelope(m.Envelope), client: encode(m.Client), accepted: encode(Event{Changes: m.Changes}),
		now: now,
	}
	state := Queued
	if upstream != "" {
		state, p.owner = Sending, owner
	}
	for i, to := range m.To {
		p.deliveries = append(p.deliveries, Delivery{Recipient: to, State: state, Lane: lane, Upstream: upstream, NextAt: now, n: i})
		p.parameters = append(p.parameters, encodeRecipient(to))
	}
	return p
}

func (p *put) apply(t *tx) error {
	m := p.m
	row, err := t.exec(`INSERT INTO messages (id, account, received, sender, envelope, client, size, about) VALUES (?,?,?,?,?,?,?,?)`,
		m.ID, m.Client.Account, millis(m.Received), m.From.String(), p.envelope, p.client, m.Header.Size()+2+p.body.size, m.About)
	if err != nil {
		return err
	}
	if p.key, err = row.LastInsertId(); err != nil {
		return err
	}
	if err := p.insertContent(t); err != nil {
		return err
	}
	for i, d := range p.deliveries {
		_, err := t.exec(`INSERT INTO deliveries (message, n, recipient, parameters, account, lane, state, upstream, owner, attempts, next_at, reply, remote_id)
			VALUES (?,?,?,?,?,?,?,?,?,0,?,'{}','')`,
			p.key, d.n, d.Recipient.Address.String(), p.parameters[i], m.Client.Account, d.Lane, d.State, d.Upstream, p.owner, millis(d.NextAt))
		if err != nil {
			return err
		}
	}
	_, err = t.exec(`INSERT INTO history (message, n, at, what, detail) VALUES (?,0,?,'accepted',?)`, p.key, millis(p.now), p.accepted)
	return err
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

// claim is the one made in the same transaction: the message as it is in
// memory.
func (p *put) claim(b *body) *Claim {
	m := *p.m
	m.Body = b
	first := p.deliveries[0]
	return &Claim{Message: &m, Lane: first.Lane, Upstream: first.Upstream, key: p.key, deliveries: p.deliveries}
}

// record adds an event to a message's history.
func (t *tx) record(key int64, now time.Time, what string, e Event) error {
	_, err := t.exec(`INSERT INTO history (message, n, at, what, detail)
		SELECT ?1, coalesce(max(n), -1) + 1, ?2, ?3, ?4 FROM history WHERE message = ?1`, key, millis(now), what, encode(e))
	return err
}
