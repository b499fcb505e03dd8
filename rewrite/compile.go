package rewrite

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"postern/relay/message"
)

// compile makes rules ready. The error is the first problem.
func compile(rules []Rule) (chain, error) {
	var all chain
	for i, rule := range rules {
		var err error
		compiled, ok := rule.compile(func(key, format string, args ...any) {
			err = fmt.Errorf("rewrite[%d].%s: %s", i, key, fmt.Sprintf(format, args...))
		})
		if !ok {
			return nil, err
		}
		if compiled.name == "" {
			compiled.name = fmt.Sprintf("rewrite[%d]", i)
		}
		all = append(all, &compiled)
	}
	return all, nil
}

// reporter reports what is wrong with the value of a key.
type reporter func(key, format string, args ...any)

// Check reports a rule that cannot be carried out.
func (r Rule) Check(bad func(key, format string, args ...any)) { r.compile(bad) }

// kinds are the keys of which a rule has one, and those that go with each.
var kinds = map[string][]string{
	"match":     {"fields", "to"},
	"domains":   {"fields"},
	"recipient": {"to", "deny"},
	"from":      {"address", "keep_display_name", "original_to", "sender"},
}

// kind is the one of kinds the rule is of, or "".
func (r Rule) kind(bad reporter) string {
	given := map[string]bool{
		"match": r.Match.text != "", "domains": len(r.Domains) > 0, "recipient": r.Recipient.text != "", "from": r.From != "",
		"fields": len(r.Fields) > 0, "to": r.To != "", "deny": r.Deny != "",
		"address": r.Address != "", "keep_display_name": r.KeepDisplayName, "original_to": r.OriginalTo != "", "sender": r.Sender != "",
	}
	kind := ""
	for _, k := range []string{"match", "domains", "recipient", "from"} {
		switch {
		case given[k] && kind == "":
			kind = k
		case given[k]:
			bad(k, "does not go with %s; make it a rule of its own", kind)
			return ""
		}
	}
	if kind == "" {
		bad("", "says neither match, domains, recipient nor from; write one of them")
		return ""
	}
	for _, k := range []string{"fields", "to", "deny", "address", "keep_display_name", "original_to", "sender"} {
		if given[k] && !slices.Contains(kinds[kind], k) {
			bad(k, "does not go with %s; with it there are %s", kind, strings.Join(kinds[kind], ", "))
			return ""
		}
	}
	return kind
}

// compile makes the rule ready, or reports why it cannot be.
func (r Rule) compile(bad reporter) (compiled rule, ok bool) {
	report := func(key, format string, args ...any) {
		ok = false
		bad(key, format, args...)
	}
	ok = true
	compiled = rule{name: r.Name, scope: r.scope(report)}
	if !isRuleName(r.Name) {
		report("name", "%.40q is not a name for a rule; use letters, digits and - _ .", r.Name)
	}
	switch r.kind(report) {
	case "match":
		compiled.places = r.places(asIdentity, report)
		compiled.find, compiled.to = r.Match, r.target(r.Match, report)
		checkMatch("match", r.Match, report)
	case "domains":
		compiled.places = r.places(inAll, report)
		compiled.domains = r.domains(report)
	case "recipient":
		compiled.places = inRecipients
		compiled.find = r.Recipient
		checkMatch("recipient", r.Recipient, report)
		if compiled.deny = r.Deny; r.Deny == "" {
			compiled.to = r.target(r.Recipient, report)
		} else {
			r.checkDeny(report)
		}
	case "from":
		compiled.guise = r.guise(report)
	}
	return compiled, ok
}

// checkMatch reports an expression that nothing is found by.
func checkMatch(key string, m Match, bad reporter) {
	if m.namesNobody() {
		bad(key, "%s matches no address there could be; an address is name@domain", m.text)
	}
}

func (r Rule) checkDeny(bad reporter) {
	switch {
	case r.To != "":
		bad("deny", "does not go with to: a recipient is either rewritten or refused")
	case len(r.Deny) > maxDeny || strings.ContainsFunc(r.Deny, func(c rune) bool { return c < ' ' || c > '~' }):
		bad("deny", "must be one line of plain ASCII, of at most %d characters", maxDeny)
	}
}

// maxDeny leaves room for the reply code in a line of 512 octets.
const maxDeny = 400

// places are where the rule looks.
func (r Rule) places(usual place, bad reporter) place {
	if len(r.Fields) == 0 {
		return usual
	}
	var all place
	for i, name := range r.Fields {
		p := placeNamed(name)
		if p == 0 {
			bad(fmt.Sprintf("fields[%d]", i), "%.40q is not where an address stands; there are %s", name, strings.Join(placeNames, ", "))
		}
		all |= p
	}
	return all
}

// target reads to, and tries it with addresses that m names.
func (r Rule) target(m Match, bad reporter) template {
	if r.To == "" {
		bad("to", "is missing; write what the addresses become, such as it@example.com or %%u@example.com")
		return nil
	}
	known := []string{"%u", "%d"}
	for i := range min(9, m.groups()) {
		known = append(known, fmt.Sprintf("$%d", i+1))
	}
	t, err := parseTemplate(r.To, known)
	if err != nil {
		bad("to", "%v", err)
		return nil
	}
	examples, _ := m.examples()
	for _, a := range examples {
		groups, _ := m.find(a)
		if err = checkTarget(t, a, groups); err == nil {
			return t
		}
	}
	if err != nil {
		bad("to", "%q makes no address that can be used of <%s>: %v", r.To, examples[len(examples)-1], err)
	}
	return t
}

// checkTarget tells why what t makes of a could not stand in a message for
// certain.
func checkTarget(t template, a message.Address, groups []string) error {
	to, err := address(t, a, groups)
	if err != nil {
		return err
	}
	if !to.IsASCII() {
		return fmt.Errorf("<%s> is not plain ASCII", to)
	}
	_, err = message.ParseMailboxes(to.String())
	return err
}

// domains reads the map of domains.
func (r Rule) domains(bad reporter) map[string]string {
	m := map[string]string{}
	for _, old := range slices.Sorted(maps.Keys(r.Domains)) {
		key, now := "domains."+strconv.Quote(old), r.Domains[old]
		for _, d := range []string{old, now} {
			if a, err := message.NewAddress("any", d); err != nil || !a.IsASCII() || d[0] == '[' {
				bad(key, "%.60q is not a domain in plain ASCII, such as old.example", d)
			}
		}
		if strings.EqualFold(old, now) {
			bad(key, "becomes itself; remove it")
		}
		m[strings.ToLower(old)] = now
	}
	return m
}

func isRuleName(s string) bool {
	for _, c := range []byte(s) {
		plain := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-_.", c) >= 0
		if !plain || len(s) > 40 {
			return false
		}
	}
	return true
}

// Completing are the rules that no configuration names.
var Completing = []string{"bcc", "remove", "from", "date", "message-id", repairDate, repairAddresses}

// Rules are the names of all rules that may stand in a Change.
func (r *Rewrite) Rules() []string {
	names := slices.Clone(Completing)
	for _, rule := range r.rules {
		names = append(names, rule.name)
	}
	for _, rule := range r.fields {
		names = append(names, rule.rule)
	}
	return names
}
