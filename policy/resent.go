package policy

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"postern/relay/message"
)

// Mark tells whether two messages are the same one, sent twice.
type Mark [sha256.Size]byte

// changing are fields that a device writes anew when it sends a message again.
var changing = []string{"date", "message-id", "received"}

// MarkOf is what stays the same when a device sends m again: who sends it, from
// whom, to whom, and all of header and body but what tells when.
func MarkOf(m *message.Message) (Mark, error) {
	h := sha256.New()
	note := func(s string) {
		binary.Write(h, binary.BigEndian, uint64(len(s)))
		io.WriteString(h, s)
	}
	note(m.Client.Account)
	note(m.Client.User)
	note(m.From.String())
	var to []string
	for _, r := range m.To {
		to = append(to, r.Address.String())
	}
	slices.Sort(to)
	note(strings.Join(to, " "))
	for _, f := range m.Header {
		if !slices.Contains(changing, strings.ToLower(f.Name())) {
			note(string(f.Raw()))
		}
	}
	body, err := m.Body.Open()
	if err != nil {
		return Mark{}, fmt.Errorf("body: %w", err)
	}
	defer body.Close()
	if _, err := io.Copy(h, body); err != nil {
		return Mark{}, fmt.Errorf("body: %w", err)
	}
	return Mark(h.Sum(nil)), nil
}

// ResendWindow is how long a message of the account counts as sent again when
// the same one comes; 0 is never.
func (p *Policy) ResendWindow(account string) time.Duration {
	return p.accounts[account].ResendWindow.Std()
}

// Resent remembers for a while what was accepted, of accounts with a window. It
// is kept beside the configuration, and forgotten when the process ends. The
// zero Resent is ready.
type Resent struct {
	mu    sync.Mutex
	by    map[Mark]*sending
	sweep time.Time // when what is over is looked for next
}

// sending is a message that is being accepted, or was.
type sending struct {
	known chan struct{} // closed when it is known whether it was accepted
	id    string        // it was, under this id
	until time.Time     // and counts until then
}

// Begin is called before a message is accepted. An id is that of the same
// message, accepted a short while ago: this one needs not be kept. With "" it is
// to be accepted, and done must be told the id it was accepted under and until
// when that counts, or "" if it was not. While the same message is being accepted in another
// session Begin waits for what becomes of that. The error is that of ctx.
func (r *Resent) Begin(ctx context.Context, mark Mark, now time.Time) (id string, done func(id string, until time.Time), err error) {
	for {
		mine, other := r.enter(mark, now)
		if mine != nil {
			return "", func(id string, until time.Time) { r.settle(mark, mine, id, until) }, nil
		}
		select {
		case <-other.known:
			if other.id != "" {
				return other.id, nil, nil
			}
		case <-ctx.Done():
			return "", nil, ctx.Err()
		}
	}
}

// enter notes that a message is being accepted, unless another with its mark is
// or was.
func (r *Resent) enter(mark Mark, now time.Time) (mine, other *sending) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(now)
	if s := r.by[mark]; s != nil && (s.until.IsZero() || now.Before(s.until)) {
		return nil, s
	}
	if r.by == nil {
		r.by = map[Mark]*sending{}
	}
	s := &sending{known: make(chan struct{})}
	r.by[mark] = s
	return s, nil
}

// settle tells those who wait, and remembers what was accepted.
func (r *Resent) settle(mark Mark, s *sending, id string, until time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.id, s.until = id, until; id == "" {
		delete(r.by, mark)
	}
	close(s.known)
}

// forget drops, each minute, what counts no more.
func (r *Resent) forget(now time.Time) {
	if now.Before(r.sweep) {
		return
	}
	r.sweep = now.Add(time.Minute)
	for mark, s := range r.by {
		if !s.until.IsZero() && !now.Before(s.until) {
			delete(r.by, mark)
		}
	}
}
