package auth

import (
	"crypto/sha256"
	"sync"
	"time"
)

// A key stands for one login: who, with which password, against which hash. It
// is an HMAC under a key of this process, so that memory read by somebody
// else holds no password and cannot be tried against a dictionary, and
// so that looking it up takes a time that tells nothing.
type key [sha256.Size]byte

// A cache remembers keys for a fixed time, the newest of them when there are
// too many. All live equally long, so the oldest is always the next to go.
type cache struct {
	life time.Duration
	max  int

	mu    sync.Mutex
	until map[key]time.Time
	order []key // oldest first
}

func newCache(life time.Duration, max int) *cache {
	return &cache{life: life, max: max, until: make(map[key]time.Time)}
}

func (c *cache) has(k key) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	until, ok := c.until[k]
	return ok && time.Now().Before(until)
}

// add remembers k. One that is remembered already does not live longer for it.
func (c *cache) add(k key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if until, ok := c.until[k]; ok && now.Before(until) {
		return
	}
	for len(c.order) > 0 && (len(c.order) >= c.max || !now.Before(c.until[c.order[0]])) {
		delete(c.until, c.order[0])
		c.order = c.order[1:]
	}
	c.until[k] = now.Add(c.life)
	c.order = append(c.order, k)
}
