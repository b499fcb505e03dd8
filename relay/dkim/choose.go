package dkim

import (
	"strings"

	"golang.org/x/net/idna"
)

// State is where a key stands in its life: new, published, active, retiring.
type State string

const (
	// StateNew: its record has not been seen in DNS; it does not sign.
	StateNew State = "new"
	// StatePublished: it could sign, and another key of its domain and algorithm,
	// listed before it, does.
	StatePublished State = "published"
	// StateActive: it signs.
	StateActive State = "active"
	// StateRetiring: it signs no more; its record stays until the mail it signed
	// has arrived.
	StateRetiring State = "retiring"
)

// stateAuto is the state a configuration asks for when it leaves the matter to DNS.
const stateAuto State = "auto"

// candidate is what decides about the state of a key.
type candidate struct {
	domain     string
	subdomains bool
	algorithm  string
	wish       State // stateAuto, StateActive or StateRetiring
	seen       bool  // its record has been seen
}

// statesOf tells where each key stands. Of each domain and algorithm the first
// key that may sign does.
func statesOf(keys []candidate) []State {
	states := make([]State, len(keys))
	taken := map[[2]string]bool{}
	for i, k := range keys {
		one := [2]string{k.domain, k.algorithm}
		switch {
		case k.wish == StateRetiring:
			states[i] = StateRetiring
		case k.wish == stateAuto && !k.seen:
			states[i] = StateNew
		case taken[one]:
			states[i] = StatePublished
		default:
			states[i], taken[one] = StateActive, true
		}
	}
	return states
}

// covering is the domain nearest to that of an author for which ok tells of a
// key: its own, or one above it whose keys sign for subdomains too. "" if there
// is none.
func covering(keys []candidate, author string, ok func(i int) bool) string {
	nearest := ""
	for i, k := range keys {
		mine := k.domain == author || k.subdomains && strings.HasSuffix(author, "."+k.domain)
		if mine && ok(i) && len(k.domain) > len(nearest) {
			nearest = k.domain
		}
	}
	return nearest
}

// canonicalDomain is a domain as d= and DNS have it: lower case, A-labels.
func canonicalDomain(domain string) string {
	domain = strings.ToLower(strings.TrimSuffix(domain, "."))
	for _, c := range []byte(domain) {
		if c >= 0x80 {
			if ascii, err := idna.Lookup.ToASCII(domain); err == nil {
				return ascii
			}
			break
		}
	}
	return domain
}
