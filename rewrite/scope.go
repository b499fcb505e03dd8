package rewrite

import (
	"net/netip"
	"slices"
	"strings"

	"postern/relay/message"
	"postern/relay/setting"
)

// scope is whose mail a rule is for: that of clients which are of each list
// that is not empty.
type scope struct {
	accounts  []string // in lower case
	networks  setting.Networks
	listeners []string
}

// scope reads the keys that narrow a rule.
func (r Rule) scope(bad reporter) scope {
	s := scope{networks: r.Networks, listeners: r.Listeners}
	if r.Account != "" && len(r.Accounts) > 0 {
		bad("account", "does not go with accounts; list it there")
	}
	for _, name := range append([]string{r.Account}, r.Accounts...) {
		if name != "" {
			s.accounts = append(s.accounts, strings.ToLower(name))
		}
	}
	return s
}

// holds tells whether c is in the scope.
func (s scope) holds(c message.Client) bool {
	return s.holdsAccount(c.Account) &&
		(len(s.networks) == 0 || s.networks.Contain(c.Address.Addr())) &&
		(len(s.listeners) == 0 || slices.Contains(s.listeners, c.Listener))
}

func (s scope) holdsAccount(name string) bool {
	return len(s.accounts) == 0 || slices.Contains(s.accounts, strings.ToLower(name))
}

// covers tells whether every client in t is in s.
func (s scope) covers(t scope) bool {
	return subset(t.accounts, s.accounts) && subset(t.listeners, s.listeners) &&
		(len(s.networks) == 0 || len(t.networks) > 0 && !slices.ContainsFunc(t.networks, func(n setting.Network) bool { return !s.coversNetwork(n) }))
}

func (s scope) coversNetwork(n setting.Network) bool {
	return slices.ContainsFunc(s.networks, func(around setting.Network) bool {
		a, b := netip.Prefix(around), netip.Prefix(n)
		return a.Bits() <= b.Bits() && a.Contains(b.Addr())
	})
}

// meets tells whether a client may be in both.
func (s scope) meets(t scope) bool {
	return common(s.accounts, t.accounts) && common(s.listeners, t.listeners) &&
		(len(s.networks) == 0 || len(t.networks) == 0 || slices.ContainsFunc(t.networks, func(n setting.Network) bool {
			return slices.ContainsFunc(s.networks, func(m setting.Network) bool { return netip.Prefix(m).Overlaps(netip.Prefix(n)) })
		}))
}

// subset tells whether all of a are in b. An empty b holds everything, an empty
// a is everything.
func subset(a, b []string) bool {
	return len(b) == 0 || len(a) > 0 && !slices.ContainsFunc(a, func(x string) bool { return !slices.Contains(b, x) })
}

// common tells whether a and b share anything; an empty one is everything.
func common(a, b []string) bool {
	return len(a) == 0 || len(b) == 0 || slices.ContainsFunc(a, func(x string) bool { return slices.Contains(b, x) })
}
