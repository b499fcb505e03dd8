package rewrite

import (
	"errors"
	"net/mail"
	"slices"
	"strings"

	"postern/relay/message"
)

// Account is what rewrite needs of an entry of accounts.
type Account struct {
	// DefaultFrom is the From of messages that have none, such as
	// "Scanner 3F <scan@example.com>". Without it the envelope sender is used.
	DefaultFrom string `yaml:"default_from"`
	// OwnAddresses is what policy says of the account: its people send as the
	// addresses a directory gives them.
	OwnAddresses bool `yaml:"-"`
	// Senders is whom the account may send as, and NullSender whether as <>, as
	// policy says.
	Senders    message.Patterns `yaml:"-"`
	NullSender bool             `yaml:"-"`
}

// Check reports a default_from that is not one mailbox.
func (a Account) Check(bad func(key, format string, args ...any)) {
	if _, _, err := mailbox(a.DefaultFrom); err != nil {
		bad("default_from", "%q: %v; write one mailbox, such as Scanner 3F <scan@example.com>", a.DefaultFrom, err)
	}
}

// account is an Account made ready.
type account struct {
	from    string // default_from as a From value, or ""
	address message.Address
	senders message.Patterns
	null    bool
	own     bool
}

func (a Account) compile() (account, error) {
	from, address, err := mailbox(a.DefaultFrom)
	return account{from, address, a.Senders, a.NullSender, a.OwnAddresses}, err
}

// mayBe tells whether c, who logged in to the account, may send as address.
func (a account) mayBe(c message.Client, address message.Address) bool {
	if address.IsNull() {
		return a.null
	}
	return a.senders.Match(address) || a.own && slices.ContainsFunc(c.Addresses, address.EqualFold)
}

// usual is the mailbox of c, as a From value and its address: the first of its
// own addresses where they count, else default_from; "" if there is none.
func (a account) usual(c message.Client) (string, message.Address) {
	if a.own && len(c.Addresses) > 0 {
		return c.Addresses[0].String(), c.Addresses[0]
	}
	return a.from, a.address
}

// maxFrom bounds a mailbox as it is written into a message, in octets, so that
// the line stays under the 998 of RFC 5322, section 2.1.1.
const maxFrom = 900

// mailbox reads a mailbox of the configuration, as the value of a From field: a
// name outside ASCII is encoded (RFC 2047). "" is none.
func mailbox(s string) (string, message.Address, error) {
	if s == "" {
		return "", message.Address{}, nil
	}
	parsed, err := mail.ParseAddress(s)
	if err != nil {
		return "", message.Address{}, errors.New("it is not a mailbox")
	}
	value := parsed.String()
	if parsed.Name == "" {
		value = strings.TrimSuffix(strings.TrimPrefix(value, "<"), ">")
	}
	found, err := message.ParseMailboxes(value)
	switch {
	case err != nil:
		return "", message.Address{}, err
	case len(found) != 1 || !found[0].IsASCII():
		return "", message.Address{}, errors.New("the address must be ASCII")
	case len(value) > maxFrom:
		return "", message.Address{}, errors.New("the name is too long")
	}
	return value, found[0], nil
}
