package queue

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"postern/relay/message"
)

// Reporter says what is told of outcomes, which are those of m, parallel to
// m.To. The header and body of m are nil when they cannot be read. It is asked
// within the transaction that makes the outcomes durable, and again if that has
// to be repeated: it must be a function of what it is given, and a quick one.
// The nil Reporter tells nothing.
type Reporter func(m *message.Message, outcomes []Settled) Told

// Told is what is told of outcomes.
type Told struct {
	Reports []Report
	// Digest are the places of those outcomes that the next digest is to name.
	Digest []int
}

// Report is a message of our own, whose body is in memory.
type Report struct {
	Message *message.Message
	// Lane is where it waits.
	Lane string
	// Of are the places of the outcomes it is about.
	Of []int
}

// digest is the Report of an outcome left to one.
const digest = "digest"

// Failure is an outcome left to a digest.
type Failure struct {
	At time.Time
	Settled
}

// tell makes durable what is told of settled deliveries of m, the message of
// that row. It returns the lanes in which something is due now.
func (t *tx) tell(tell Reporter, key int64, m *message.Message, settled []Settled, now time.Time) (lanes []string, err error) {
	if tell == nil {
		return nil, nil
	}
	told := tell(m, settled)
	for _, i := range told.Digest {
		settled[i].Report = digest
		if _, err := t.exec(`INSERT INTO digest (at, detail) VALUES (?,?)`, millis(now), encode(settled[i])); err != nil {
			return nil, err
		}
	}
	for _, r := range told.Reports {
		if err := t.report(r, now); err != nil {
			return nil, err
		}
		for _, i := range r.Of {
			settled[i].Report, settled[i].ReportLane = r.Message.ID, r.Lane
		}
		text := fmt.Sprintf("to <%s> by message %s", r.Message.To[0].Address, r.Message.ID)
		if err := t.record(key, now, "reported", Event{Text: text}); err != nil {
			return nil, err
		}
		lanes = append(lanes, r.Lane)
	}
	return lanes, nil
}

// tellOf is tell for a message whose content is not at hand. One that is damaged
// is reported without it.
func (t *tx) tellOf(tell Reporter, c concerned, spoolDir string, settled []Settled, now time.Time) (lanes []string, err error) {
	if tell == nil {
		return nil, nil
	}
	m, err := t.message(c.key, spoolDir)
	if errors.Is(err, message.ErrDamaged) {
		m, err = &c.message, nil
	}
	if err != nil {
		return nil, err
	}
	for _, d := range c.deliveries {
		m.To = append(m.To, d.Recipient)
	}
	return t.tell(tell, c.key, m, settled, now)
}

// report puts a message of our own into the queue.
func (t *tx) report(r Report, now time.Time) error {
	b, err := inMemory(r.Message.Body)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return newPut(r.Message, b, slices.Repeat([]Way{{Lane: r.Lane}}, len(r.Message.To)), "", now, false).apply(t)
}

// inMemory is a body kept in its row, whatever its size.
func inMemory(b message.Body) (*body, error) {
	r, err := b.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	return &body{data: data, size: int64(len(data)), sum: checksum(data), eight: b.EightBit()}, err
}

// ring tells those who wait in the lanes that something is due.
func (s *SQLite) ring(lanes []string) {
	slices.Sort(lanes)
	for _, lane := range slices.Compact(lanes) {
		s.bells.ring(lane)
	}
}
