package message

import "time"

// Identity is who a client has proved to be.
type Identity struct {
	// Account is the name of a configured account; empty before AUTH.
	Account string
	// User is who logged in, where an account stands for many: a login of a
	// directory, or the subject of a token. Empty where the account is all there
	// is to know.
	User string `json:",omitempty"`
	// Addresses are those the source of the identity vouches for, such as the
	// mail attribute of a directory.
	Addresses []Address `json:",omitempty"`
	// Expires is when it must be proved again; zero: never.
	Expires time.Time `json:"-"`
}

// TokenRefusal is why a bearer token was refused, in the words of RFC 7628,
// section 3.2.2, and the Reply that follows.
type TokenRefusal struct {
	// Status is "invalid_token", "insufficient_scope" or "invalid_request".
	Status string
	// Scope is what a token needs; empty if nothing in particular.
	Scope string
	// Configuration is the URL of the issuer's discovery document, if known.
	Configuration string
	Reply         *Reply
}

func (t *TokenRefusal) Error() string { return t.Reply.Error() }
func (t *TokenRefusal) Unwrap() error { return t.Reply }

// Repairs are what a client's profile has mended in its messages, beyond what
// RFC 6409, section 8, asks for.
type Repairs struct {
	// LineEnds: bare CR and LF become CRLF.
	LineEnds bool `json:",omitempty"`
	// LongLines: text with lines over 998 octets is sent encoded.
	LongLines bool `json:",omitempty"`
	// Date: one that cannot be true is replaced by ours.
	Date bool `json:",omitempty"`
	// Addresses: a From or Sender that only strict readers reject is written
	// anew; one that nobody can read is replaced by the account's default.
	Addresses bool `json:",omitempty"`
}

// Visit is what one connection of a client came to, told when it has ended.
type Visit struct {
	Client
	Began, Ended time.Time
	// Messages is how many were accepted.
	Messages int
	// Trouble is the last thing that went wrong, such as "TLS handshake failed:
	// no shared cipher" or the reply that refused; empty if nothing did.
	Trouble string
	// Hint is what to change, at the device or here; empty if there is nothing to say.
	Hint string
}
