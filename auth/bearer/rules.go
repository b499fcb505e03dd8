package bearer

import (
	"slices"
	"strings"
	"time"
)

// rules are what the tokens of one issuer must be like. They are functions of
// the token and the time.
type rules struct {
	issuer        string // "": any
	audience      []string
	scopes, roles []string
	claim         string // that names the account
	algorithms    []string
	types         []string
	skew          time.Duration
	provenEmail   bool // email_verified must be said, not only not denied
}

const isID = "is an ID token; an access token is needed"

// header judges the header of a JWT (RFC 8725, sections 3.1 and 3.11; RFC 7515,
// section 4.1.11).
func (r rules) header(h header) *fault {
	typ := h.Type
	if typ == "" {
		typ = "JWT"
	}
	switch {
	case !slices.Contains(r.algorithms, h.Algorithm):
		return invalid("is signed in a way that is not accepted", "alg is %q, allowed are %q", h.Algorithm, r.algorithms)
	case h.Critical != nil:
		return invalid("asks for what is not supported here", "its header has crit, and no extension is known")
	case !slices.ContainsFunc(r.types, func(want string) bool { return sameType(typ, want) }):
		return invalid("is not an access token", "typ is %q, allowed are %q", h.Type, r.types)
	}
	return nil
}

// sameType compares media types; application/ may be left out (RFC 7515,
// section 4.1.9).
func sameType(a, b string) bool {
	short := func(s string) string { return strings.TrimPrefix(strings.ToLower(s), "application/") }
	return short(a) == short(b)
}

// jwt judges the claims of a JWT.
func (r rules) jwt(t token, now time.Time) *fault {
	if _, ok := t.claims.time("exp"); !ok {
		return invalid("is not an access token", "it has no exp, or one that is no time")
	}
	if t.isOwn() {
		return invalid(isID, "its aud is the client %q that got it", t.claims.client())
	}
	return r.claims(t.claims, now)
}

// isOwn tells whether the token is meant for the client that got it, as an ID
// token is. An at+jwt is none by its type (RFC 9068, section 4).
func (t token) isOwn() bool {
	client := t.claims.client()
	return !sameType(t.header.Type, "at+jwt") && client != "" && slices.Contains(t.claims.list("aud"), client)
}

// idMark is what shows that a token tells a client who its user is, and opens
// nothing; "" if there is no such mark. Keycloak says so in typ, Cognito in
// token_use.
func (c claims) idMark() string {
	for _, name := range []string{"nonce", "at_hash", "c_hash", "s_hash"} {
		if c.has(name) {
			return name
		}
	}
	switch {
	case c.text("typ") == "ID":
		return "typ ID"
	case c.text("token_use") == "id":
		return "token_use id"
	}
	return ""
}

// answer judges what an issuer says of a token when it is asked (RFC 7662,
// section 2.2).
func (r rules) answer(c claims, now time.Time) *fault {
	kind := c.text("token_type")
	switch {
	case !c.isTrue("active"):
		return invalid("is not valid, or not any more", "its issuer does not know it")
	case r.issuer != "" && c.has("iss") && c.text("iss") != r.issuer:
		return invalid("is of an issuer that is not trusted here", "its iss is %q", c.text("iss"))
	case kind != "" && !strings.EqualFold(kind, "Bearer") && !strings.EqualFold(kind, "access_token"):
		return invalid("is not an access token", "its token_type is %q", kind)
	}
	return r.claims(c, now)
}

// claims judges what all tokens have in common.
func (r rules) claims(c claims, now time.Time) *fault {
	if f := r.times(c, now); f != nil {
		return f
	}
	audience, mark := c.list("aud"), c.idMark()
	switch {
	case mark != "":
		return invalid(isID, "it has %s", mark)
	case len(r.audience) > 0 && !slices.ContainsFunc(r.audience, func(a string) bool { return slices.Contains(audience, a) }):
		return invalid("is meant for another service", "aud is %q, wanted is %q", audience, r.audience)
	case c.has("cnf"):
		return invalid("is bound to a key, which mail clients cannot prove to have", "it has cnf")
	case r.claim == "email" && !c.isTrue("email_verified") && (r.provenEmail || c.has("email_verified")):
		return invalid("is for a mail address that is not verified", "email_verified is not true")
	}
	return r.grants(c)
}

// times judges when the token is valid (RFC 7519, sections 4.1.4 to 4.1.6).
func (r rules) times(c claims, now time.Time) *fault {
	for _, name := range []string{"exp", "nbf", "iat"} {
		at, ok := c.time(name)
		switch {
		case !c.has(name):
		case !ok:
			return invalid("is damaged", "%s is no time", name)
		case name == "exp" && !now.Before(at.Add(r.skew)):
			return invalid("has expired", "since %s", at.UTC().Format(time.RFC3339))
		case name != "exp" && now.Add(r.skew).Before(at):
			return invalid("is not valid yet", "%s is %s; are the clocks right?", name, at.UTC().Format(time.RFC3339))
		}
	}
	return nil
}

// grants judges whether the token may be used to send mail.
func (r rules) grants(c claims) *fault {
	scopes, roles := c.scopes(), c.list("roles")
	switch {
	case len(r.scopes) == 0 && len(r.roles) == 0:
	case len(r.scopes) > 0 && containsAll(scopes, r.scopes):
	case len(r.roles) > 0 && containsAll(roles, r.roles):
	default:
		f := invalid("does not permit sending mail", "scopes are %q, roles are %q", scopes, roles)
		f.status = insufficientScope
		return f
	}
	return nil
}

func containsAll(have, want []string) bool {
	for _, w := range want {
		if !slices.Contains(have, w) {
			return false
		}
	}
	return true
}
