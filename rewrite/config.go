package rewrite

import (
	"errors"
	"fmt"
	"net/mail"
	"strings"

	"postern/relay/message"
)

// Config is the headers section of the configuration.
type Config struct {
	// Remove names header fields that never leave, in any letter case. Bcc,
	// Resent-Bcc, Return-Path and Content-Length never do.
	Remove []string `yaml:"remove"`
	// HideClient leaves the client's name and address out of Received.
	HideClient bool `yaml:"hide_client"`
}

// Check reports names in remove that are none, and fields no message may be
// without.
func (c Config) Check(bad func(key, format string, args ...any)) {
	for i, name := range c.Remove {
		key := fmt.Sprintf("remove[%d]", i)
		if !isFieldName(name) {
			bad(key, "%q is not the name of a header field; write it without the colon, such as X-Originating-IP", name)
			continue
		}
		for _, needed := range []string{"From", "Date", "Message-ID", "Received"} {
			if strings.EqualFold(name, needed) {
				bad(key, "%s must stay: every message needs it", needed)
			}
		}
	}
}

// isFieldName tells whether s is printable ASCII without colon (RFC 5322,
// section 2.2).
func isFieldName(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' || c == ':' {
			return false
		}
	}
	return s != ""
}

// Account is what rewrite needs of an entry of accounts.
type Account struct {
	// DefaultFrom is the From of messages that have none, such as
	// "Scanner 3F <scan@example.com>". Without it the envelope sender is used.
	DefaultFrom string `yaml:"default_from"`
	// OwnAddresses is what policy says of the account: its people send as the
	// addresses a directory gives them.
	OwnAddresses bool `yaml:"-"`
}

// Check reports a default_from that is not one mailbox.
func (a Account) Check(bad func(key, format string, args ...any)) {
	if _, err := a.from(); err != nil {
		bad("default_from", "%q: %v; write one mailbox, such as Scanner 3F <scan@example.com>", a.DefaultFrom, err)
	}
}

// maxFrom bounds default_from as it is written into a message, in octets, so
// that the line stays under the 998 of RFC 5322, section 2.1.1.
const maxFrom = 900

// from is default_from as the value of a From field: a name outside ASCII is
// encoded (RFC 2047). It is "" when none is configured.
func (a Account) from() (string, error) {
	if a.DefaultFrom == "" {
		return "", nil
	}
	parsed, err := mail.ParseAddress(a.DefaultFrom)
	if err != nil {
		return "", errors.New("it is not a mailbox")
	}
	value := parsed.String()
	found, err := message.ParseMailboxes(value)
	switch {
	case err != nil:
		return "", err
	case len(found) != 1 || !found[0].IsASCII():
		return "", errors.New("the address must be ASCII")
	case len(value) > maxFrom:
		return "", errors.New("the name is too long")
	}
	return value, nil
}
