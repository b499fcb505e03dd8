package config

import (
	"fmt"
	"slices"
	"time"

	"postern/relay/dkim"
	"postern/relay/message"
	"postern/relay/submission"
	"postern/relay/upstream"
)

// Warnings lists what a sound configuration probably does not mean to do.
func (c *Config) Warnings() []string {
	var all []string
	for _, u := range c.Routing().Upstreams {
		if !anyRoute(c, func(r upstream.Route) bool { return slices.Contains(r.Names(), u.Name) }) {
			all = append(all, fmt.Sprintf("upstream %s is never used: no route names it", u.Name))
		}
	}
	for _, a := range c.Accounts {
		if a.Auth.Trusted && slices.ContainsFunc(a.Policy.Senders, func(p message.Pattern) bool { return p.String() == "*" }) {
			all = append(all, fmt.Sprintf("account %s is trusted by its network alone and may send as anybody: list its senders, such as scan@example.com", a.Auth.Name))
		}
	}
	all = append(all, dkim.Warnings(c.DKIM)...)
	all = append(all, c.providerWarnings()...)
	for _, p := range c.Profiles {
		named := slices.ContainsFunc(c.Listeners, func(l submission.Listener) bool { return l.Profile == p.Name })
		if !named && len(p.Networks) == 0 {
			all = append(all, fmt.Sprintf("profile %s is never used: no listener names it, and it has no networks", p.Name))
		}
	}
	before := "" // the route that takes all
	for _, r := range c.Routing().Routes {
		switch {
		case before != "" && !c.isNamed(r):
			all = append(all, fmt.Sprintf("route %s is never used: route %s before it takes all mail", r.Name, before))
		case before == "" && takesAll(r):
			before = r.Name
		}
	}
	for _, credential := range c.Credentials() {
		all = append(all, credential.Warnings(time.Now())...)
	}
	return append(all, c.tokenWarnings()...)
}

// tokenWarnings are those about bearer tokens.
func (c *Config) tokenWarnings() (all []string) {
	if len(c.Auth.Issuers) > 0 && !c.Auth.TakesTokens() {
		all = append(all, "auth.issuers is never used: add XOAUTH2 and OAUTHBEARER to auth.mechanisms")
	}
	for _, issuer := range c.Auth.Issuers {
		if issuer.IsOpen() {
			all = append(all, fmt.Sprintf("issuer %s: any live token of it that names an account can log in; write what yours have as audience, or scopes", issuer.ID()))
		}
	}
	return all
}

// isNamed tells whether the mail of an account takes r whatever its sender.
func (c *Config) isNamed(r upstream.Route) bool {
	return slices.ContainsFunc(c.Accounts, func(a Account) bool { return a.Upstream.Route == r.Name })
}
