package relay

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"postern/relay/config"
	"postern/relay/dkim"
	"postern/relay/message"
)

// told is each change with the line of the configuration that asks for it; those
// for an upstream name it.
func (e *explaining) told(changes []message.Change, upstream string) []Change {
	all := make([]Change, len(changes))
	for i, c := range changes {
		all[i] = Change{c, e.line(e.cause(c, upstream))}
	}
	return all
}

// line is where a key stands, or what it is part of; 0 if nowhere.
func (e *explaining) line(path string) int {
	if path == "" {
		return 0
	}
	whole, _, _ := strings.Cut(path, "].")
	if whole != path {
		whole += "]"
	}
	return cmp.Or(e.sub.Lines[path], e.sub.Lines[whole])
}

// cause is the path of the key that a change comes from; "" for what is done to
// all mail.
func (e *explaining) cause(c message.Change, upstream string) string {
	cfg := e.stations.config
	if upstream != "" && c.Rule != byDKIM && !strings.HasPrefix(c.Rule, "repair.") {
		i := slices.IndexFunc(cfg.Upstreams, func(u config.Upstream) bool { return u.Upstream.Name == upstream })
		return fmt.Sprintf("upstreams[%d].%s", i, c.Rule)
	}
	switch key, repair := strings.CutPrefix(c.Rule, "repair."); {
	case repair:
		listener, _ := e.stations.listener(e.m.Client.Listener)
		return fmt.Sprintf("profiles[%d].%s", e.stations.submission(nil).ProfileFor(listener, e.sub.Address), key)
	case strings.HasPrefix(c.Rule, "headers."):
		return c.Rule
	case c.Rule == byDKIM:
		return e.signedBy(c)
	}
	return e.asked(c)
}

// signedBy is the key of a signature.
func (e *explaining) signedBy(c message.Change) string {
	for i, k := range e.stations.config.DKIM {
		if strings.HasSuffix(c.After, " of "+dkim.RecordName(k.Domain, k.Selector)) {
			return fmt.Sprintf("dkim[%d]", i)
		}
	}
	return ""
}

// asked is the rule of the configuration, or what it says of the account and of
// fields to remove, that a change comes from.
func (e *explaining) asked(c message.Change) string {
	cfg := e.stations.config
	for i, r := range cfg.Rewrite {
		if path := fmt.Sprintf("rewrite[%d]", i); c.Rule == cmp.Or(r.Name, path) {
			return path
		}
	}
	switch c.Rule {
	case "remove":
		if slices.ContainsFunc(cfg.Headers.Remove, func(name string) bool { return strings.EqualFold(name, c.Field) }) {
			return "headers.remove"
		}
	case "from":
		i := slices.IndexFunc(cfg.Accounts, func(a config.Account) bool { return a.Auth.Name == e.m.Client.Account })
		if i >= 0 && cfg.Accounts[i].Rewrite.DefaultFrom != "" {
			return fmt.Sprintf("accounts[%d].default_from", i)
		}
	}
	return ""
}
