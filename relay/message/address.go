package message

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Address is a mailbox (RFC 5321, section 4.1.2). The zero Address is the null
// sender, <>.
type Address struct {
	// Local is the local part without quotes or backslashes.
	Local string
	// Domain is a domain name or an address literal with its brackets, as it
	// was written.
	Domain string
}

// Limits of RFC 5321, section 4.5.3.1, in octets. A path is 256 with its
// angle brackets.
const (
	maxLocal  = 64
	maxDomain = 255
	maxPath   = 254
)

// NewAddress checks both halves of a mailbox. The local part is given without
// quotes. Control characters are refused in any form: RFC 5321 allows none.
func NewAddress(local, domain string) (Address, error) {
	switch {
	case local == "":
		return Address{}, errors.New("the part before @ is empty")
	case len(local) > maxLocal:
		return Address{}, fmt.Errorf("the part before @ is longer than %d octets", maxLocal)
	case !utf8.ValidString(local):
		return Address{}, errors.New("the part before @ is not valid UTF-8")
	}
	for _, r := range local {
		if unicode.IsControl(r) {
			return Address{}, errors.New("the part before @ holds a control character")
		}
	}
	if err := checkDomain(domain); err != nil {
		return Address{}, err
	}
	a := Address{Local: local, Domain: domain}
	if len(a.String()) > maxPath {
		return Address{}, fmt.Errorf("the address is longer than %d octets", maxPath)
	}
	return a, nil
}

// ParseAddress reads a mailbox in its strict wire form, dot-string or quoted
// string before the @, without angle brackets.
func ParseAddress(s string) (Address, error) {
	if s == "" {
		return Address{}, errors.New("it is empty")
	}
	if s[0] != '"' {
		local, domain, ok := strings.Cut(s, "@")
		if !ok {
			return Address{}, errors.New("it has no @")
		}
		if !isDotString(local) {
			return Address{}, fmt.Errorf("%q must be quoted to stand before the @", local)
		}
		return NewAddress(local, domain)
	}
	var local strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			if i++; i == len(s) {
				return Address{}, errors.New("it ends in a backslash")
			}
			local.WriteByte(s[i])
		case '"':
			domain, ok := strings.CutPrefix(s[i+1:], "@")
			if !ok {
				return Address{}, errors.New("no @ after the quoted part")
			}
			return NewAddress(local.String(), domain)
		default:
			local.WriteByte(s[i])
		}
	}
	return Address{}, errors.New("its quote is not closed")
}

// SplitAddress reads a mailbox whose local part has already been unquoted, as
// the SMTP library hands it over: all before the last @ is the local part.
func SplitAddress(s string) (Address, error) {
	i := strings.LastIndexByte(s, '@')
	if i < 0 {
		return Address{}, errors.New("it has no @")
	}
	return NewAddress(s[:i], s[i+1:])
}

// String is the wire form without angle brackets, the local part quoted when
// it must be; "" for the null sender. ParseAddress reads it back.
func (a Address) String() string {
	if a.IsNull() {
		return ""
	}
	if isDotString(a.Local) {
		return a.Local + "@" + a.Domain
	}
	q := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	return `"` + q.Replace(a.Local) + `"@` + a.Domain
}

// IsNull tells whether a is the null sender.
func (a Address) IsNull() bool { return a == Address{} }

// EqualFold tells whether a and b are the same mailbox to those who write
// addresses down: in any letter case of ASCII, as in a [Pattern].
func (a Address) EqualFold(b Address) bool {
	return equalFold(a.Local, b.Local) && equalFold(a.Domain, b.Domain)
}

// IsASCII tells whether a can travel without SMTPUTF8.
func (a Address) IsASCII() bool { return isASCII(a.Local) && isASCII(a.Domain) }

// NeedsUTF8 tells whether a cannot travel without SMTPUTF8 even if its domain is
// written in A-labels (RFC 6531, section 3.2).
func (a Address) NeedsUTF8() bool { return !isASCII(a.Local) }

// MarshalText and UnmarshalText use the wire form.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

func (a *Address) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*a = Address{}
		return nil
	}
	parsed, err := ParseAddress(string(b))
	if err != nil {
		return fmt.Errorf("%q is not an address: %w", b, err)
	}
	*a = parsed
	return nil
}

// isDotString tells whether s is atoms joined by single dots (RFC 5321,
// section 4.1.2; non-ASCII as in RFC 6531, section 3.3).
func isDotString(s string) bool {
	if s == "" || s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
		return false
	}
	for _, c := range []byte(s) {
		if c != '.' && !isAtext(c) {
			return false
		}
	}
	return true
}

func isAtext(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c >= 0x80 ||
		strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

func checkDomain(d string) error {
	switch {
	case d == "":
		return errors.New("the domain is empty")
	case len(d) > maxDomain:
		return fmt.Errorf("the domain is longer than %d octets", maxDomain)
	case d[0] == '[':
		return checkLiteral(d)
	case !utf8.ValidString(d):
		return errors.New("the domain is not valid UTF-8")
	}
	for label := range strings.SplitSeq(d, ".") {
		switch {
		case label == "":
			return fmt.Errorf("the domain %q has an empty label", d)
		case len(label) > 63:
			return fmt.Errorf("the domain %q has a label longer than 63 octets", d)
		case label[0] == '-' || label[len(label)-1] == '-':
			return fmt.Errorf("the domain %q has a label that begins or ends with a hyphen", d)
		}
		for _, r := range label {
			ascii := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_'
			if !ascii && (r < 0x80 || !(unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsDigit(r))) {
				return fmt.Errorf("the domain %q holds %q", d, r)
			}
		}
	}
	return nil
}

// checkLiteral accepts the IPv4 and IPv6 forms of RFC 5321, section 4.1.3.
func checkLiteral(d string) error {
	bad := fmt.Errorf("%q is not an address literal such as [192.0.2.1] or [IPv6:2001:db8::1]", d)
	inner, ok := strings.CutSuffix(d[1:], "]")
	if !ok {
		return bad
	}
	want6 := false
	if len(inner) > 5 && strings.EqualFold(inner[:5], "IPv6:") {
		inner, want6 = inner[5:], true
	}
	ip, err := netip.ParseAddr(inner)
	if err != nil || ip.Zone() != "" || ip.Is6() != want6 {
		return bad
	}
	return nil
}
