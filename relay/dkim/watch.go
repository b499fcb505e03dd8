package dkim

import (
	"context"
	"slices"
	"strings"
	"time"
)

// How often a record is looked up: while the key waits for it, and later, when
// its loss is only told.
const (
	lookNew   = time.Minute
	lookKnown = time.Hour
)

// Watch looks up the records of the keys, at once and ever again, until ctx
// ends: a new key becomes active when its record is seen. It remembers what it
// has seen in the data directory, so one Set of it watches at a time.
func (s *Set) Watch(ctx context.Context) {
	s.begin()
	tick := time.NewTicker(lookNew)
	defer tick.Stop()
	for {
		s.round(ctx, time.Now())
		select {
		case <-ctx.Done():
			return
		case <-s.changed:
		case <-tick.C:
		}
	}
}

// begin shows the keys in the numbers, and takes away those of the set before.
func (s *Set) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.metrics.DKIMKeyState.Reset()
	s.metrics.DKIMKeyKnown.Reset()
	s.metrics.DKIMRecord.Reset()
	s.show()
	s.save()
}

// round looks up the records that are due.
func (s *Set) round(ctx context.Context, now time.Time) {
	s.mu.Lock()
	s.refresh(now)
	due := s.due(now)
	s.mu.Unlock()
	for _, q := range due {
		found := s.resolver.look(ctx, q.name, q.private.Public())
		if ctx.Err() != nil {
			return
		}
		s.learn(q, found, now)
	}
}

// question is a record to look up, for the key as it was then.
type question struct {
	key     *held
	name    string
	private private
}

// due are the questions that are to be asked now.
func (s *Set) due(now time.Time) []question {
	var all []question
	for _, h := range s.keys {
		if State(h.State) != stateAuto {
			continue // its state is said, and DNS is not asked
		}
		wait := lookKnown
		if h.seen.IsZero() {
			wait = lookNew
		}
		if h.looked.IsZero() || now.Sub(h.looked) >= wait {
			all = append(all, question{h, h.name(), h.private})
		}
	}
	return all
}

// learn takes in an answer, unless the key was replaced since it was asked for.
func (s *Set) learn(q question, found Record, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := q.key
	if !samePublic(h.private.Public(), q.private.Public()) {
		return
	}
	before := h.record
	h.record, h.looked = &found, now
	if found.verifies() && h.seen.IsZero() {
		h.seen = now
	}
	if before == nil || before.Verdict != found.Verdict || !slices.Equal(before.Problems, found.Problems) {
		s.tell(h)
	}
	if s.judge() {
		for _, h := range s.keys {
			s.log.Info("DKIM key", "key", h.name(), "state", h.state)
		}
	}
	s.show()
	s.save()
}

// tell logs what the record of a key is worth, once for each change.
func (s *Set) tell(h *held) {
	if h.record.Verdict == Good {
		s.log.Info("DKIM record", "key", h.name(), "record", Good)
		return
	}
	s.log.Warn("DKIM record", "key", h.name(), "state", h.state, "record", h.record.Verdict,
		"reason", strings.Join(h.record.Problems, "; "), "hint", "\"postern dkim check\" shows what to publish")
}

// show exports where every key stands.
func (s *Set) show() {
	for _, h := range s.keys {
		for _, state := range []State{StateNew, StatePublished, StateActive, StateRetiring} {
			s.metrics.DKIMKeyState.WithLabelValues(h.Domain, h.Selector, string(state)).Set(oneIf(state == h.state))
		}
		s.metrics.DKIMKeyKnown.WithLabelValues(h.Domain, h.Selector).Set(float64(h.known.Unix()))
		if h.record != nil && h.record.Verdict != Unknown {
			s.metrics.DKIMRecord.WithLabelValues(h.Domain, h.Selector).Set(oneIf(h.record.Verdict == Good))
		}
	}
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// save remembers the keys, if that is new.
func (s *Set) save() {
	all := make([]remembered, len(s.keys))
	for i, h := range s.keys {
		all[i] = remembered{Record: h.name(), Key: fingerprint(h.private), Known: h.known, Seen: h.seen}
	}
	same := func(a, b remembered) bool {
		return a.Record == b.Record && a.Key == b.Key && a.Known.Equal(b.Known) && a.Seen.Equal(b.Seen)
	}
	before, err := readMemory(s.path)
	if err == nil && slices.EqualFunc(before, all, same) {
		return
	}
	if err := writeMemory(s.path, all); err != nil {
		s.log.Warn("what is known of DKIM keys cannot be kept, and is learned anew after a restart", "error", err)
	}
}
