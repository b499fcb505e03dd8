package bearer

import (
	"errors"
	"fmt"

	"postern/relay/message"
)

// What a refusal is called (RFC 6750, section 3.1).
const (
	invalidToken      = "invalid_token"
	insufficientScope = "insufficient_scope"
	invalidRequest    = "invalid_request"
)

// A fault is what is wrong with a token.
type fault struct {
	status string
	told   string // to the client: how "The token ..." goes on. Nothing of our configuration
	seen   string // for the log
	issuer string // who would have issued it, if known
}

// invalid is the fault of a token that is no good. The format is for the log.
func invalid(told, format string, args ...any) *fault {
	return &fault{status: invalidToken, told: told, seen: fmt.Sprintf(format, args...)}
}

// refusal is the fault as an error for the session: a [*message.TokenRefusal]
// wrapped in what was seen.
func (f *fault) refusal(scope, discovery string) error {
	refusal := &message.TokenRefusal{
		Status:        f.status,
		Scope:         scope,
		Configuration: discovery,
		Reply:         message.Refuse(535, "5.7.8", "The token %s", f.told),
	}
	if f.issuer == "" {
		return fmt.Errorf("token: %s: %w", f.seen, refusal)
	}
	return fmt.Errorf("token of %s: %s: %w", f.issuer, f.seen, refusal)
}

// Refuse makes the refusal of a good token that does not open the account asked
// for: the token is not at fault, so the client need not get another. told is
// how "The token ..." goes on, seen is for the log.
func (p Proof) Refuse(told, seen string) error {
	return p.by.refuse(&fault{status: invalidRequest, told: told, seen: seen})
}

// trouble is the error for the session when a token could not be checked.
func (i *issuer) trouble(err error) error {
	return fmt.Errorf("issuer %s: %w: %w", i.config.ID(), err,
		message.Refuse(454, "4.7.0", "The token cannot be checked at the moment, try again later"))
}

// isTrouble tells whether err says nothing about the token.
func isTrouble(err error) bool {
	var refused *message.TokenRefusal
	return !errors.As(err, &refused)
}
