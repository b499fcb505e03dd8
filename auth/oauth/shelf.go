package oauth

import (
	"sync"
)

// shelf is where the refresh token of one upstream lies: in the vault, and in
// memory as long as it could not be put there. A reload goes on with the shelf
// that there was. mu is held while the token is being used.
type shelf struct {
	upstream string

	mu      sync.Mutex
	unsaved *kept
}

// get is the token. mu is held.
func (s *shelf) get(v vault) (k kept, found bool, err error) {
	if s.unsaved != nil {
		return *s.unsaved, true, nil
	}
	return v.load(s.upstream)
}

// keep puts a token into the vault, or for the time being into memory; the error
// is why. mu is held.
func (s *shelf) keep(v vault, k kept) error {
	s.unsaved = &k
	if err := v.save(s.upstream, k); err != nil {
		return err
	}
	s.unsaved = nil
	return nil
}

// put is keep for a token of a person who is there to read the error: it is not
// held in memory then.
func (s *shelf) put(v vault, k kept) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := v.save(s.upstream, k); err != nil {
		return err
	}
	s.unsaved = nil
	return nil
}

// rescue tries again to save what could not be saved. It tells whether there was
// such a token, and why it still is not saved. One that is being used now is left
// alone.
func (s *shelf) rescue(v vault) (had bool, err error) {
	if !s.mu.TryLock() {
		return false, nil
	}
	defer s.mu.Unlock()
	if s.unsaved == nil {
		return false, nil
	}
	return true, s.keep(v, *s.unsaved)
}
