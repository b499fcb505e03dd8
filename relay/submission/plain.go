package submission

import (
	"bytes"
	"strings"
)

// plain is PLAIN (RFC 4616).
type plain struct {
	ask func(name, password string) error
}

func (p plain) Next(response []byte) (challenge []byte, done bool, err error) {
	parts := bytes.Split(response, []byte{0})
	if len(parts) != 3 {
		return nil, false, errMalformed
	}
	as, name, password := string(parts[0]), string(parts[1]), string(parts[2])
	switch {
	case name == "" || password == "":
		return nil, false, errCredentials
	case as != "" && !strings.EqualFold(as, name):
		return nil, false, errCredentials // nobody may act as another
	}
	return nil, true, p.ask(name, password)
}

// login is LOGIN, which was never standardised. Some devices hang up on any
// prompts but these two; some send the name with the command.
type login struct {
	ask   func(name, password string) error
	asked bool // for the name
	named bool
	name  string
}

func (l *login) Next(response []byte) (challenge []byte, done bool, err error) {
	switch {
	case !l.asked && response == nil:
		l.asked = true
		return []byte("Username:"), false, nil
	case !l.named:
		l.asked, l.named, l.name = true, true, string(response)
		return []byte("Password:"), false, nil
	case l.name == "" || len(response) == 0:
		return nil, false, errCredentials
	default:
		return nil, true, l.ask(l.name, string(response))
	}
}
