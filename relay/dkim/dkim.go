// Package dkim answers one question of a message that leaves: proven how? It
// signs it (RFC 6376, RFC 8463) with the keys of its author's domain, and knows
// the life of those keys.
//
// A key goes through these states:
//
//   - new: made and configured. It does not sign, as nobody could verify it.
//   - published: its record has been seen in DNS. Another key of its domain and
//     algorithm, listed before it, signs.
//   - active: it signs. Once its record has been seen it stays so, also when
//     DNS fails later, and across restarts.
//   - retiring: it signs no more. Its record stays until the mail it signed has
//     arrived.
//
// The configuration may force a key to be active or retiring, and then DNS is not
// asked; else DNS decides.
//
// What is signed is what the room is given: under which name a message may
// leave, and that nothing of it changes afterwards, is for others to see to.
package dkim

import (
	"crypto/sha256"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"postern/metrics"
)

// Set is the keys of one configuration. Its methods are safe for concurrent use.
type Set struct {
	log      *slog.Logger
	metrics  *metrics.Metrics
	resolver *Resolver
	path     string              // of the memory
	pool     *semaphore.Weighted // one for each signature being made
	changed  chan struct{}       // a key was read again

	mu   sync.Mutex
	keys []*held
	read time.Time // when the sources were last read
}

// held is a key with what is known of it.
type held struct {
	Key
	private private
	text    [sha256.Size]byte // of the source when it was last read
	known   time.Time         // when the key was first met
	seen    time.Time         // when its record was first seen; zero: not yet
	state   State
	record  *Record // as last looked up; nil: not yet
	looked  time.Time
}

// Options are what the keys' part of a configuration does not say.
type Options struct {
	// DataDir keeps which records have been seen.
	DataDir string
	// Resolver is host:port of a DNS server; "" asks those of the system.
	Resolver string
	Metrics  *metrics.Metrics
	Log      *slog.Logger
}

// New reads the keys, which have been checked. It looks nothing up: see Watch.
func New(keys []Key, o Options) (*Set, error) {
	s := &Set{
		log: o.Log, metrics: o.Metrics, resolver: NewResolver(o.Resolver), path: memoryPath(o.DataDir),
		// One core is left to those who take and send.
		pool:    semaphore.NewWeighted(int64(max(1, runtime.GOMAXPROCS(0)-1))),
		changed: make(chan struct{}, 1),
	}
	remembered, err := readMemory(s.path)
	if err != nil {
		o.Log.Warn("what is known of DKIM keys cannot be read, and is learned anew", "error", err)
	}
	now := time.Now()
	for _, k := range keys {
		h := &held{Key: k.orDefault()}
		text, err := k.Key.Reveal()
		if err == nil {
			h.private, err = k.parse(text)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: key: %w", h.name(), err)
		}
		h.text = sha256.Sum256([]byte(text))
		h.remember(remembered, now)
		s.keys = append(s.keys, h)
	}
	s.judge()
	return s, nil
}

// name is that of the key's record.
func (h *held) name() string { return RecordName(h.Domain, h.Selector) }

// candidates is the keys as far as their state depends on it.
func (s *Set) candidates() []candidate {
	all := make([]candidate, len(s.keys))
	for i, h := range s.keys {
		all[i] = candidate{h.Domain, h.Subdomains, h.private.algorithm, State(h.State), !h.seen.IsZero()}
	}
	return all
}

// judge gives each key its state. It tells whether one changed.
func (s *Set) judge() (changed bool) {
	for i, state := range statesOf(s.candidates()) {
		changed = changed || s.keys[i].state != state
		s.keys[i].state = state
	}
	return changed
}

// readEvery is how often mail may cause the sources of keys to be read.
const readEvery = time.Second

// refresh reads the sources again, where time is due. A key that changed takes
// the place of the old one; a source that cannot be read leaves the old one in
// use, which is logged once for each change.
func (s *Set) refresh(now time.Time) {
	if now.Sub(s.read) < readEvery {
		return
	}
	s.read = now
	for _, h := range s.keys {
		text, err := h.Key.Key.Reveal()
		sum := sha256.Sum256([]byte(text))
		if err == nil && sum == h.text {
			continue
		}
		var fresh private
		if err == nil {
			fresh, err = h.Key.parse(text)
		} else {
			sum = sha256.Sum256([]byte(err.Error()))
		}
		if sum == h.text {
			continue
		}
		h.text = sum
		if err != nil {
			s.log.Error("DKIM key kept", "key", h.name(), "reason", err.Error(), "hint", "the old one stays in use until the new one can be read")
			continue
		}
		s.replace(h, fresh, now)
	}
}

// replace makes fresh the key of h. It is met for the first time, so its own
// record must be seen.
func (s *Set) replace(h *held, fresh private, now time.Time) {
	if samePublic(h.private.Public(), fresh.Public()) {
		h.private = fresh
		return
	}
	h.private, h.known, h.seen, h.record, h.looked = fresh, now, time.Time{}, nil, time.Time{}
	s.judge()
	s.log.Info("DKIM key read", "key", h.name(), "algorithm", fresh.algorithm, "bits", fresh.bits, "state", h.state)
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// signers are the keys that sign mail of the author's domain, or why there is
// none.
func (s *Set) signers(author string, now time.Time) (keys []signer, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh(now)
	all := s.candidates()
	domain := covering(all, author, func(i int) bool { return s.keys[i].state == StateActive })
	for _, h := range s.keys {
		if h.Domain == domain && h.state == StateActive {
			keys = append(keys, signer{h.Key, h.private})
		}
	}
	if keys != nil {
		return keys, ""
	}
	if domain = covering(all, author, func(int) bool { return true }); domain == "" {
		return nil, fmt.Sprintf("there is no DKIM key for %s", author)
	}
	return nil, fmt.Sprintf("no DKIM key of %s signs: %s", domain, s.standing(domain))
}

// standing names the keys of a domain and their states.
func (s *Set) standing(domain string) string {
	var all []string
	for _, h := range s.keys {
		if h.Domain == domain {
			all = append(all, fmt.Sprintf("%s is %s", h.Selector, h.state))
		}
	}
	return strings.Join(all, ", ")
}

// Names are what the numbers call the keys by.
func (s *Set) Names() []metrics.DKIMKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []metrics.DKIMKey
	for _, c := range s.candidates() {
		if k := (metrics.DKIMKey{Domain: c.domain, Algorithm: c.algorithm}); !slices.Contains(all, k) {
			all = append(all, k)
		}
	}
	return all
}
