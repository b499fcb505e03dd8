package submission

import (
	"encoding/json"
	"errors"
	"strings"

	"postern/relay/message"
)

// Bearer tokens are given with XOAUTH2, as Google and Microsoft document it, or
// with OAUTHBEARER (RFC 7628). A token that is refused is explained in a
// challenge of JSON; the client says something to that, which means nothing,
// and gets the reply. Our own trouble is a reply at once.

// errBinding refuses what only SCRAM over TLS could prove (RFC 5801, section 5).
var errBinding = message.Refuse(501, "5.5.2", "channel binding is not supported")

// xoauth2 takes "user=NAME" and "auth=Bearer TOKEN", each with an octet 1
// after it, and one more of those.
type xoauth2 struct {
	ask func(name, token string) error
}

func (x xoauth2) Next(response []byte) (challenge []byte, done bool, err error) {
	pairs, ok := readPairs(string(response))
	if !ok {
		return nil, false, errMalformed
	}
	token, ok := readToken(pairs["auth"])
	if !ok {
		return nil, false, errMalformed
	}
	err = x.ask(pairs["user"], token)
	return explained(err, func(t *message.TokenRefusal) any {
		status := map[string]string{"invalid_request": "400", "insufficient_scope": "403"}[t.Status]
		if status == "" {
			status = "401"
		}
		return struct {
			Status  string `json:"status"`
			Schemes string `json:"schemes"`
			Scope   string `json:"scope,omitempty"`
		}{status, "bearer", t.Scope}
	}), true, err
}

// oauthBearer takes a header with the name, and pairs as XOAUTH2 has them.
type oauthBearer struct {
	ask func(name, token string) error
}

func (o oauthBearer) Next(response []byte) (challenge []byte, done bool, err error) {
	name, rest, err := readGS2(string(response))
	if err != nil {
		return nil, false, err
	}
	rest, begun := strings.CutPrefix(rest, "\x01")
	pairs, ok := readPairs(rest)
	if !ok || !begun {
		return nil, false, errMalformed
	}
	token, ok := readToken(pairs["auth"])
	if !ok {
		return nil, false, errMalformed
	}
	err = o.ask(name, token)
	return explained(err, func(t *message.TokenRefusal) any {
		return struct {
			Status        string `json:"status"`
			Scope         string `json:"scope,omitempty"`
			Configuration string `json:"openid-configuration,omitempty"`
		}{t.Status, t.Scope, t.Configuration}
	}), true, err
}

// explained is the challenge that tells why a token was refused; nil if that is
// not what happened.
func explained(err error, form func(*message.TokenRefusal) any) []byte {
	var refusal *message.TokenRefusal
	if !errors.As(err, &refusal) || !refusal.Reply.Permanent() {
		return nil
	}
	text, err := json.Marshal(form(refusal))
	if err != nil { // strings do not fail
		return nil
	}
	return text
}

// readGS2 reads the header of RFC 5801, section 4: whether the client binds to
// the channel, and whom it wants to act as.
func readGS2(s string) (name, rest string, err error) {
	flag, rest, _ := strings.Cut(s, ",")
	as, rest, ok := strings.Cut(rest, ",")
	switch {
	case !ok:
		return "", "", errMalformed
	case strings.HasPrefix(flag, "p="):
		return "", "", errBinding
	case flag != "n" && flag != "y":
		return "", "", errMalformed
	case as == "":
		return "", rest, nil
	}
	name, ok = strings.CutPrefix(as, "a=")
	if !ok || name == "" || strings.Count(name, "=") != strings.Count(name, "=2C")+strings.Count(name, "=3D") {
		return "", "", errMalformed
	}
	return strings.NewReplacer("=2C", ",", "=3D", "=").Replace(name), rest, nil
}

// readPairs reads "key=value" pairs (RFC 7628, section 3.1), each with an octet
// 1 after it, and one more of those. What a key means, if anything, is not
// asked here.
func readPairs(s string) (pairs map[string]string, ok bool) {
	pairs = make(map[string]string)
	for s != "\x01" {
		var pair string
		if pair, s, ok = strings.Cut(s, "\x01"); !ok {
			return nil, false
		}
		key, value, ok := strings.Cut(pair, "=")
		if _, doubled := pairs[key]; !ok || key == "" || doubled {
			return nil, false
		}
		pairs[key] = value
	}
	return pairs, true
}

// readToken reads "Bearer TOKEN" with the token's characters as in RFC 6750,
// section 2.1: what may stand in a header of HTTP, where others may put it.
func readToken(s string) (token string, ok bool) {
	scheme, token, _ := strings.Cut(s, " ")
	token = strings.TrimLeft(token, " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", false
	}
	bare := strings.TrimRight(token, "=")
	return token, bare != "" && !strings.ContainsFunc(bare, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-._~+/", r))
	})
}
