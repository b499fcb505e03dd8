package auth

import (
	"fmt"
	"net/netip"

	"github.com/xdg-go/scram"
	"github.com/xdg-go/stringprep"

	"postern/relay/message"
)

// SCRAM-SHA-256 (RFC 5802, RFC 7677) proves a password to a server that keeps
// less than the password, and proves to the client that the server knows it too.
const scramName = "SCRAM-SHA-256"

// scramExchange is one exchange: the client names itself, proves itself, and
// says nothing when we have.
type scramExchange struct {
	*scram.ServerConversation
	accounts *Accounts
	addr     netip.Addr
	name     string   // as RFC 5802, section 5.1, prepares it
	account  *account // nil: it fails, whatever is proved
	named    bool
	trouble  error // why the credential cannot be had
}

func newSCRAM(a *Accounts, addr netip.Addr) (Challenge, error) {
	if len(a.scram.models) == 0 {
		return nil, notOffered()
	}
	x := &scramExchange{accounts: a, addr: addr}
	server, err := scram.SHA256.NewServer(x.credential)
	if err != nil {
		return nil, fmt.Errorf("scram: %w", err)
	}
	x.ServerConversation = server.NewConversation()
	return x, nil
}

func (x *scramExchange) Next(response []byte) (challenge []byte, done bool, err error) {
	switch {
	case !x.named:
		return x.first(string(response))
	case !x.Valid():
		return x.final(string(response))
	case len(response) > 0:
		return nil, false, malformed()
	default:
		return nil, true, nil
	}
}

// first takes the name, and gives salt and rounds.
func (x *scramExchange) first(response string) (challenge []byte, done bool, err error) {
	said, err := x.Step(response)
	switch {
	case x.trouble != nil:
		return nil, false, x.trouble
	case err != nil:
		return nil, false, malformed()
	}
	x.named = true
	if as := x.AuthzID(); as != "" && fold(as) != fold(x.Username()) {
		x.account = nil // nobody may act as another
	}
	return []byte(said), false, nil
}

// final takes the client's proof, and gives ours.
func (x *scramExchange) final(response string) (challenge []byte, done bool, err error) {
	said, err := x.Step(response)
	switch {
	case err != nil && said == "":
		return nil, false, malformed()
	case err != nil || x.account == nil:
		return nil, false, wrong()
	}
	return []byte(said), false, nil
}

// credential finds that of a name, or makes the one that stands in for it; what
// there is to do for either is done for both.
func (x *scramExchange) credential(name string) (c scram.StoredCredentials, err error) {
	if prepared, err := stringprep.SASLprep.Prepare(name); err == nil {
		name = prepared
	}
	x.name = name
	standIns, secret := x.accounts.scram, x.accounts.scram.model(fold(name))
	acc := x.accounts.admits(name, x.addr)
	if acc != nil && !acc.scram.IsZero() {
		x.account, secret = acc, acc.scram
	}
	if c, err = revealSCRAM(secret); err != nil {
		x.trouble = x.accounts.unreadable("a credential for SCRAM", err)
		return c, x.trouble
	}
	standIn := standIns.like(c, fold(name))
	if x.account == nil {
		return standIn, nil
	}
	return c, nil
}

func (x *scramExchange) Identity() message.Identity {
	return message.Identity{Account: x.account.name}
}

func (x *scramExchange) Name() string { return x.name }
