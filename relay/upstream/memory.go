package upstream

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"postern/relay/upstream/throttle"
)

const (
	memoryName = "upstreams.json"
	// maxMemory bounds what is read, in octets.
	maxMemory = 16 << 20
)

// memory is what outlives a restart: the holds that nothing but time or a person
// ends, and what counts against the limits of mailboxes.
type memory struct {
	Saved     time.Time                `json:"saved"`
	Holds     map[string]keptHold      `json:"holds"`     // by upstream
	Mailboxes map[string]throttle.Used `json:"mailboxes"` // by key
}

type keptHold struct {
	Reason string    `json:"reason"`
	Until  time.Time `json:"until,omitzero"`
	Error  string    `json:"error"`
	Hint   string    `json:"hint"`
}

// Save writes what is to outlive a restart. It is asked each minute, when a person
// holds or resumes an upstream, and at the end. A power cut loses what was counted
// in the last minute.
func (s *Set) Save() error {
	s.saving.Lock()
	defer s.saving.Unlock()
	now := time.Now()
	m := memory{Saved: now.UTC(), Holds: map[string]keptHold{}, Mailboxes: map[string]throttle.Used{}}
	for _, u := range s.order {
		u.gate.box.mu.Lock()
		if b := u.gate.breaker; b.reason == heldForQuota || b.reason == heldAsAsked {
			m.Holds[u.cfg.Name] = keptHold{b.reason, b.until.UTC().Round(0), b.fault.Err.Error(), b.fault.Hint}
		}
		m.Mailboxes[u.cfg.mailboxKey()] = u.gate.box.throttle.Used(u.gate.box.since(now))
		u.gate.box.mu.Unlock()
	}
	if err := writeMemory(filepath.Join(s.dataDir, memoryName), m); err != nil {
		return fmt.Errorf("what is known of upstreams cannot be kept: %w", err)
	}
	return nil
}

// writeMemory replaces the file as a whole, so that a power cut leaves the old
// one or the new one.
func writeMemory(path string, m memory) error {
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = errors.Join(json.NewEncoder(f).Encode(m), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return errors.Join(os.Rename(f.Name(), path), syncDir(filepath.Dir(path)))
}

// Remember takes up what was saved by an earlier run. What cannot be read is
// forgotten, and the log says so. It is the start of a run: a backlog of the one before
// comes as a ramp.
func (s *Set) Remember() {
	for _, u := range s.upstreams {
		u.gate.ask((*breaker).begin)
	}
	m, err := readMemory(filepath.Join(s.dataDir, memoryName))
	if err != nil {
		s.log.Warn("what was known of upstreams cannot be read; holds and counts of recipients begin anew", "error", err)
		return
	}
	now := time.Now()
	for key, used := range m.Mailboxes {
		if box := s.mailboxes[key]; box != nil {
			box.mu.Lock()
			box.throttle.Restore(used, now.Sub(m.Saved), box.since(now))
			box.mu.Unlock()
		}
	}
	for name, h := range m.Holds {
		if u := s.upstreams[name]; u != nil && (h.Reason == heldForQuota || h.Reason == heldAsAsked) {
			u.gate.ask(h.again(name))
		}
	}
}

// again puts a hold in force that was so before.
func (h keptHold) again(upstream string) func(*breaker) {
	return func(b *breaker) {
		t := held(upstream, h.Reason, errors.New(h.Error))
		t.fault.Hint = h.Hint
		*b = breaker{trouble: t, failures: 1, until: h.Until, endless: h.Until.IsZero()}
	}
}

// readMemory is empty where there is no file.
func readMemory(path string) (m memory, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return memory{}, nil
	}
	if err != nil {
		return memory{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxMemory))
	if err != nil {
		return memory{}, err
	}
	return m, json.Unmarshal(data, &m)
}
