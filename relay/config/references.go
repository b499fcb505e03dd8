package config

import (
	"reflect"
	"slices"
	"strings"

	"postern/auth"
	"postern/relay/bounce"
	"postern/relay/dkim"
	"postern/relay/message"
	"postern/relay/submission"
	"postern/relay/upstream"
	"postern/relay/upstream/preset"
	"postern/rewrite"
)

// references checks what no struct can see alone: names that must be unique,
// names that must exist, and mail that would find no way.
func (f *file) references(c *Config) {
	f.listeners(c)
	f.accounts(c)
	f.rewriting(c)
	f.signing(c)
	f.tokens(c)
	f.logins(c)
	f.openRelays(entrances(c), c.Accounts)
	if !f.readable("upstreams") || !f.readable("routes") {
		return // what is missing may be what could not be read
	}
	c.Routing().Check(f.finding)
	f.routes(c)
	for i, r := range c.Routes {
		c.Queue.CheckRoute(r.Queue, func(key, format string, args ...any) { f.finding(join(item("routes", i), key), format, args...) })
	}
	f.reports(c)
	for i, a := range c.Accounts {
		if a.Upstream.Route != "" {
			f.namedRoute(c, join(item("accounts", i), "route"), a.Upstream.Route)
			continue
		}
		f.routable(c, item("accounts", i), a)
	}
}

// listeners reports names and ports that are taken.
func (f *file) listeners(c *Config) {
	if len(c.Listeners) == 0 {
		f.finding("listeners", "there is none, so no mail could come in; name at least one, such as {name: submission, address: \":587\", tls: starttls}")
	}
	names := map[string]string{}
	for i, l := range c.Listeners {
		path := join(item("listeners", i), "name")
		if first, taken := names[l.Name]; taken && l.Name != "" {
			f.finding(path, "%q is already the name of %s on line %d; choose another", l.Name, first, f.line(first))
			continue
		}
		names[l.Name] = item("listeners", i)
	}
	f.ports(c)
	if f.readable("profiles") {
		submission.CheckProfiles(c.Listeners, c.Profiles, f.finding)
	}
}

// ports reports addresses that cannot be open at the same time. An empty host
// is every address of the machine; port 0 is any free one.
func (f *file) ports(c *Config) {
	type address struct{ path, text string }
	var open []address
	var all []address
	for i, l := range c.Listeners {
		all = append(all, address{join(item("listeners", i), "address"), l.Address})
	}
	all = append(all, address{"metrics.address", c.Metrics.Address})
	for _, a := range all {
		host, port, err := hostPort(a.text)
		if err != nil || port == 0 {
			continue
		}
		for _, o := range open {
			h, p, _ := hostPort(o.text)
			if p == port && (h == host || h == "" || host == "") {
				f.finding(a.path, "%q is already taken by %s on line %d; choose another port", a.text, o.path, f.line(o.path))
			}
		}
		open = append(open, a)
	}
}

// accounts reports names that are taken; auth knows when two are the same.
func (f *file) accounts(c *Config) {
	if len(c.Accounts) == 0 {
		f.finding("accounts", "there is none, so nobody could send; name at least one, as in config.example.yaml")
	}
	owners := make([]auth.Account, len(c.Accounts))
	for i, a := range c.Accounts {
		owners[i] = a.Auth
	}
	auth.Check(owners, func(i int, key, format string, args ...any) {
		f.finding(join(item("accounts", i), key), format, args...)
	})
	auth.CheckTrusted(owners, func(i int, key, format string, args ...any) {
		f.finding(join(item("accounts", i), key), format, args...)
	})
	auth.CheckMechanisms(c.Auth, owners, func(key, format string, args ...any) {
		f.finding(join("auth", key), format, args...)
	})
	if i := slices.Index(c.Auth.Mechanisms, "EXTERNAL"); i >= 0 && c.TLS.ClientCA == "" {
		f.finding(join("auth", item("mechanisms", i)), "EXTERNAL is offered, but clients are asked for no certificate; name who issues them in tls.client_ca")
	}
	auth.CheckDirectories(c.Auth, owners, f.finding)
	auth.CheckSubjects(c.Auth, owners, func(i int, key, format string, args ...any) {
		f.finding(join(item("accounts", i), key), format, args...)
	})
	for i, a := range c.Accounts {
		f.defaultFrom(item("accounts", i), a)
	}
}

// defaultFrom reports a From that policy would refuse.
func (f *file) defaultFrom(path string, a Account) {
	from, err := message.ParseMailboxes(a.Rewrite.DefaultFrom)
	if err != nil || len(from) == 0 || !f.readable(join(path, "senders")) {
		return // said already
	}
	if !a.Policy.Senders.Match(from[0]) {
		f.finding(join(path, "default_from"), "the account may not send as <%s>; add it to its senders (%s)", from[0], a.Policy.Senders)
	}
}

// rewriting reports what rules are to one another, and to accounts.
func (f *file) rewriting(c *Config) {
	if !f.readable("accounts") || !f.readable("listeners") {
		return // a rule may be about what could not be read
	}
	var listeners []string
	for _, l := range c.Listeners {
		listeners = append(listeners, l.Name)
	}
	rewrite.Check(c.Rewrite, c.Rewriting(), listeners, func(i int, key, format string, args ...any) {
		f.finding(join(item("rewrite", i), key), format, args...)
	})
}

// signing reports keys in one another's way, and upstreams that insist on
// signatures which nothing makes.
func (f *file) signing(c *Config) {
	dkim.Check(c.DKIM, c.Queueing().Longest(), f.finding)
	for i, u := range c.Upstreams {
		if u.DKIM.DKIM == "on" && len(c.DKIM) == 0 && f.readable("dkim") {
			f.finding(join(item("upstreams", i), "dkim"), "on takes only signed mail, and there is no key under dkim; \"postern dkim generate\" makes one")
		}
	}
}

