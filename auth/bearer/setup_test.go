package bearer_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postern/auth/bearer"
	"postern/relay/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The keys of all tests: making one for RSA takes its time.
var (
	rsaKey, _     = rsa.GenerateKey(rand.Reader, 2048)
	otherRSA, _   = rsa.GenerateKey(rand.Reader, 2048)
	ecKey, _      = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ec384Key, _   = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	_, edKey, _   = ed25519.GenerateKey(rand.Reader)
	shortKey, _   = rsa.GenerateKey(rand.Reader, 1024)
	usualKeys     = map[string]crypto.Signer{"rsa": rsaKey, "ec": ecKey, "ed": edKey, "ec384": ec384Key}
	today         = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	inOneHour     = float64(today.Add(time.Hour).Unix())
	secret        = "canary-client-secret-93b1"
	opaqueToken   = "canary-opaque-token-7d2e"
	googleToken   = "ya29.canary-google-token-1b4f"
	discoveryPath = "/.well-known/openid-configuration"
)

// idp is an authorization server whose keys we hold. Each path can be answered
// otherwise.
type idp struct {
	*httptest.Server
	mu      sync.Mutex
	keys    map[string]crypto.Signer // by kid
	handle  map[string]http.HandlerFunc
	asked   map[string]int
	cached  string // Cache-Control of the keys
	answers map[string]claims
}

type claims map[string]any

func startIDP(t testing.TB) *idp {
	t.Helper()
	p := &idp{keys: maps.Clone(usualKeys), asked: map[string]int{}, answers: map[string]claims{}}
	p.handle = map[string]http.HandlerFunc{
		discoveryPath: func(w http.ResponseWriter, r *http.Request) {
			reply(w, claims{"issuer": p.URL, "jwks_uri": p.URL + "/jwks"})
		},
		"/jwks": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", p.cached)
			reply(w, claims{"keys": p.jwks()})
		},
		"/introspect": p.introspect,
		"/tokeninfo":  p.tokeninfo,
	}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *idp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked[r.URL.Path]++
	handle := p.handle[r.URL.Path]
	p.mu.Unlock()
	if handle == nil {
		http.NotFound(w, r)
		return
	}
	handle(w, r)
}

// on answers a path otherwise from now on.
func (p *idp) on(path string, handle http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.handle[path] = handle
}

// count is how often a path was asked for.
func (p *idp) count(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[path]
}

// rotate makes keys the only ones.
func (p *idp) rotate(keys map[string]crypto.Signer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = keys
}

// jwks lists the public keys, among one of a kind that nobody knows.
func (p *idp) jwks() []claims {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := []claims{{"kty": "NEW", "kid": "unknown-kind"}}
	for kid, k := range p.keys {
		all = append(all, jwk(kid, k.Public()))
	}
	return all
}

func jwk(kid string, public crypto.PublicKey) claims {
	c := claims{"use": "sig"}
	if kid != "" {
		c["kid"] = kid
	}
	switch k := public.(type) {
	case *rsa.PublicKey:
		c["kty"], c["n"], c["e"] = "RSA", b64(k.N.Bytes()), b64(big.NewInt(int64(k.E)).Bytes())
	case *ecdsa.PublicKey:
		point, _ := k.Bytes()
		half := len(point) / 2
		c["kty"], c["crv"], c["x"], c["y"] = "EC", k.Params().Name, b64(point[1:half+1]), b64(point[half+1:])
	case ed25519.PublicKey:
		c["kty"], c["crv"], c["x"] = "OKP", "Ed25519", b64(k)
	}
	return c
}

// introspect answers as in RFC 7662 whom it knows.
func (p *idp) introspect(w http.ResponseWriter, r *http.Request) {
	id, password, _ := r.BasicAuth()
	if id != "postern" || password != strings.ReplaceAll(secret, " ", "+") || r.Method != http.MethodPost {
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	p.mu.Lock()
	answer, ok := p.answers[r.PostFormValue("token")]
	p.mu.Unlock()
	if !ok {
		answer = claims{"active": false}
	}
	reply(w, answer)
}

// tokeninfo answers as Google does.
func (p *idp) tokeninfo(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	answer, ok := p.answers[r.FormValue("access_token")]
	p.mu.Unlock()
	if !ok {
		w.WriteHeader(http.StatusBadRequest)
		answer = claims{"error_description": "Invalid Value"}
	}
	reply(w, answer)
}

// say makes the server know a token.
func (p *idp) say(token string, c claims) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers[token] = c
}

