package rewrite

import (
	"fmt"
	"strings"

	"postern/relay/message"
)

// rule is a Rule made ready.
type rule struct {
	name string
	scope
	places  place
	find    Match
	to      template
	domains map[string]string
	deny    string
	guise   *guise // of a from rule; then the rest is unset
}

// rewrite tells what the rule makes of a; ok is unset if it does not name a.
func (r *rule) rewrite(a message.Address) (to message.Address, ok bool, err error) {
	if r.domains != nil {
		domain, ok := r.domains[strings.ToLower(a.Domain)]
		if !ok || a.IsNull() {
			return a, false, nil
		}
		to, err = message.NewAddress(a.Local, domain)
		return to, true, err
	}
	groups, ok := r.find.find(a)
	switch {
	case !ok:
		return a, false, nil
	case r.deny != "":
		return a, true, message.Refuse(550, "5.7.1", "%s", r.deny)
	}
	to, err = address(r.to, a, groups)
	return to, true, err
}

// address is what t makes of a, and of the groups of the expression that
// matched it.
func address(t template, a message.Address, groups []string) (message.Address, error) {
	return message.SplitAddress(t.expand(func(reference string) string {
		switch reference {
		case "%u":
			return a.Local
		case "%d":
			return a.Domain
		}
		return groups[reference[1]-'0']
	}))
}

// chain are rules in their order. What one makes of an address is what the
// next one sees, so that an address passes the list once, from top to bottom.
type chain []*rule

// forClient are the rules for mail of c that look at any of the places.
func (rules chain) forClient(c message.Client, places place) chain {
	var some chain
	for _, r := range rules {
		if r.places&places != 0 && r.holds(c) {
			some = append(some, r)
		}
	}
	return some
}

// pass leads a through the rules for its place and tells note of each that
// changed it. The error is a *message.Reply.
func (rules chain) pass(at place, a message.Address, note func(r *rule, before, after message.Address)) (message.Address, error) {
	for _, r := range rules {
		if r.places&at == 0 {
			continue
		}
		to, ok, err := r.rewrite(a)
		if err != nil {
			return a, refusal(r, at, a, err)
		}
		if ok && to != a {
			note(r, a, to)
			a = to
		}
	}
	return a, nil
}

// refusal is the reply to who used an address that r refuses, or makes no other of.
func refusal(r *rule, at place, a message.Address, err error) error {
	if reply, ok := err.(*message.Reply); ok {
		return reply
	}
	enhanced := map[place]string{inEnvelope: "5.1.7", inRecipients: "5.1.3"}[at]
	if enhanced == "" {
		enhanced = "5.6.0"
	}
	return message.Refuse(550, enhanced, "the rule %s of this relay makes no address of <%.80s>: %v", r.name, a, err)
}

// guiseFor is the first from rule for mail of c, if there is one.
func (rules chain) guiseFor(c message.Client) *rule {
	for _, r := range rules {
		if r.guise != nil && r.holds(c) {
			return r
		}
	}
	return nil
}

// ledger gathers changes: one of each rule in each field, so that five thousand
// recipients do not fill the history.
type ledger []message.Change

// note adds what a rule made of an address.
func (l *ledger) note(rule, field, before, after string) {
	for i := range *l {
		if c := &(*l)[i]; c.Rule == rule && c.Field == field {
			c.Before = listed(c.Before, before)
			if c.After != after { // all to one is said once
				c.After = listed(c.After, after)
			}
			return
		}
	}
	*l = append(*l, message.Change{Rule: rule, Field: field, Before: before, After: after})
}

// listed adds an entry to a list, as long as the history keeps it.
func listed(list, entry string) string {
	const more = ", ..."
	switch {
	case strings.HasSuffix(list, more):
		return list
	case len(list)+len(entry) > maxBefore:
		return list + more
	}
	return fmt.Sprintf("%s, %s", list, entry)
}
