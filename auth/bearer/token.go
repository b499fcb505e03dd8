package bearer

import (
	"encoding/base64"
	"strings"

	"github.com/go-jose/go-jose/v4/json" // knows one letter case, and refuses doubled keys
)

// token is one as it was given, and what it says of itself. None of that is
// verified.
type token struct {
	text   string
	isJWT  bool
	header header
	claims claims
}

// header is what counts of the JOSE header of a JWT (RFC 7515, section 4.1).
type header struct {
	Algorithm string `json:"alg"`
	KeyID     string `json:"kid"`
	Type      string `json:"typ"`
	Critical  any    `json:"crit"`
}

// checkForm refuses what no token can be (RFC 6750, section 2.1).
func checkForm(text string) *fault {
	switch {
	case text == "":
		return &fault{status: invalidRequest, told: "is missing", seen: "it is empty"}
	case len(text) > maxToken:
		return invalid("is too long", "it has %d octets", len(text))
	case strings.ContainsFunc(strings.TrimRight(text, "="), notInToken):
		return invalid("is damaged", "it holds a character that tokens do not have")
	}
	return nil
}

func notInToken(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-._~+/", r))
}

// read takes a token apart if it is a JWT in its compact form.
func read(text string) token {
	t := token{text: text}
	parts := strings.Split(text, ".")
	t.isJWT = len(parts) == 3 && decode(parts[0], &t.header) && decode(parts[1], &t.claims)
	return t
}

func decode(part string, v any) bool {
	b, err := base64.RawURLEncoding.DecodeString(part)
	return err == nil && json.Unmarshal(b, v) == nil
}

// stranger is the fault of a token that no issuer knows.
func (t token) stranger() *fault {
	switch parts := strings.Count(t.text, ".") + 1; {
	case t.isJWT:
		return invalid("is of an issuer that is not trusted here", "its iss is %q", t.claims.text("iss"))
	case parts == 5:
		return invalid("is not one that can be read here", "it is encrypted; only its issuer could be asked about it")
	case parts == 3:
		return invalid("is damaged", "it looks like a JWT and cannot be read")
	}
	return invalid("is not one that can be read here", "it is no JWT, and there is no issuer to ask about it")
}
