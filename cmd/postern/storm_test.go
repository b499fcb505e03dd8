//go:build linux

package main_test

import (
	"crypto/x509"
	"encoding/json"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// storm is many clients that submit random letters at once, and what each
// letter's client was told.
type storm struct {
	t       testing.TB
	relay   *relay
	host    *smarthost
	trusted *x509.CertPool

	clients  sync.WaitGroup
	over     chan struct{} // closed when no more letters are to be begun
	accepted atomic.Int64  // number of 250s so far

	mu    sync.Mutex
	tales []tale
}

// tale is what became of one letter as its client saw it.
type tale struct {
	letter
	answer answer
}

type answer int

const (
	refused  answer = iota // the client knows that it was not accepted
	accepted               // it was told 250
	unknown                // the connection died between the final dot and the answer
)

// startStorm lets clients submit until stop; with limit > 0 they begin no more
// than that many letters together.
func startStorm(t testing.TB, r *relay, host *smarthost, clients, limit int) *storm {
	seed := rand.Uint64()
	t.Logf("the seed of the storm is %d", seed)
	s := &storm{t: t, relay: r, host: host, trusted: trust(t, needKeys(t).ca), over: make(chan struct{})}
	var begun atomic.Int64
	more := func() bool {
		select {
		case <-s.over:
			return false
		default:
			return limit == 0 || begun.Add(1) <= int64(limit)
		}
	}
	for i := range clients {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		s.clients.Go(func() { s.client(random, more) })
	}
	return s
}

// client submits letters, each once, and connects again when it must.
func (s *storm) client(random *rand.Rand, more func() bool) {
	var d *dialogue
	for more() {
		for d == nil {
			if d = s.connect(); d == nil {
				return
			}
		}
		l := randomLetter(random)
		_, sent, err := d.send(l)
		s.note(l, sent, err)
		if err != nil {
			d.close()
			d = nil
		}
	}
	if d != nil {
		d.quit()
	}
}

// connect logs in, and tries until it succeeds; nil when the storm is over.
func (s *storm) connect() *dialogue {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		d, err := logIn(s.relay.address.submission, s.trusted)
		if err == nil {
			return d
		}
		if c := code(err); c >= 500 {
			s.t.Errorf("login: %v", err)
		}
		select {
		case <-tick.C:
		case <-s.over:
			return nil
		}
	}
}

func (s *storm) note(l letter, sent bool, err error) {
	told := tale{letter: l}
	switch {
	case err == nil:
		told.answer = accepted
		s.accepted.Add(1)
	case sent && code(err) == 0:
		told.answer = unknown
	case code(err) >= 500:
		s.t.Errorf("a good letter was refused: %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tales = append(s.tales, told)
}

// stop lets every client finish its letter.
func (s *storm) stop() {
	close(s.over)
	s.clients.Wait()
}

// settle waits until all that was accepted has arrived, and neither the relay
// nor Postfix has anything more to deliver.
func (s *storm) settle() {
	s.t.Helper()
	next := 0 // what comes before it has arrived
	await(s.t, "everything accepted to arrive", func() bool {
		for ; next < len(s.tales); next++ {
			if told := s.tales[next]; told.answer == accepted && len(s.host.mail.copies(s.t, told.id)) == 0 {
				return false
			}
		}
		return true
	})
	await(s.t, "the queue to be empty", func() bool { return len(s.relay.queue()) == 0 })
	await(s.t, "Postfix's queue to be empty", func() bool { return s.host.idle(s.t) })
}

// idle tells whether every message Postfix has taken is delivered.
func (p *postfix) idle(t testing.TB) bool {
	t.Helper()
	files := 0
	for _, queue := range []string{"incoming", "active", "deferred"} {
		filepath.WalkDir(filepath.Join(p.dir, "spool", queue), func(_ string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				files++
			}
			return nil // a file that goes while we look is as it should be
		})
	}
	return files == 0
}

// judge compares the letters with the copies that arrived and returns how many
// arrived more than once.
func (s *storm) judge() (doubles int) {
	s.t.Helper()
	count := map[answer]int{}
	for _, told := range s.tales {
		count[told.answer]++
		copies := s.host.mail.copies(s.t, told.id)
		for _, a := range copies {
			mustBeIntact(s.t, told.letter, a)
		}
		switch {
		case told.answer == accepted && len(copies) == 0:
			s.t.Errorf("%s: told 250, and lost", told.id)
		case told.answer == refused && len(copies) > 0:
			s.t.Errorf("%s: arrived, though it was never accepted", told.id)
		case len(copies) > 1:
			doubles++
			s.mustBeExplained(copies)
		}
	}
	s.t.Logf("%d letters accepted, %d of unknown fate, %d not accepted; %d arrived more than once",
		count[accepted], count[unknown], count[refused], doubles)
	return doubles
}

// mustBeExplained looks for the reason why a message arrived more than once: as
// often as it came again, its history must say that a delivery was uncertain.
func (s *storm) mustBeExplained(copies []arrival) {
	s.t.Helper()
	id := copies[0].relayID
	for _, a := range copies {
		if a.relayID != id {
			s.t.Errorf("one letter was accepted twice, as %s and %s", id, a.relayID)
			return
		}
	}
	var entry struct {
		History []struct {
			What    string `json:"what"`
			Results []struct {
				State string `json:"state"`
			} `json:"results"`
		} `json:"history"`
	}
	shown := s.relay.show(id)
	if err := json.Unmarshal([]byte(shown), &entry); err != nil {
		s.t.Errorf("queue show %s: %v\n%s", id, err, shown)
	}
	uncertain := 0
	for _, event := range entry.History {
		for _, result := range event.Results {
			if result.State == "uncertain" {
				uncertain++
			}
		}
	}
	if uncertain < len(copies)-1 {
		s.t.Errorf("%s arrived %d times, and its history knows of %d uncertain deliveries:\n%s", id, len(copies), uncertain, shown)
	}
}
