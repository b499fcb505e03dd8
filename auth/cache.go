package auth

import (
	"crypto/sha256"
	"sync"
	"time"

	"postern/relay/message"
)

// A key stands for one login: who, with which password, against which hash. It
// is an HMAC under a key of this process, so that memory read by somebody
// else holds no password and cannot be tried against a dictionary, and
// so that looking it up takes a time that tells nothing.
type key [sha256.Size]byte

// A cache remembers for a fixed time who keys stand for, the newest of them
// when there are too many. All live equally long, so the oldest is always the
// next to go.
type cache struct {
	life time.Duration
	max  int

	mu    sync.Mutex
	known map[key]memory
	order []key // oldest first
}

type memory struct {
	who   message.Identity
	until time.Time
}

func newCache(life time.Duration, max int) *cache {
	return &cache{life: life, max: max, known: make(map[key]memory)}
}

func (c *cache) get(k key) (message.Identity, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, ok := c.known[k]
	return m.who, ok && time.Now().Before(m.until)
}

// add remembers k. One that is remembered already does not live longer for it.
func (c *cache) add(k key, who message.Identity) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if m, ok := c.known[k]; ok && now.Before(m.until) {
		return
	}
	for len(c.order) > 0 && (len(c.order) >= c.max || !now.Before(c.known[c.order[0]].until)) {
		delete(c.known, c.order[0])
		c.order = c.order[1:]
	}
	c.known[k] = memory{who, now.Add(c.life)}
	c.order = append(c.order, k)
}
