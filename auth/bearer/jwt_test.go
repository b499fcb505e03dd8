package bearer_test

import (
	"crypto/x509"
	"encoding/pem"
	"io"
	"strings"
	"testing"
	"time"

	"postern/auth/bearer"
)

func TestJWT(t *testing.T) {
	p := startIDP(t)
	v := open(t, io.Discard, usual(p))
	entra := usual(p)
	entra.TokenTypes, entra.AccountClaim, entra.Scopes, entra.Roles = []string{"JWT"}, "oid", []string{"smtp.send"}, []string{"Mail.Submit"}
	lax := open(t, io.Discard, entra)
	publicDER, err := x509.MarshalPKIXPublicKey(rsaKey.Public())
	if err != nil {
		t.Fatal(err)
	}
	header := func(alg, kid string) claims { return claims{"alg": alg, "kid": kid, "typ": "at+jwt"} }
	usualJWT := claims{"alg": "RS256", "kid": "rsa", "typ": "JWT"}
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: publicDER})
	good := p.token(nil)
	second := func(at time.Duration) float64 { return float64(today.Add(at).Unix()) }

	for _, test := range []struct {
		name  string
		by    *bearer.Verifier
		token string
		want  string // the subject, or the status of the refusal
		told  string // part of the reply
	}{
		{"a good token proves its subject", v, good, "erp", ""},
		{"PS256 is taken", v, sign(header("PS256", "rsa"), p.usual(), rsaKey), "erp", ""},
		{"ES256 is taken", v, sign(header("ES256", "ec"), p.usual(), ecKey), "erp", ""},
		{"EdDSA is taken", v, sign(header("EdDSA", "ed"), p.usual(), edKey), "erp", ""},
		{"one of several audiences is enough", v, p.token(claims{"aud": []string{"x", "other"}}), "erp", ""},
		{"the whole media type is taken", v, sign(claims{"alg": "RS256", "kid": "rsa", "typ": "application/AT+JWT"}, p.usual(), rsaKey), "erp", ""},
		{"just expired is within the skew of the clocks", v, p.token(claims{"exp": second(-59 * time.Second)}), "erp", ""},
		{"not quite valid yet is within the skew of the clocks", v, p.token(claims{"nbf": second(time.Minute), "iat": second(time.Minute)}), "erp", ""},
		{"a token without kid means the one key of its kind", v, sign(claims{"alg": "EdDSA", "typ": "at+jwt"}, p.usual(), edKey), "erp", ""},
		{"a subject may be the client alone", v, p.token(claims{"sub": nil}), "erp", ""},

		{"expired", v, p.token(claims{"exp": second(-time.Minute)}), "invalid_token", "has expired"},
		{"without exp", v, p.token(claims{"exp": nil}), "invalid_token", "is not an access token"},
		{"exp that is text", v, p.token(claims{"exp": "soon"}), "invalid_token", "is not an access token"},
		{"exp beyond all times", v, p.token(claims{"exp": 1e300}), "invalid_token", "is not an access token"},
		{"not valid yet", v, p.token(claims{"nbf": second(61 * time.Second)}), "invalid_token", "is not valid yet"},
		{"issued in the future", v, p.token(claims{"iat": second(61 * time.Second)}), "invalid_token", "is not valid yet"},
		{"for another service", v, p.token(claims{"aud": "api://wiki"}), "invalid_token", "is meant for another service"},
		{"for nobody", v, p.token(claims{"aud": nil}), "invalid_token", "is meant for another service"},
		{"of another issuer", v, p.token(claims{"iss": "https://evil.example"}), "invalid_token", "is of an issuer that is not trusted here"},
		{"of an issuer that is nearly the same", v, p.token(claims{"iss": p.URL + "/"}), "invalid_token", "is of an issuer that is not trusted here"},
		{"of no issuer", v, p.token(claims{"iss": nil}), "invalid_token", "is of an issuer that is not trusted here"},
		{"without the scope", v, p.token(claims{"scope": "openid"}), "insufficient_scope", "does not permit sending mail"},
		{"with a scope that begins the same", v, p.token(claims{"scope": "smtp.send.not"}), "insufficient_scope", "does not permit sending mail"},
		{"bound to a key", v, p.token(claims{"cnf": claims{"jkt": "x"}}), "invalid_token", "is bound to a key"},

		{"alg none", v, sign(header("none", ""), p.usual(), nil), "invalid_token", "is signed in a way that is not accepted"},
		{"alg NONE", v, sign(header("NONE", "rsa"), p.usual(), nil), "invalid_token", "is signed in a way that is not accepted"},
		{"HS256 with the public key as PEM", v, sign(header("HS256", "rsa"), p.usual(), publicPEM), "invalid_token", "is signed in a way that is not accepted"},
		{"HS256 with the modulus", v, sign(header("HS256", "rsa"), p.usual(), rsaKey.N.Bytes()), "invalid_token", "is signed in a way that is not accepted"},
		{"an algorithm that is not allowed", v, sign(header("RS512", "rsa"), p.usual(), rsaKey), "invalid_token", "is signed in a way that is not accepted"},
		{"RS256 naming a key for ES256", v, sign(header("RS256", "ec"), p.usual(), rsaKey), "invalid_token", "is not signed by its issuer"},
		{"ES256 naming a key of another curve", v, sign(header("ES256", "ec384"), p.usual(), ec384Key), "invalid_token", "is not signed by its issuer"},
		{"signed by somebody else under a known kid", v, sign(header("RS256", "rsa"), p.usual(), otherRSA), "invalid_token", "is not signed by its issuer"},
		{"with its own key in the header", v, sign(claims{"alg": "RS256", "kid": "rsa", "typ": "at+jwt", "jwk": jwk("rsa", otherRSA.Public())}, p.usual(), otherRSA), "invalid_token", "is not signed by its issuer"},
		{"changed after it was signed", v, forged(good, p.usual().with(claims{"sub": "boss"})), "invalid_token", "is not signed by its issuer"},
		{"an extension that is not known", v, sign(claims{"alg": "RS256", "kid": "rsa", "typ": "at+jwt", "crit": []string{"exp2"}, "exp2": 1}, p.usual(), rsaKey), "invalid_token", "asks for what is not supported"},
		{"an extension for unencoded payloads", v, sign(claims{"alg": "RS256", "kid": "rsa", "typ": "at+jwt", "crit": []string{"b64"}, "b64": true}, p.usual(), rsaKey), "invalid_token", "asks for what is not supported"},
		{"an ID token by its type", v, sign(usualJWT, p.usual(), rsaKey), "invalid_token", "is not an access token"},
		{"no type", v, sign(claims{"alg": "RS256", "kid": "rsa"}, p.usual(), rsaKey), "invalid_token", "is not an access token"},

		{"nothing", v, "", "invalid_request", "is missing"},
		{"100 KB", v, strings.Repeat("a", 100<<10), "invalid_token", "is too long"},
		{"100 KB of a good token", v, good + strings.Repeat("A", 100<<10), "invalid_token", "is too long"},
		{"cut off in the signature", v, good[:len(good)-10], "invalid_token", "is not signed by its issuer"},
		{"cut off in the claims", v, good[:len(good)/3], "invalid_token", "is not one that can be read here"},
		{"cut off at its last dot", v, good[:strings.LastIndexByte(good, '.')], "invalid_token", "is not one that can be read here"},
		{"with an empty signature", v, good[:strings.LastIndexByte(good, '.')+1], "invalid_token", "is not signed by its issuer"},
		{"with a line end", v, good[:20] + "\n" + good[20:], "invalid_token", "is damaged"},
		{"with a NUL", v, good + "\x00", "invalid_token", "is damaged"},
		{"with a claim written twice", v, b64([]byte(`{"alg":"RS256","kid":"rsa","typ":"at+jwt"}`)) + "." + b64([]byte(`{"iss":"x","iss":"`+p.URL+`"}`)) + ".AA", "invalid_token", "is damaged"},
		{"encrypted", v, "eyJhbGciOiJkaXIifQ.a.b.c.d", "invalid_token", "is not one that can be read here"},
		{"opaque", v, opaqueToken, "invalid_token", "is not one that can be read here"},

		{"where JWT is the type, a good token proves its subject", lax, sign(usualJWT, p.usual().with(claims{"client_id": nil}), rsaKey), "erp", ""},
		{"no type counts as JWT", lax, sign(claims{"alg": "RS256", "kid": "rsa"}, p.usual(), rsaKey), "erp", ""},
		{"scopes in scp", lax, sign(usualJWT, p.usual().with(claims{"scope": nil, "scp": "a smtp.send"}), rsaKey), "erp", ""},
		{"scopes in an array", lax, sign(usualJWT, p.usual().with(claims{"scope": nil, "scp": []string{"a", "smtp.send"}}), rsaKey), "erp", ""},
		{"roles instead of scopes", lax, sign(usualJWT, p.usual().with(claims{"scope": nil, "roles": []string{"Mail.Submit"}}), rsaKey), "erp", ""},
		{"neither roles nor scopes", lax, sign(usualJWT, p.usual().with(claims{"scope": nil, "roles": []string{"Other"}}), rsaKey), "insufficient_scope", "does not permit"},
		{"an at+jwt where it is not the type", lax, good, "invalid_token", "is not an access token"},
		{"an ID token by its nonce", lax, sign(usualJWT, p.usual().with(claims{"nonce": "n"}), rsaKey), "invalid_token", "is an ID token"},
		{"an ID token by its at_hash", lax, sign(usualJWT, p.usual().with(claims{"at_hash": "h"}), rsaKey), "invalid_token", "is an ID token"},
		{"an ID token by its audience", lax, sign(usualJWT, p.usual().with(claims{"azp": "other", "client_id": nil, "aud": "other"}), rsaKey), "invalid_token", "is an ID token"},
		{"an ID token of Keycloak", lax, sign(usualJWT, p.usual().with(claims{"typ": "ID"}), rsaKey), "invalid_token", "is an ID token"},
		{"an ID token of Cognito", lax, sign(usualJWT, p.usual().with(claims{"token_use": "id"}), rsaKey), "invalid_token", "is an ID token"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := outcome(t, test.by, test.token)
			if got != test.want {
				t.Fatalf("got %q, %v; want %q", got, err, test.want)
			}
			if err == nil {
				return
			}
			if !strings.Contains(err.Error(), "535 5.7.8 The token "+test.told) {
				t.Errorf("got %q, want %q in it", err, test.told)
			}
			if len(test.token) > 20 && strings.Contains(err.Error(), test.token[:20]) {
				t.Errorf("%q shows the token", err)
			}
		})
	}
	if n := p.count("/jwks"); n > 4 { // two verifiers, each with one more for a key that is not there
		t.Errorf("the keys were fetched %d times", n)
	}
}

