package rewrite

import (
	"cmp"
	"fmt"
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
			bad(fmt.Sprintf("accounts[%d]", i), "there is no account %q", name)
		}
	}
	if r.Account != "" && !isAccount(accounts, r.Account) {
		bad("account", "there is no account %q", r.Account)
	}
	for i, name := range r.Listeners {
		if !slices.Contains(listeners, name) {
			bad(fmt.Sprintf("listeners[%d]", i), "there is no listener %q; listeners has %s", name, strings.Join(listeners, ", "))
		}
	}
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

// neverReached reports a rule whose addresses those before it have all made
// others of.
func (l *linter) neverReached(i int, bad reporter) bool {
	this := l.rules[i]
	examples, single := this.examples()
	if len(examples) == 0 {
		return false
	}
	by := -1
	for _, a := range examples {
		for _, at := range this.places.each() {
			j := l.taken(i, at, a, single)
			if j < 0 || l.leadTo(i, at) {
				return false
			}
			by = j
		}
	}
	bad("", "can never do anything: rewrite[%d] before it makes others of all the addresses it names", by)
	return true
}

// taken is the rule before the i-th after which a is not what that one names
// any more; -1 if it is.
func (l *linter) taken(i int, at place, a message.Address, single bool) int {
	this, by := l.rules[i], -1
	for j, before := range l.rules[:i] {
		if before == nil || before.guise != nil || before.places&at == 0 || !before.covers(this.scope) {
			continue
		}
		if _, one := before.examples(); one && !single {
			continue // it takes one of many
		}
		to, ok, err := before.rewrite(a)
		if ok && (err != nil || to != a) {
			a, by = to, j
		}
		if err != nil {
			return by
		}
	}
	if _, ok, _ := this.rewrite(a); ok {
		return -1
	}
	return by
}

// leadTo tells whether what a rule before the i-th makes comes to it.
func (l *linter) leadTo(i int, at place) bool {
	for j, before := range l.rules[:i] {
		if before == nil || before.guise != nil || before.places&at == 0 {
			continue
		}
		examples, _ := before.examples()
		for _, a := range examples {
			if to, ok := l.led(a, at, j, i); ok {
				if _, ok, _ := l.rules[i].rewrite(to); ok && to != a {
					return true
				}
			}
		}
	}
	return false
}

// led is what the rules from the first on, and before the last, make of a.
func (l *linter) led(a message.Address, at place, first, last int) (message.Address, bool) {
	for _, r := range l.rules[first:last] {
		if r == nil || r.guise != nil || r.places&at == 0 || !r.meets(l.rules[last].scope) {
			continue
		}
		to, ok, err := r.rewrite(a)
		if err != nil {
			return a, false
		}
		if ok {
			a = to
		}
	}
	return a, true
}

// turnsBack reports a rule that makes of an address again what it was before
// another rule.
func (l *linter) turnsBack(i int, bad reporter) {
	this := l.rules[i]
	for j, before := range l.rules[:i] {
		if before == nil || before.guise != nil || before.deny != "" {
			continue
		}
		examples, _ := before.examples()
		for _, at := range (before.places & this.places).each() {
			for _, a := range examples {
				to, ok := l.led(a, at, j, i)
				if back, named, err := this.rewrite(to); ok && named && err == nil && to != a && back == a {
					bad("", "turns back what rewrite[%d] does: of <%s> that makes <%s>, and this one <%s> again", j, a, to, back)
					return
				}
			}
		}
	}
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
