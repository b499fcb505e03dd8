package rewrite

import (
	"maps"
	"regexp/syntax"
	"slices"
	"strings"

	"postern/relay/message"
)

// surroundings make an address of what an expression matches a part of.
var surroundings = [][2]string{{"", ""}, {"", "@any.example"}, {"any@", ""}, {"any", "@any.example"}, {"any@any.", ""}, {"any@any", ""}, {"", "any@any.example"}, {"", ".example"}}

// examples are addresses that m names, to try rules with when they are loaded;
// single is set when m names one address only.
func (m Match) examples() (found []message.Address, single bool) {
	switch {
	case m.re == nil && m.local == "":
		a, single := patternExample(m.pattern)
		return []message.Address{a}, single
	case m.re == nil:
		a, _ := message.ParseAddress(filled(m.text)) // it could be when m was read
		return []message.Address{a}, false
	}
	texts, _ := m.texts()
	for _, text := range texts {
		for _, around := range surroundings {
			a, err := message.SplitAddress(around[0] + text + around[1])
			if _, ok := m.find(a); err == nil && ok && !slices.Contains(found, a) {
				found = append(found, a)
				break
			}
		}
	}
	return found, false
}

// texts are some that an expression matches; all is set when there are no
// others but those they are a part of.
func (m Match) texts() (found []string, all bool) {
	tree, err := syntax.Parse(m.text[1:len(m.text)-1], syntax.Perl)
	if err != nil {
		return nil, false // found wrong when it was read
	}
	return language(tree)
}

// namesNobody tells whether m is sure to match no address.
func (m Match) namesNobody() bool {
	if m.re == nil {
		return false
	}
	_, all := m.texts()
	found, _ := m.examples()
	return all && len(found) == 0
}

// examples are addresses that the rule names; single is set when there is one
// only.
func (r *rule) examples() (found []message.Address, single bool) {
	if r.domains == nil {
		return r.find.examples()
	}
	for _, old := range slices.Sorted(maps.Keys(r.domains)) {
		found = append(found, message.Address{Local: "any", Domain: old})
	}
	return found, false
}

// patternExample is an address that p matches, and whether it is the only one.
func patternExample(p message.Pattern) (a message.Address, single bool) {
	local, domain, _ := strings.Cut(p.String(), "@")
	switch {
	case p.String() == "*":
		domain = "any.example"
	case local != "":
		a, _ = message.ParseAddress(p.String()) // p was read from it
		return a, true
	}
	return message.Address{Local: "any", Domain: strings.Replace(domain, "*", "any", 1)}, false
}
