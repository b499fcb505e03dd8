package policy

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"postern/relay/message"
)

// Banned is a ban as it is shown.
type Banned struct {
	// Client is an IPv4 address or an IPv6 /64.
	Client netip.Prefix
	// Whole: the client is banned whatever name it gives.
	Whole bool
	// Account is the name that is banned; empty if no account has it, or the
	// client is banned as a whole.
	Account string
	// Until is when the ban ends.
	Until time.Time
}

// List is every ban that lasts, by client.
func (b *Bans) List(now time.Time) []Banned {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []Banned
	for e := b.banned.Front(); e != nil; e = e.Next() {
		s := e.Value.(*suspect)
		if until := b.ends(b.whole(s), now); !until.IsZero() {
			all = append(all, Banned{Client: s.client, Whole: true, Until: until})
		}
		for _, g := range s.names {
			if until := b.ends(g.until, now); !until.IsZero() {
				all = append(all, Banned{Client: s.client, Account: g.label, Until: until})
			}
		}
	}
	slices.SortFunc(all, func(x, y Banned) int {
		return cmp.Or(x.Client.Addr().Compare(y.Client.Addr()), cmp.Compare(x.Account, y.Account), x.Until.Compare(y.Until))
	})
	return all
}

// Lift ends the bans of a client: that of one name, or with name "" all. What it
// failed before is forgotten too. It returns how many bans that were.
func (b *Bans) Lift(a netip.Addr, name string, now time.Time) (lifted int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, at := b.clients[message.OneClient(a)], now.Sub(b.epoch)
	if s == nil {
		return 0
	}
	if name == "" && s.until > at {
		s.until = 0
		lifted++
	}
	hash := b.hash(name)
	b.drop(s, func(g *guess) bool {
		if name != "" && g.name != hash {
			return false
		}
		if g.until > at {
			lifted++
		}
		return true
	})
	b.file(s, at)
	return lifted
}
