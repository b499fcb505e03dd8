package config

import (
	"slices"
	"strings"

	"postern/relay/message"
	"postern/relay/upstream"
)

// Leaving is a domain whose mail may leave through an upstream of a route.
type Leaving struct {
	Route string
	Upstream
	// Domain is that of From.
	Domain string
	// Failover: it is not of those that the route prefers.
	Failover bool
}

// Leaving lists what the accounts may send as and where it goes, in the order of
// the routes. Senders that are no domain's, such as "*", are left out.
func (c *Config) Leaving() (all []Leaving) {
	seen := map[[3]string]bool{}
	for _, r := range c.Routing().Routes {
		for _, a := range c.Accounts {
			for _, sender := range a.Policy.Senders {
				if !c.leads(a, r, sender) {
					continue
				}
				for _, name := range r.Names() {
					u, domain := c.through(name, sender)
					if key := [3]string{r.Name, name, domain}; domain != "" && !seen[key] {
						seen[key] = true
						all = append(all, Leaving{r.Name, u, domain, !slices.Contains(r.Upstreams[0], name)})
					}
				}
			}
		}
	}
	return all
}

// through is the upstream of that name, and the domain mail of a sender has in
// From when it leaves there; "" when it does not.
func (c *Config) through(name string, sender message.Pattern) (u Upstream, domain string) {
	i := slices.IndexFunc(c.Upstreams, func(u Upstream) bool { return u.Upstream.Name == name })
	if i < 0 {
		return u, ""
	}
	u, from := c.Upstreams[i], example(sender)
	dressing := u.Dressing()
	taken := dressing.Otherwise == "" && len(dressing.Senders) == 0 || dressing.Senders.Match(from) || from.EqualFold(dressing.Mailbox)
	switch {
	case u.known().Transport == "capture", !taken && dressing.Otherwise != "force":
		return u, ""
	case !taken:
		return u, dressing.Mailbox.Domain
	case sender.String() == "*" || strings.Contains(sender.String(), "@*."):
		return u, ""
	}
	return u, from.Domain
}

// leads tells whether mail of an account from a sender may take a route.
func (c *Config) leads(a Account, r upstream.Route, sender message.Pattern) bool {
	if a.Upstream.Route != "" {
		return a.Upstream.Route == r.Name
	}
	return takesAccount(r, a) && takes(r, sender)
}
