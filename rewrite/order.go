package rewrite

import "postern/relay/message"

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
