package policy

import (
	"container/list"
	"hash/maphash"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"postern/relay/message"
	"postern/relay/setting"
	"postern/relay/sliding"
)

// Bans remembers who failed to log in, and tells whom that shuts out. It
// outlives the configurations that say when, and is safe for concurrent use. It
// begins nothing by itself: time is what it is told.
//
// What counts is the pair of a client and the name it gave: a device that
// repeats a wrong password is shut out, and its neighbours behind the same
// address go on. A client as a whole is shut out for many names that fail,
// which is what guessing looks like; one in the networks of an account is only
// made to wait. Those who give no name, with tokens and certificates, share one
// that takes twice as many failures, and counts where no account's networks are.
// A client is an IPv4 address, or the IPv6 /64 of which a host may use any
// address.
//
// What was typed as a name may have been a password. It is not kept, only a
// hash that is good for this process.
type Bans struct {
	mu     sync.Mutex
	rules  Ban
	spared setting.Networks
	epoch  time.Time // times are told since it
	seed   maphash.Seed

	clients map[netip.Prefix]*suspect
	// Clients without a ban, and those with one, each by the time they failed
	// last: who comes first is forgotten first, and nobody with a ban before all
	// those without.
	free, banned list.List
	names        int // of all clients
}

// What is remembered at most: clients and their names, in some 10 MB, and names
// of one client that is never banned as a whole.
const (
	maxRemembered = 32_768
	maxNamesEach  = 256
)

// The wait before the answer to a failed login: it doubles from the first one to
// the last.
const (
	firstDelay = time.Second
	lastDelay  = 16 * time.Second
)

// suspect is a client of which a login has failed.
type suspect struct {
	client netip.Prefix
	names  []*guess
	until  time.Duration // when the ban of the client as a whole ends
	last   time.Duration // when a login failed
	list   *list.List
	place  *list.Element // in list
}

// guess is one name that failed.
type guess struct {
	name     uint64
	label    string
	failures sliding.Window
	last     time.Duration
	until    time.Duration // when its ban ends
}

// NewBans makes one in which nobody has failed.
func NewBans() *Bans {
	return &Bans{epoch: time.Now(), seed: maphash.MakeSeed(), clients: map[netip.Prefix]*suspect{}}
}

// Configure puts other rules in force. Clients in the spared networks are never
// banned as a whole. Bans that were made last as long as they were told.
func (b *Bans) Configure(rules Ban, spared setting.Networks) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rules, b.spared = rules, spared
}

// Login is who a client said it is.
type Login struct {
	// Name is as it was given; empty if the mechanism does without.
	Name string
	// Label is the name if it may be shown: an account has it.
	Label string
}

// Ban tells until when a login from that address is refused. The zero Time: it
// is not.
func (b *Bans) Ban(a netip.Addr, l Login, now time.Time) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.clients[message.OneClient(a)]
	if s == nil {
		return time.Time{}
	}
	until := b.whole(s)
	if i := s.find(b.hash(l.Name)); i >= 0 {
		until = max(until, s.names[i].until)
	}
	return b.ends(until, now)
}

// Address tells until when nobody is let in from that address. The zero Time:
// they are.
func (b *Bans) Address(a netip.Addr, now time.Time) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.clients[message.OneClient(a)]; s != nil {
		return b.ends(b.whole(s), now)
	}
	return time.Time{}
}

// Verdict is what a failed login leads to.
type Verdict struct {
	// Failures is how many there were of that name, within the time in which
	// they are counted.
	Failures int
	// Delay is how long the client shall wait for its answer.
	Delay time.Duration
	// Login and Address are until when they are banned by this; zero if they are not.
	Login, Address time.Time
}

// Failed notes that a login was refused because it was wrong.
func (b *Bans) Failed(a netip.Addr, l Login, now time.Time) (v Verdict) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := now.Sub(b.epoch)
	b.forget(at)
	s := b.suspect(message.OneClient(a), at)
	g := b.guess(s, l, at)
	g.failures.Add(1, at, b.rules.Within.Std())
	v.Failures = g.failures.Count(at, b.rules.Within.Std())
	v.Delay = delay(v.Failures)
	if b.rules.After > 0 {
		v.Login, v.Address = b.judge(s, g, v.Failures, at)
		if b.isSpared(s) && b.isGuessing(s, at) {
			v.Delay = lastDelay
		}
	}
	b.file(s, at)
	b.makeRoom(s)
	return v
}

// judge makes the bans that the last failure leads to.
func (b *Bans) judge(s *suspect, g *guess, failures int, now time.Duration) (login, address time.Time) {
	end := now + b.rules.For.Std()
	if failures >= b.rules.After && (g.name != nobody || !b.isSpared(s) && failures >= 2*b.rules.After) {
		g.until, g.failures = end, sliding.Window{}
		login = b.epoch.Add(end)
	}
	if !b.isSpared(s) && b.isGuessing(s, now) {
		s.until = end
		b.drop(s, func(g *guess) bool { return g.until <= now })
		address = b.epoch.Add(end)
	}
	return login, address
}

// delay is the wait after so many failures.
func delay(failures int) time.Duration {
	return min(firstDelay<<min(failures-1, 10), lastDelay)
}

// Succeeded notes a login that was right: what that name has failed before is
// forgotten.
func (b *Bans) Succeeded(a netip.Addr, l Login) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.clients[message.OneClient(a)]; s != nil {
		name := b.hash(l.Name)
		b.drop(s, func(g *guess) bool { return g.name == name })
		b.file(s, s.last)
	}
}

// nobody is the hash of no name.
const nobody = 0

// hash stands for a name, in whatever way it is written.
func (b *Bans) hash(name string) uint64 {
	if name == "" {
		return nobody
	}
	return maphash.String(b.seed, skeleton(name))
}

// skeleton is what is left of a name without all that SASLprep (RFC 4013) or a
// directory (RFC 4518) may pass over: letter case, accents, spaces, and what
// cannot be seen. Else there would be no end of names to guess one person's
// password under.
func skeleton(name string) string {
	return strings.Map(func(r rune) rune {
		if '\u0300' <= r && r <= '\u036f' || unicode.In(r, unicode.C, unicode.Z, unicode.Variation_Selector) {
			return -1
		}
		return unicode.ToLower(unicode.ToUpper(r))
	}, norm.NFKD.String(name))
}

// ends is the time at which a ban ends, unless it has.
func (b *Bans) ends(until time.Duration, now time.Time) time.Time {
	if until <= now.Sub(b.epoch) {
		return time.Time{}
	}
	return b.epoch.Add(until)
}

// whole is when the ban of s as a whole ends, if it still counts: a reload may
// have spared it.
func (b *Bans) whole(s *suspect) time.Duration {
	if b.isSpared(s) {
		return 0
	}
	return s.until
}

func (b *Bans) isSpared(s *suspect) bool {
	return slices.ContainsFunc(b.spared, func(n setting.Network) bool { return netip.Prefix(n).Overlaps(s.client) })
}

// find is the index of a name; -1 if it is not there.
func (s *suspect) find(name uint64) int {
	return slices.IndexFunc(s.names, func(g *guess) bool { return g.name == name })
}

// isGuessing tells whether so many names of s fail, bans of them included, that
// they are no mistakes.
func (b *Bans) isGuessing(s *suspect, now time.Duration) bool {
	n := 0
	for _, g := range s.names {
		if g.name != nobody && (g.until > now || now-g.last < b.rules.Within.Std()) {
			n++
		}
	}
	return n >= 2*b.rules.After
}