// routes reports what routes name that is not there.
func (f *file) routes(c *Config) {
	if !f.readable("accounts") || !f.readable("listeners") {
		return // it may be what could not be read
	}
	var accounts, listeners []string
	for _, a := range c.Accounts {
		accounts = append(accounts, a.Auth.Name)
	}
	for _, l := range c.Listeners {
		listeners = append(listeners, l.Name)
	}
	upstream.CheckRoutes(c.Routing().Routes, accounts, listeners, f.finding)
}

// tokens reports OAuth where it does not belong, and a service account that acts
// for nobody.
func (f *file) tokens(c *Config) {
	for i, u := range c.Upstreams {
		if u.OAuth.OAuth.IsZero() {
			continue
		}
		path := item("upstreams", i)
		switch {
		case u.Upstream.Preset == "capture":
			f.finding(join(path, "oauth"), "preset capture sends nothing and logs in nowhere; leave oauth out")
		case !u.Upstream.Password.IsZero():
			f.finding(join(path, "password"), "and oauth are two ways to log in; leave one of them out")
		case u.Upstream.SendsInClear():
			f.finding(join(path, "tls"), "none would send the access token in clear; use starttls or implicit")
		}
		u.OAuth.OAuth.CheckSubject(u.Rewrite.Mailbox.String(), func(key, format string, args ...any) {
			f.finding(join(join(path, "oauth"), key), format, args...)
		})
	}
}

// logins reports upstreams with a mailbox that nothing lets us into.
func (f *file) logins(c *Config) {
	for i, u := range c.Upstreams {
		p, path := u.known(), item("upstreams", i)
		switch {
		case p.Username != preset.UserMailbox || !u.OAuth.OAuth.IsZero() || !f.readable(join(path, "oauth")):
		case p.HeadersAddress():
			f.finding(join(path, "oauth"), "it is missing; preset %s needs it, as \"postern presets %s\" shows", p.Name, p.Name)
		case u.Upstream.Password.IsZero() && u.Upstream.Certificate.IsZero():
			f.finding(join(path, "oauth"), "it is missing, or password; preset %s needs a login, as \"postern presets %s\" shows", p.Name, p.Name)
		}
	}
}

// reports reports digests that would reach nobody.
func (f *file) reports(c *Config) {
	if c.Postmaster.IsNull() {
		for i, a := range c.Accounts {
			if a.Bounce.Bounce == bounce.Digest && f.readable("postmaster") {
				f.finding(join(item("accounts", i), "bounce"), "a digest goes to the postmaster, and there is none; write postmaster: it@example.com at the top")
			}
		}
		return
	}
	mail := upstream.Mail{From: c.Postmaster, To: c.Postmaster}
	if !anyRoute(c, func(r upstream.Route) bool { return r.Takes(mail) }) {
		f.finding("postmaster", "no route takes mail from and to <%s>, as digests are; widen the senders or recipients of a route", c.Postmaster)
	}
}

// namedRoute reports a route that is not there.
func (f *file) namedRoute(c *Config, path, name string) {
	var names []string
	for _, r := range c.Routes {
		if r.Upstream.Name == name {
			return
		}
		names = append(names, r.Upstream.Name)
	}
	f.finding(path, "there is no route %q; routes has %s", name, strings.Join(names, ", "))
}

// routable reports the senders of an account whose mail no route would take,
// whoever it is for and however large.
func (f *file) routable(c *Config, path string, a Account) {
	for i, sender := range a.Policy.Senders {
		if sender.String() != "" && !anyRoute(c, func(r upstream.Route) bool { return takesAccount(r, a) && takes(r, sender) }) {
			f.finding(join(path, item("senders", i)), "no route takes mail from %s; add it to the senders of a route, or name a route in this account", sender)
		}
	}
	if a.Policy.NullSender && !anyRoute(c, func(r upstream.Route) bool { return takesAccount(r, a) && len(r.Senders) == 0 }) {
		f.finding(join(path, "null_sender"), "no route takes mail with an empty sender; add a route without senders, or name a route in this account")
	}
}

// anyRoute tells whether a route will do; where there are no routes that is
// what is wrong, and is reported as such.
func anyRoute(c *Config, will func(upstream.Route) bool) bool {
	for _, r := range c.Routes {
		if will(r.Upstream) {
			return true
		}
	}
	return len(c.Routes) == 0
}

// takesAll tells whether r takes all mail.
func takesAll(r upstream.Route) bool {
	r.Name, r.Upstreams = "", nil
	return reflect.ValueOf(r).IsZero()
}

// takesAccount tells whether r takes some mail of an account.
func takesAccount(r upstream.Route, a Account) bool {
	return len(r.Accounts) == 0 || slices.Contains(r.Accounts, a.Auth.Name)
}

// takes tells whether r takes at least some mail of sender.
func takes(r upstream.Route, sender message.Pattern) bool {
	for _, taken := range r.Senders {
		if overlap(sender, taken) {
			return true
		}
	}
	return len(r.Senders) == 0
}

// overlap tells whether some address matches both. Of two patterns either one
// holds the other or they share nothing, so one address of each decides.
func overlap(a, b message.Pattern) bool {
	return a.Match(example(b)) || b.Match(example(a))
}

// example is an address that p matches.
func example(p message.Pattern) message.Address {
	domain, whole := strings.CutPrefix(p.String(), "@")
	switch {
	case p.String() == "*":
		return message.Address{Local: "any", Domain: "any"}
	case whole:
		return message.Address{Local: "any", Domain: strings.Replace(domain, "*", "any", 1)}
	}
	a, _ := message.ParseAddress(p.String()) // p was read from it
	return a
}