// forged puts other claims into a token.
func forged(token string, c claims) string {
	parts := strings.Split(token, ".")
	other := strings.Split(sign(nil, c, nil), ".")
	return parts[0] + "." + other[1] + "." + parts[2]
}

func TestProofSaysWhoAndHowLong(t *testing.T) {
	p := startIDP(t)
	cfg := usual(p)
	cfg.AccountClaim = "preferred_username"
	v := open(t, io.Discard, cfg)
	proof, err := v.Verify(t.Context(), p.token(claims{"preferred_username": "mary"}))
	if err != nil {
		t.Fatal(err)
	}
	if proof.Issuer != p.URL || proof.Subject != "erp" || proof.Name != "mary" || !proof.Expires.Equal(today.Add(time.Hour+time.Minute)) {
		t.Errorf("got %+v", proof)
	}
}

func TestRefusalsSayWhereToGetAToken(t *testing.T) {
	p := startIDP(t)
	v := open(t, io.Discard, usual(p))
	for name, token := range map[string]string{"a wrong token": p.token(claims{"aud": "x"}), "what is no token": "rubbish"} {
		_, err := v.Verify(t.Context(), token)
		r := refusalOf(t, err)
		if r.Scope != "smtp.send" || r.Configuration != p.URL+discoveryPath {
			t.Errorf("%s: got %+v", name, r)
		}
	}
}

func TestAnEmailMustBeVerified(t *testing.T) {
	p := startIDP(t)
	cfg := usual(p)
	cfg.AccountClaim = "email"
	v := open(t, io.Discard, cfg)
	for _, test := range []struct {
		verified any
		want     string
	}{{true, "erp"}, {nil, "erp"}, {false, "invalid_token"}, {"false", "invalid_token"}} {
		token := p.token(claims{"email": "mary@example.com", "email_verified": test.verified})
		if got, err := outcome(t, v, token); got != test.want {
			t.Errorf("email_verified %v: got %q, %v", test.verified, got, err)
		}
	}
}