func reply(w http.ResponseWriter, c claims) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(c)
}

// usual are the claims of a good access token (RFC 9068, section 2.2).
func (p *idp) usual() claims {
	return claims{"iss": p.URL, "aud": "api://postern", "sub": "erp", "client_id": "erp", "jti": "1",
		"iat": float64(today.Unix()), "exp": inOneHour, "scope": "openid smtp.send"}
}

// with is c with some claims changed; nil takes one away.
func (c claims) with(over claims) claims {
	c = maps.Clone(c)
	for name, value := range over {
		if c[name] = value; value == nil {
			delete(c, name)
		}
	}
	return c
}

// token is the usual one, changed, signed with the RSA key.
func (p *idp) token(over claims) string {
	return sign(claims{"alg": "RS256", "kid": "rsa", "typ": "at+jwt"}, p.usual().with(over), rsaKey)
}

// sign makes a JWT, by hand so that it can be wrong in every way.
func sign(header, payload claims, key any) string {
	h, _ := json.Marshal(header)
	c, _ := json.Marshal(payload)
	input := b64(h) + "." + b64(c)
	return input + "." + b64(signature(header["alg"], input, key))
}

func signature(alg any, input string, key any) (s []byte) {
	digest := sha256.Sum256([]byte(input))
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if alg == "PS256" {
			s, _ = rsa.SignPSS(rand.Reader, k, crypto.SHA256, digest[:], nil)
			return s
		}
		s, _ = rsa.SignPKCS1v15(nil, k, crypto.SHA256, digest[:])
	case *ecdsa.PrivateKey:
		size := (k.Params().BitSize + 7) / 8
		r, v, _ := ecdsa.Sign(rand.Reader, k, digest[:])
		s = append(r.FillBytes(make([]byte, size)), v.FillBytes(make([]byte, size))...)
	case ed25519.PrivateKey:
		s = ed25519.Sign(k, []byte(input))
	case []byte:
		mac := hmac.New(sha256.New, k)
		io.WriteString(mac, input)
		s = mac.Sum(nil)
	}
	return s
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// open makes a verifier that lives at noon of its own.
func open(t testing.TB, log io.Writer, issuers ...bearer.Issuer) *bearer.Verifier {
	t.Helper()
	v, err := bearer.New(issuers, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	v.SetClock(func() time.Time { return today })
	return v
}

// usual is the entry of auth.issuers for p.
func usual(p *idp) bearer.Issuer {
	return bearer.Issuer{Issuer: p.URL, Audience: bearer.Audience{"api://postern", "other"}, Scopes: []string{"smtp.send"}}
}

// outcome is what Verify came to: a subject, or the status of a refusal, or
// "trouble" for a 454.
func outcome(t testing.TB, v *bearer.Verifier, token string) (string, error) {
	t.Helper()
	proof, err := v.Verify(context.WithoutCancel(t.Context()), token)
	var refusal *message.TokenRefusal
	var reply *message.Reply
	switch {
	case err == nil:
		return proof.Subject, nil
	case !errors.As(err, &reply):
		t.Fatalf("%v is not a reply", err)
	case errors.As(err, &refusal) && reply.Code == 535 && reply.Enhanced == "5.7.8":
		return refusal.Status, err
	case reply.Code == 454 && reply.Enhanced == "4.7.0":
		return "trouble", err
	}
	t.Fatalf("%v is neither a refusal of a token nor trouble", err)
	return "", nil
}

func refusalOf(t testing.TB, err error) *message.TokenRefusal {
	t.Helper()
	var refusal *message.TokenRefusal
	if !errors.As(err, &refusal) {
		t.Fatalf("%v is no refusal", err)
	}
	return refusal
}
