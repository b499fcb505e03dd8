package rewrite

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"

	"postern/relay/message"
)

// Match names a set of addresses, as written in a rule:
//
//	scan@example.com, @example.com, @*.example.com, *    as a message.Pattern
//	root@*, scan-*@example.com, *@*.local                * stands for any characters but @
//	/^(.+)@old\.example$/                                an RE2 expression
//
// All are compared in any letter case. An expression sees the address as
// local@domain, without the quotes a local part may need; without ^ and $ it
// may match a part. The null sender matches none.
type Match struct {
	text    string
	re      *regexp.Regexp  // of an expression, else nil
	local   string          // of a form with stars, in lower case, else ""
	domain  string          // likewise
	pattern message.Pattern // of any other
}

// maxExpression bounds an RE2 expression as it is written, in octets.
const maxExpression = 1000

// UnmarshalText reads any of the forms.
func (m *Match) UnmarshalText(b []byte) error {
	s := string(b)
	if inner, ok := strings.CutPrefix(s, "/"); ok && len(s) > 1 && strings.HasSuffix(s, "/") {
		return m.expression(s, strings.TrimSuffix(inner, "/"))
	}
	if strings.Contains(strings.TrimPrefix(s, "@*."), "*") && s != "*" {
		return m.wildcard(s)
	}
	var p message.Pattern
	if err := p.UnmarshalText(b); err != nil {
		return fmt.Errorf("%q is not an address, @domain, *@*.domain, * or a /RE2 expression/", s)
	}
	*m = Match{text: s, pattern: p}
	return nil
}

func (m *Match) expression(text, inner string) error {
	if len(inner) > maxExpression {
		return fmt.Errorf("the expression is longer than %d octets", maxExpression)
	}
	re, err := regexp.Compile("(?i:" + inner + ")")
	if _, alone := syntax.Parse(inner, syntax.Perl); err != nil || alone != nil {
		var bad *syntax.Error
		if errors.As(alone, &bad) {
			return fmt.Errorf("%q is not an RE2 expression: %s at %q", text, bad.Code, bad.Expr)
		}
		return fmt.Errorf("%q is not an RE2 expression that can be used", text)
	}
	*m = Match{text: text, re: re}
	return nil
}

// wildcard reads a form with stars before the @, or within the domain.
func (m *Match) wildcard(text string) error {
	if _, err := message.ParseAddress(filled(text)); err != nil {
		return fmt.Errorf("%q is not an address with * for any characters, such as root@* or *@*.local", text)
	}
	i := strings.LastIndexByte(text, '@')
	*m = Match{text: text, local: lower(text[:i]), domain: lower(text[i+1:])}
	return nil
}

// filled is text with an example for each of its stars.
func filled(text string) string {
	local, domain, _ := strings.Cut(text, "@")
	if domain == "*" {
		domain = "any.example"
	}
	return strings.ReplaceAll(local, "*", "any") + "@" + strings.ReplaceAll(domain, "*", "any")
}

// MarshalText is the form it was written in.
func (m Match) MarshalText() ([]byte, error) { return []byte(m.text), nil }

// find tells whether a is in the set, and what the groups of an expression hold.
func (m Match) find(a message.Address) (groups []string, ok bool) {
	switch {
	case a.IsNull():
		return nil, false
	case m.re != nil:
		groups = m.re.FindStringSubmatch(a.Local + "@" + a.Domain)
		return groups, groups != nil
	case m.local != "":
		return nil, fits(m.local, a.Local) && fits(m.domain, a.Domain)
	}
	return nil, m.pattern.Match(a)
}

// fits tells whether text is what pattern says, in any letter case: a * in it
// is any characters, or none.
func fits(pattern, text string) bool {
	p, i := 0, 0
	star, from := -1, 0 // the last star, and what it has taken until now
	for i < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, i
			p++
		case p < len(pattern) && pattern[p] == lowered(text[i]):
			p, i = p+1, i+1
		case star >= 0:
			from++
			p, i = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// lower is s in lower case, as far as it is ASCII.
func lower(s string) string {
	b := []byte(s)
	for i := range b {
		b[i] = lowered(b[i])
	}
	return string(b)
}

func lowered(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// groups is how many an expression has.
func (m Match) groups() int {
	if m.re == nil {
		return 0
	}
	return m.re.NumSubexp()
}
