package relay

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"postern/relay/message"
)

// What one client may have us do at once. More than a few at a time would only
// wait for one another, and for everybody else's: checking a password is work.
const (
	maxProving = 8  // logins being checked; further ones wait for their turn
	maxWaiting = 10 // answers held back after a failure; further ones are given at once

	patience = 30 * time.Second // for a turn; devices do not wait longer for an answer
)

// turns keep what one client does from costing others. The zero turns are ready.
type turns struct {
	mu sync.Mutex
	by map[netip.Prefix]*turn
}

// turn is one client that logs in now.
type turn struct {
	proving *semaphore.Weighted
	waiting int
	uses    int
}

// take waits for a turn of the client, and returns how to end it. The error is
// that of ctx, or that none came for too long.
func (t *turns) take(ctx context.Context, client netip.Prefix) (done func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	mine := t.enter(client)
	if err := mine.proving.Acquire(ctx, 1); err != nil {
		t.leave(client, mine)
		if errors.Is(err, context.DeadlineExceeded) {
			err = message.Refuse(454, "4.7.0", "Too many logins from your address are being checked, try again in a minute")
		}
		return nil, err
	}
	return func() {
		mine.proving.Release(1)
		t.leave(client, mine)
	}, nil
}

// wait makes the client wait, unless too many of its answers wait already: then
// it would be us who keep its connections.
func (t *turns) wait(ctx context.Context, client netip.Prefix, d time.Duration) {
	mine := t.enter(client)
	defer t.leave(client, mine)
	if t.hold(mine, 1) <= maxWaiting {
		pause(ctx, d)
	}
	t.hold(mine, -1)
}

// hold counts answers that wait.
func (t *turns) hold(mine *turn, n int) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	mine.waiting += n
	return mine.waiting
}

func (t *turns) enter(client netip.Prefix) *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	mine := t.by[client]
	if mine == nil {
		if t.by == nil {
			t.by = map[netip.Prefix]*turn{}
		}
		mine = &turn{proving: semaphore.NewWeighted(maxProving)}
		t.by[client] = mine
	}
	mine.uses++
	return mine
}

// leave forgets a client that does nothing any more.
func (t *turns) leave(client netip.Prefix, mine *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if mine.uses--; mine.uses == 0 {
		delete(t.by, client)
	}
}
