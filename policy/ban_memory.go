package policy

import (
	"cmp"
	"container/list"
	"net/netip"
	"slices"
	"time"
)

// How Bans keeps what it remembers, and forgets it.

// suspect finds the client, or begins to remember it.
func (b *Bans) suspect(client netip.Prefix, now time.Duration) *suspect {
	s := b.clients[client]
	if s == nil {
		s = &suspect{client: client}
		b.clients[client] = s
	}
	s.last = now
	return s
}

// guess finds the name, or begins to remember it. Where a client has too many,
// the least guilty goes.
func (b *Bans) guess(s *suspect, l Login, now time.Duration) *guess {
	name := b.hash(l.Name)
	i := s.find(name)
	if i < 0 {
		if len(s.names) >= max(maxNamesEach, 2*b.rules.After) {
			least := slices.MinFunc(s.names, guiltier)
			b.drop(s, func(g *guess) bool { return g == least })
		}
		i = len(s.names)
		s.names = append(s.names, &guess{name: name, label: l.Label})
		b.names++
	}
	s.names[i].last = now
	return s.names[i]
}

// guiltier compares names by their bans, their failures, and how recent they are.
func guiltier(x, y *guess) int {
	return cmp.Or(cmp.Compare(x.until, y.until), cmp.Compare(x.failures.Sum(), y.failures.Sum()), cmp.Compare(x.last, y.last))
}

// drop forgets names of a client.
func (b *Bans) drop(s *suspect, which func(*guess) bool) {
	before := len(s.names)
	s.names = slices.DeleteFunc(s.names, which)
	b.names -= before - len(s.names)
}

// file puts s behind the others in the list where it belongs now, or forgets it
// when nothing is held against it.
func (b *Bans) file(s *suspect, now time.Duration) {
	to := &b.free
	switch {
	case s.isBanned(now):
		to = &b.banned
	case len(s.names) == 0:
		b.remove(s)
		return
	}
	if s.list != nil {
		s.list.Remove(s.place)
	}
	s.list, s.place = to, to.PushBack(s)
}

// isBanned tells whether any ban of s lasts.
func (s *suspect) isBanned(now time.Duration) bool {
	return s.until > now || slices.ContainsFunc(s.names, func(g *guess) bool { return g.until > now })
}

// forget drops what is over, the oldest first and up to what is not.
func (b *Bans) forget(now time.Duration) {
	for s := first(&b.banned); s != nil && !s.isBanned(now); s = first(&b.banned) {
		b.drop(s, func(g *guess) bool { return now-g.last >= b.rules.Within.Std() })
		b.file(s, now)
	}
	for s := first(&b.free); s != nil && now-s.last >= b.rules.Within.Std(); s = first(&b.free) {
		b.remove(s)
	}
}

// makeRoom forgets clients other than s while there is too much.
func (b *Bans) makeRoom(s *suspect) {
	for _, l := range []*list.List{&b.free, &b.banned} {
		for old := first(l); b.remembered() > maxRemembered && old != nil && old != s; old = first(l) {
			b.remove(old)
		}
	}
}

func (b *Bans) remembered() int { return len(b.clients) + b.names }

// first is the client that is next to be forgotten; nil if there is none.
func first(l *list.List) *suspect {
	if e := l.Front(); e != nil {
		return e.Value.(*suspect)
	}
	return nil
}

// remove forgets a client.
func (b *Bans) remove(s *suspect) {
	if s.list != nil {
		s.list.Remove(s.place)
	}
	delete(b.clients, s.client)
	b.names -= len(s.names)
}
