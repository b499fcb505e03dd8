package rewrite

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"postern/relay/message"
)

// Check reports what only all rules together show: names that are taken or not
// there, rules that can never do anything, undo one another, or lead to an
// address the account may not send as. What Rule.Check reports is left out.
// The key of accounts is the account's Name.
func Check(rules []Rule, accounts map[string]Account, listeners []string, bad func(i int, key, format string, args ...any)) {
	l := linter{accounts: accounts}
	names := map[string]int{}
	for i, r := range rules {
		report := func(key, format string, args ...any) { bad(i, key, format, args...) }
		if first, taken := names[r.Name]; taken && r.Name != "" {
			report("name", "%q is already the name of rewrite[%d]; choose another", r.Name, first)
		} else if slices.Contains(Completing, r.Name) {
			report("name", "%q is what this relay calls a rule of its own; choose another", r.Name)
		}
		names[r.Name] = i
		r.checkNames(accounts, listeners, report)
		compiled, ok := r.compile(func(string, string, ...any) {})
		if !ok {
			l.rules = append(l.rules, nil) // said already
			continue
		}
		l.rules = append(l.rules, &compiled)
		l.look(i, r, report)
	}
}

// checkNames reports accounts and listeners that are not there.
func (r Rule) checkNames(accounts map[string]Account, listeners []string, bad reporter) {
	for i, name := range r.Accounts {
		if !isAccount(accounts, name) {
			bad(fmt.Sprintf("accounts[%d]", i), "there is no account %q; accounts has %s", name, known(accounts))
		}
	}
	if r.Account != "" && !isAccount(accounts, r.Account) {
		bad("account", "there is no account %q; accounts has %s", r.Account, known(accounts))
	}
	for i, name := range r.Listeners {
		if !slices.Contains(listeners, name) {
			bad(fmt.Sprintf("listeners[%d]", i), "there is no listener %q; listeners has %s", name, strings.Join(listeners, ", "))
		}
	}
}

// known lists the accounts there are, some of them if they are many.
func known(accounts map[string]Account) string {
	const most = 10
	names := slices.Sorted(maps.Keys(accounts))
	if len(names) > most {
		names = append(names[:most], "...")
	}
	return strings.Join(names, ", ")
}

func isAccount(accounts map[string]Account, name string) bool {
	for known := range accounts {
		if strings.EqualFold(known, name) {
			return true
		}
	}
	return false
}

// linter looks at rules one after the other, each beside those before it.
type linter struct {
	accounts map[string]Account
	rules    []*rule // nil for those that are not sound
}

// look reports what is wrong with the last rule, which is the i-th.
func (l *linter) look(i int, r Rule, bad reporter) {
	this := l.rules[i]
	if this.guise != nil {
		l.guise(i, bad)
		return
	}
	if this.doesNothing(bad) || l.neverReached(i, bad) || this.deny != "" {
		return
	}
	l.turnsBack(i, bad)
	if this.places&(inEnvelope|inFrom|inSender) != 0 && len(r.Domains) == 0 {
		l.leavesSenders(this, r, bad)
	}
}

// doesNothing reports a rule that leaves what it names as it is.
func (r *rule) doesNothing(bad reporter) bool {
	examples, _ := r.examples()
	for _, a := range examples {
		if to, _, err := r.rewrite(a); err != nil || to != a {
			return false
		}
	}
	if len(examples) > 0 {
		bad("to", "makes of <%s> the same again, so the rule does nothing; remove it", examples[0])
	}
	return len(examples) > 0
}

// guise looks at a from rule.
func (l *linter) guise(i int, bad reporter) {
	this := l.rules[i]
	for j, before := range l.rules[:i] {
		if before != nil && before.guise != nil && before.covers(this.scope) {
			bad("from", "can never be used: rewrite[%d] before it decides for all the mail it is for", j)
			return
		}
	}
	if this.guise.when == off {
		return
	}
	for _, name := range l.accountsOf(this.scope) {
		a := l.accounts[name]
		if a.OwnAddresses {
			continue // its people have addresses that only the directory knows
		}
		_, address, err := mailbox(a.DefaultFrom)
		if !this.guise.address.IsNull() {
			address = this.guise.address
		}
		switch {
		case err != nil: // said already
		case address.IsNull():
			bad("address", "is missing, and account %s has no default_from that could stand in; write an address, or name the accounts the rule is for", name)
		case len(a.Senders) > 0 && !a.Senders.Match(address):
			bad("address", "account %s may not send as <%s>, so its mail would always be refused; add it to its senders (%s), or name the accounts the rule is for", name, address, a.Senders)
		}
	}
}

// accountsOf are the names of the accounts in a scope, sorted.
func (l *linter) accountsOf(s scope) []string {
	var names []string
	for name := range l.accounts {
		if s.holdsAccount(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// leavesSenders reports a rule whose addresses the account could never send
// as: one of those it names, or all if it names none.
func (l *linter) leavesSenders(this *rule, r Rule, bad reporter) {
	var none []string
	names := l.accountsOf(this.scope)
	for _, name := range names {
		if a := l.accounts[name]; len(a.Senders) > 0 && !a.OwnAddresses && !this.mayLeadTo(a.Senders) {
			none = append(none, name)
		}
	}
	switch {
	case len(none) == 0 || len(this.accounts) == 0 && len(none) < len(names):
	case len(none) == 1:
		bad("to", "%q is nothing that account %s may send as, so its mail would always be refused; add it to its senders (%s)", r.To, none[0], l.accounts[none[0]].Senders)
	default:
		bad("to", "%q is nothing that the accounts %s may send as, so their mail would always be refused; add it to their senders", r.To, strings.Join(none, ", "))
	}
}

// mayLeadTo tells whether the rule may make an address that is among senders.
func (r *rule) mayLeadTo(senders message.Patterns) bool {
	if examples, single := r.examples(); single {
		to, _, err := r.rewrite(examples[0])
		return err != nil || senders.Match(to)
	}
	const open = "\x00" // what no template says by itself
	local, domain, ok := strings.Cut(r.to.expand(func(string) string { return open }), "@")
	if !ok || strings.Contains(domain, open) {
		return true // nobody knows
	}
	return slices.ContainsFunc(senders, func(p message.Pattern) bool {
		a := message.Address{Local: local, Domain: domain}
		if strings.Contains(local, open) {
			name, _, _ := strings.Cut(p.String(), "@")
			a.Local = cmp.Or(name, "any")
		}
		return p.Match(a)
	})
}
