package bearer

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// claims are what a JWT, or its issuer when asked, says of the token.
type claims map[string]any

// has tells whether the claim is there, with any value.
func (c claims) has(name string) bool { return c[name] != nil }

// text is a claim that is one string; "" for any other.
func (c claims) text(name string) string {
	s, _ := c[name].(string)
	return s
}

// list is a claim that is a string or an array of strings.
func (c claims) list(name string) []string {
	switch v := c[name].(type) {
	case string:
		return []string{v}
	case []any:
		var all []string
		for _, entry := range v {
			if s, ok := entry.(string); ok {
				all = append(all, s)
			}
		}
		return all
	}
	return nil
}

// scopes are scope and scp, each words in one string (RFC 8693, section 4.2) or,
// as some issuers have it, an array.
func (c claims) scopes() []string {
	var all []string
	for _, s := range slices.Concat(c.list("scope"), c.list("scp")) {
		all = append(all, strings.Fields(s)...)
	}
	return all
}

// lastSecond is the end of the year 9999; times beyond it are no times.
const lastSecond = 253402300799

// time is a NumericDate (RFC 7519, section 2). Google's tokeninfo writes numbers
// as strings.
func (c claims) time(name string) (at time.Time, ok bool) {
	seconds, ok := c[name].(float64)
	if s, isText := c[name].(string); isText {
		var err error
		seconds, err = strconv.ParseFloat(s, 64)
		ok = err == nil
	}
	if !ok || !(seconds >= 0 && seconds <= lastSecond) {
		return time.Time{}, false
	}
	return time.UnixMilli(int64(seconds * 1000)), true
}

// isTrue reads a boolean, which Google's tokeninfo writes as a string.
func (c claims) isTrue(name string) bool { return c[name] == true || c[name] == "true" }

// client is who got the token: client_id (RFC 9068), azp or appid (Entra).
func (c claims) client() string {
	for _, name := range []string{"client_id", "azp", "appid"} {
		if id := c.text(name); id != "" {
			return id
		}
	}
	return ""
}

// subject is whom the token was issued for: with the client credentials grant
// there may be nobody but the client (RFC 7662 leaves sub out then).
func (c claims) subject() string {
	if c.has("sub") || c.has("username") {
		return c.text("sub")
	}
	return c.client()
}
