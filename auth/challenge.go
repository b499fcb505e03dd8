package auth

import (
	"net/netip"

	"postern/relay/message"
)

// Challenge is one exchange in which a client proves that it knows a secret
// without telling it. It serves one AUTH command: what it asks is asked of
// nobody else, so an answer that was overheard is of no use.
type Challenge interface {
	// Next takes a response, nil when there is none yet, and gives the next
	// challenge. The errors are [*message.Reply].
	Next(response []byte) (challenge []byte, done bool, err error)
	// Identity is who the client is, once Next was done without an error.
	Identity() message.Identity
	// Name is the login name, as soon as the client has told it.
	Name() string
}

// Challenge begins an exchange with a client at addr.
func (a *Accounts) Challenge(mechanism string, addr netip.Addr) (Challenge, error) {
	switch mechanism {
	case scramName:
		return newSCRAM(a, addr)
	case cramName:
		return &cramExchange{accounts: a, addr: addr}, nil
	}
	return nil, notOffered()
}

func notOffered() error { return message.Refuse(504, "5.5.4", "This mechanism is not offered") }

// admits finds the account of a login name that may log in from addr; nil if
// there is none.
func (a *Accounts) admits(name string, addr netip.Addr) *account {
	if acc := a.byName[fold(name)]; acc != nil && acc.allows(addr) {
		return acc
	}
	return nil
}

// unreadable logs why a secret cannot be had, and is the reply to it.
func (a *Accounts) unreadable(key string, err error) error {
	a.log.Error(key+" cannot be read", "error", err)
	return unchecked()
}

// malformed is the reply to what is no message of the mechanism.
func malformed() error {
	return message.Refuse(501, "5.5.2", "The response does not have the form of this mechanism")
}
