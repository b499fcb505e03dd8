package upstream

import (
	"fmt"
	"slices"
	"strings"

	"postern/relay/message"
	"postern/relay/setting"
)

// Route leads mail to upstreams. The first route that matches wins: a message
// and recipient that all of its conditions fit. What is not set fits all.
type Route struct {
	Name string `yaml:"name"`
	// Accounts are those whose mail it takes.
	Accounts []string `yaml:"accounts"`
	// Senders are the envelope senders it takes; empty: all, <> too.
	Senders message.Patterns `yaml:"senders"`
	// Recipients are those it leads to. Others of the same message take another
	// route.
	Recipients message.Patterns `yaml:"recipients"`
	// Larger takes only what is larger than that, Smaller what is not.
	Larger  setting.Size `yaml:"larger"`
	Smaller setting.Size `yaml:"smaller"`
	// Listeners are those the mail came in through.
	Listeners []string `yaml:"listeners"`
	// Upstreams are groups in order of preference: the next one is used while all
	// of those before it are down. Within a group the load is shared.
	Upstreams []Group `yaml:"upstreams"`
}

// Group is the upstreams of a route that share the load, mostly one.
type Group []string

// UnmarshalText reads a group of one.
func (g *Group) UnmarshalText(b []byte) error {
	*g = Group{string(b)}
	return nil
}

// MarshalYAML writes a group of one without brackets.
func (g Group) MarshalYAML() (any, error) {
	if len(g) == 1 {
		return g[0], nil
	}
	return []string(g), nil
}

// Names are all upstreams of a route, in order.
func (r Route) Names() []string {
	var names []string
	for _, g := range r.Upstreams {
		names = append(names, g...)
	}
	return names
}

// Mail is what a route is chosen by. To and Size may not be known yet: the null
// address and 0.
type Mail struct {
	Account, Listener string
	From, To          message.Address
	Size              int64
}

// fits tells whether r takes m, and whether that is certain by what is known.
func (r Route) fits(m Mail) (fits, certain bool) {
	switch {
	case len(r.Accounts) > 0 && !slices.Contains(r.Accounts, m.Account),
		len(r.Listeners) > 0 && !slices.Contains(r.Listeners, m.Listener),
		len(r.Senders) > 0 && !r.Senders.Match(m.From),
		len(r.Recipients) > 0 && !m.To.IsNull() && !r.Recipients.Match(m.To),
		m.Size > 0 && r.Larger > 0 && m.Size <= int64(r.Larger),
		m.Size > 0 && r.Smaller > 0 && m.Size > int64(r.Smaller):
		return false, true
	}
	sized, led := r.Larger > 0 || r.Smaller > 0, len(r.Recipients) > 0
	return true, !(sized && m.Size == 0) && !(led && m.To.IsNull())
}

// Takes tells whether r may take m, by what is known of it.
func (r Route) Takes(m Mail) bool {
	fits, _ := r.fits(m)
	return fits
}

// Routes are the routes that may take the mail, by name: the account's own, else
// the first that is certain to, and before it those that do if what is not known
// yet fits them. Of a recipient and a message that are known there is at most one.
func (s *Set) Routes(m Mail) []string {
	if route := s.accounts[m.Account].Route; route != "" {
		return []string{route}
	}
	var names []string
	for _, r := range s.routes {
		fits, certain := r.fits(m)
		if fits {
			names = append(names, r.Name)
		}
		if fits && certain {
			break
		}
	}
	return names
}

// Check reports what is wrong with one route.
func (r Route) Check(bad func(key, format string, args ...any)) {
	checkName(r.Name, bad)
	if len(r.Upstreams) == 0 {
		bad("upstreams", "it is empty; name the upstreams of the route in order of preference")
	}
	var seen []string
	for i, g := range r.Upstreams {
		if len(g) == 0 {
			bad(fmt.Sprintf("upstreams[%d]", i), "it is empty; name the upstreams that share the load here")
		}
		for _, name := range g {
			if slices.Contains(seen, name) {
				bad(fmt.Sprintf("upstreams[%d]", i), "%q stands in the list already", name)
			}
			seen = append(seen, name)
		}
	}
	if r.Smaller > 0 && r.Larger >= r.Smaller {
		bad("smaller", "nothing is larger than %s and not larger than %s; larger must be the less of the two", r.Larger, r.Smaller)
	}
}

// CheckRoutes reports accounts and listeners of routes that are not there.
func CheckRoutes(routes []Route, accounts, listeners []string, bad func(key, format string, args ...any)) {
	for i, r := range routes {
		for _, list := range []struct {
			key, what    string
			named, there []string
		}{{"accounts", "account", r.Accounts, accounts}, {"listeners", "listener", r.Listeners, listeners}} {
			for j, name := range list.named {
				if !slices.Contains(list.there, name) {
					bad(fmt.Sprintf("routes[%d].%s[%d]", i, list.key, j), "there is no %s %q; there are %s", list.what, name, strings.Join(list.there, ", "))
				}
			}
		}
	}
}
