package directory

import (
	"regexp"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"postern/relay/message"
)

// maxAddresses bounds what is remembered of one person, and kept with each of
// their messages.
const maxAddresses = 100

var (
	// attributeName is what may be asked for (RFC 4512, section 2.5).
	attributeName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9;.-]*$`)
	// compared finds the attributes that a filter compares with the login.
	compared = regexp.MustCompile(`([A-Za-z][A-Za-z0-9;.-]*)=[^()=]*%u`)
)

// A filter finds the entry of a login.
type filter struct {
	text       string
	attributes []string // compared with the login, in order
}

func newFilter(text string) filter {
	f := filter{text: text}
	for _, m := range compared.FindAllStringSubmatch(text, -1) {
		f.attributes = append(f.attributes, m[1])
	}
	return f
}

// with is the filter for one login. Nothing in name can be more than a value.
func (f filter) with(name string) string {
	return strings.ReplaceAll(f.text, "%u", ldap.EscapeFilter(name))
}

// user is what a person is called, whichever of their names was given: limits
// are counted by it. It is the first, in order, of the values of the first
// attribute that the filter compares and the entry has.
func (f filter) user(e *ldap.Entry, login string) string {
	for _, name := range f.attributes {
		if values := e.GetEqualFoldAttributeValues(name); len(values) > 0 {
			return slices.Min(values) // a directory knows no order of values
		}
	}
	return login
}

// addresses are the mail addresses in those attributes, each once, the main one
// first. Values like those of Active Directory's proxyAddresses are
// "SMTP:main@example.com" or "smtp:other@example.com"; other kinds ("x500:",
// "sip:") and what is no address are left out.
func addresses(e *ldap.Entry, attributes []string) []message.Address {
	var main, others []message.Address
	for _, name := range attributes {
		for _, value := range e.GetEqualFoldAttributeValues(name) {
			text, isMain := strings.CutPrefix(value, "SMTP:")
			if len(text) > 5 && strings.EqualFold(text[:5], "smtp:") {
				text = text[5:]
			}
			a, err := message.ParseAddress(text)
			switch {
			case err != nil || strings.Contains(a.Local, ":"):
			case isMain || len(main) == 0 && !strings.Contains(value, ":"):
				main = append(main, a)
			default:
				others = append(others, a)
			}
		}
	}
	return firstOfEach(append(main, others...))
}

// firstOfEach leaves out addresses that stand there already in another letter
// case, and those beyond the bound.
func firstOfEach(all []message.Address) []message.Address {
	var kept []message.Address
	for _, a := range all {
		if !slices.ContainsFunc(kept, a.EqualFold) && len(kept) < maxAddresses {
			kept = append(kept, a)
		}
	}
	return kept
}
