package bearer

import (
	"crypto/sha256"
	"sync"
	"time"
)

// maxAnswers bounds what is remembered of one issuer; with maxAnswer that is 64
// MiB at the very most.
const maxAnswers = 4096

// answers remembers what was said of tokens, by their hash.
type answers struct {
	mu  sync.Mutex
	all map[[sha256.Size]byte]answer
}

type answer struct {
	claims claims
	until  time.Time
}

func newAnswers() *answers { return &answers{all: make(map[[sha256.Size]byte]answer)} }

func (a *answers) get(k [sha256.Size]byte, now time.Time) (claims, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	known, ok := a.all[k]
	return known.claims, ok && now.Before(known.until)
}

// put remembers c. When there is no room those go first that are of no use any
// more, then any one.
func (a *answers) put(k [sha256.Size]byte, c claims, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.all) >= maxAnswers {
		a.sweep(now)
	}
	a.all[k] = answer{c, lifeEnd(c, now)}
}

func (a *answers) sweep(now time.Time) {
	for k, old := range a.all {
		if !now.Before(old.until) {
			delete(a.all, k)
		}
	}
	for k := range a.all {
		if len(a.all) < maxAnswers {
			return
		}
		delete(a.all, k)
	}
}

// lifeEnd is until when c may be repeated.
func lifeEnd(c claims, now time.Time) time.Time {
	if !c.isTrue("active") {
		return now.Add(badLife)
	}
	end := now.Add(goodLife)
	if exp, ok := c.time("exp"); ok && exp.Before(end) {
		end = exp
	}
	return end
}
