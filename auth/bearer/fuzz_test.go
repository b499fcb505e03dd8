package bearer_test

import (
	"encoding/base64"
	"io"
	"slices"
	"strings"
	"testing"

	"postern/auth/bearer"
)

// FuzzBearer looks for tokens that are taken without having been issued, and
// for errors that show them.
func FuzzBearer(f *testing.F) {
	p := startIDP(f)
	p.say(opaqueToken, claims{"active": true, "sub": "mary", "aud": "api://postern"})
	issued := []string{p.token(nil), opaqueToken, sign(claims{"alg": "ES256", "kid": "ec", "typ": "at+jwt"}, p.usual(), ecKey)}
	jwt, asks := open(f, io.Discard, usual(p)), open(f, io.Discard, introspecting(p))
	for _, seed := range append(issued,
		"", ".", "..", "....", "eyJ", "e30.e30.", "e30.W10.AA", "bnVsbA.bnVsbA.AA", "=", strings.Repeat("a", 16<<10+1),
		sign(claims{"alg": "none", "typ": "at+jwt"}, p.usual(), nil), p.token(claims{"iss": "x"}), p.by("unknown", otherRSA),
		p.token(claims{"aud": nil}), p.token(claims{"exp": []string{"x"}}), p.token(claims{"scope": claims{"a": 1}, "cnf": 1}),
		b64([]byte(`{"alg":"RS256"}`))+"."+b64([]byte(strings.Repeat("[", 10<<10)))+".AA",
	) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		for _, v := range []*bearer.Verifier{jwt, asks} {
			_, err := outcome(t, v, token)
			if err == nil && !slices.ContainsFunc(issued, func(good string) bool { return sameToken(good, token) }) {
				t.Errorf("%q was never issued, and is taken", token)
			}
			if err != nil && len(token) > 40 && strings.Contains(err.Error(), token) {
				t.Errorf("%q shows the token", err)
			}
		}
	})
}

// sameToken compares what the parts of two tokens mean: the last digit of one in
// base64 may have bits that count for nothing.
func sameToken(a, b string) bool {
	return slices.EqualFunc(strings.Split(a, "."), strings.Split(b, "."), func(a, b string) bool {
		x, errA := base64.RawURLEncoding.DecodeString(a)
		y, errB := base64.RawURLEncoding.DecodeString(b)
		return a == b || errA == nil && errB == nil && string(x) == string(y)
	})
}
