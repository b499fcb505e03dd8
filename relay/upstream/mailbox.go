package upstream

import (
	"cmp"
	"strings"
	"sync"
	"time"

	"postern/relay/upstream/throttle"
)

// mailbox is what all upstreams share that send through the same mailbox of the
// same provider, whatever the way: how much may go through it. It outlives the
// configurations.
type mailbox struct {
	mu       sync.Mutex // guards its throttle, and the gates of all its upstreams
	throttle throttle.Throttle
	gates    map[*gate]bool // those somebody watches
	epoch    time.Time
}

func newMailbox() *mailbox { return &mailbox{gates: map[*gate]bool{}, epoch: time.Now()} }

// mailboxKey tells mailboxes apart: by the provider, which is the first word of
// the preset, or else the host, and by the address. Without one an upstream has a
// mailbox of its own.
func (u Upstream) mailboxKey() string {
	if u.Mailbox.IsNull() {
		return "upstream:" + u.Name
	}
	family, _, _ := strings.Cut(u.Preset, "-")
	host, _ := splitAddress(u.Address)
	return strings.ToLower(cmp.Or(family, host) + " " + u.Mailbox.String())
}

// What follows is called with the lock held.

func (b *mailbox) since(now time.Time) time.Duration { return now.Sub(b.epoch) }

// when is the time of a duration that the throttle told; zero for 0.
func (b *mailbox) when(d time.Duration) time.Time {
	if d == 0 {
		return time.Time{}
	}
	return b.epoch.Add(d)
}

func (b *mailbox) room(now time.Time) (int, time.Time) {
	n, again := b.throttle.Room(b.since(now))
	return n, b.when(again)
}

func (b *mailbox) begin(n int, now time.Time) throttle.Turn {
	return b.throttle.Begin(n, b.since(now))
}

func (b *mailbox) reserve(recipients int, now time.Time) (until time.Time, ok bool) {
	at, ok := b.throttle.Reserve(recipients, b.since(now))
	return b.when(at), ok
}

// awaited tells whether anybody waits for a slot of one of the upstreams.
func (b *mailbox) awaited() bool {
	for g := range b.gates {
		for _, w := range g.watchers {
			if w.waits {
				return true
			}
		}
	}
	return false
}

func (b *mailbox) wakeAll() {
	for g := range b.gates {
		for wake := range g.watchers {
			select {
			case wake <- struct{}{}:
			default:
			}
		}
	}
}
