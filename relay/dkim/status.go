package dkim

import (
	"context"
	"crypto"
	"fmt"
)

// Status is how one key fares.
type Status struct {
	Domain, Selector, Algorithm string
	Bits                        int
	State                       State
	// Name is that of the record, Want what it should say.
	Name, Want string
	Record     Record

	public crypto.PublicKey
}

// Look looks up the record of every key, and changes nothing.
func (s *Set) Look(ctx context.Context) ([]Status, error) {
	all, err := s.statuses()
	if err != nil {
		return nil, err
	}
	for i := range all {
		all[i].Record = s.resolver.look(ctx, all[i].Name, all[i].public)
	}
	for i := range all {
		all[i].mixup(all)
	}
	return all, nil
}

// mixup tells when the record found is that of another of our keys.
func (k *Status) mixup(all []Status) {
	if k.Record.Verdict != Wrong {
		return
	}
	for _, other := range all {
		if v, _ := judgeTexts(other.public, k.Record.Texts); v == Good && other.Name != k.Name {
			k.Record.Problems = append(k.Record.Problems, "it is the key of "+other.Name)
		}
	}
}

// statuses is where every key stands, without its record.
func (s *Set) statuses() ([]Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Status, len(s.keys))
	for i, h := range s.keys {
		want, err := recordOf(h.private.Public())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", h.name(), err)
		}
		all[i] = Status{Domain: h.Domain, Selector: h.Selector, Algorithm: h.private.algorithm, Bits: h.private.bits,
			State: h.state, Name: h.name(), Want: want, public: h.private.Public()}
	}
	return all, nil
}
