package message

import (
	"errors"
	"fmt"
	"strings"
)

// Pattern names a set of addresses, as written in a configuration:
//
//	scan@example.com      that mailbox, in any letter case
//	@example.com          every mailbox of that domain
//	@*.example.com        every mailbox of every domain below it
//	*                     every mailbox
//
// The null sender matches none of them, and the zero Pattern, which an empty
// list entry leaves, matches nothing. The local part is compared in any letter
// case too, beyond RFC 5321, section 2.4: whoever writes a pattern means the
// mailbox, and no provider tells Scan@ from scan@. Letter case is that of ASCII.
type Pattern struct {
	text   string
	local  string // "" for all
	domain string // "" for all
	below  bool   // domain is a parent
}

// UnmarshalText reads one of the four forms.
func (p *Pattern) UnmarshalText(b []byte) error {
	s := string(b)
	if s == "*" {
		*p = Pattern{text: s}
		return nil
	}
	if domain, ok := strings.CutPrefix(s, "@"); ok {
		domain, below := strings.CutPrefix(domain, "*.")
		if err := checkDomain(domain); err != nil {
			return fmt.Errorf("%q is not a pattern: %w", s, err)
		}
		*p = Pattern{text: s, domain: domain, below: below}
		return nil
	}
	a, err := ParseAddress(s)
	if err != nil {
		return fmt.Errorf("%q is not an address, @domain, @*.domain or *: %w", s, err)
	}
	if strings.ContainsAny(a.Local, "*%") {
		return errors.New(`wildcards stand only in "*" and "@*.domain"`)
	}
	*p = Pattern{text: s, local: a.Local, domain: a.Domain}
	return nil
}

// MarshalText is the form the pattern was written in.
func (p Pattern) MarshalText() ([]byte, error) { return []byte(p.text), nil }

func (p Pattern) String() string { return p.text }

// Match tells whether a is in the set.
func (p Pattern) Match(a Address) bool {
	switch {
	case a.IsNull() || p.text == "":
		return false
	case p.below:
		n := len(a.Domain) - len(p.domain)
		return n > 1 && a.Domain[n-1] == '.' && equalFold(a.Domain[n:], p.domain)
	case p.domain != "" && !equalFold(p.domain, a.Domain):
		return false
	default:
		return p.local == "" || equalFold(p.local, a.Local)
	}
}

// Patterns is a list of which any may match.
type Patterns []Pattern

// Match tells whether any of the patterns matches a.
func (ps Patterns) Match(a Address) bool {
	for _, p := range ps {
		if p.Match(a) {
			return true
		}
	}
	return false
}

// String lists the patterns for a person.
func (ps Patterns) String() string {
	if len(ps) == 0 {
		return "nothing"
	}
	names := make([]string, len(ps))
	for i, p := range ps {
		names[i] = p.text
	}
	return strings.Join(names, ", ")
}

// ParsePatterns is for callers that have the patterns as strings.
func ParsePatterns(texts ...string) (Patterns, error) {
	ps := make(Patterns, len(texts))
	for i, t := range texts {
		if err := ps[i].UnmarshalText([]byte(t)); err != nil {
			return nil, err
		}
	}
	return ps, nil
}

// equalFold compares in any letter case of ASCII. strings.EqualFold knows more:
// to it the Kelvin sign is a k and a long s an s, but those are other mailboxes.
func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
