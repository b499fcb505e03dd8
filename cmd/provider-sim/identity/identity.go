// Package identity is the authorization servers of Microsoft and Google: who
// gets an access token, and what one is good for.
//
// Tokens of Microsoft are signed JWTs, those of Google opaque. Both are really
// checked where they are used: signature, audience, scope, expiry, revocation. What
// whoever proved that may do then is left to the services.
package identity

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"postern/cmd/provider-sim/world"
)

// Keys are made at the start of a simulation.
type Keys struct {
	// Signing signs Microsoft's tokens.
	Signing *rsa.PrivateKey
	// Apps are the certificates of apps, by client id.
	Apps map[string]*x509.Certificate
	// ServiceAccounts are Google's, by their e-mail.
	ServiceAccounts map[string]*rsa.PublicKey
}

// Servers are the authorization servers of one world.
type Servers struct {
	// Microsoft and Google answer their requests, over whichever listener.
	Microsoft, Google http.Handler

	w    *world.World
	keys Keys

	mu       sync.Mutex
	serial   int64
	barrier  map[string]int64 // by provider: access tokens up to there are refused
	codes    map[string]*pending
	grants   map[string]*grant  // by refresh token
	accesses map[string]*Access // Google's, by access token
}

// grant is what a refresh token stands for. A used one stays, to be refused.
type grant struct {
	client, mailbox, scope, tenant, provider string
	used                                     bool
}

// pending is an authorization code or device code that waits for its use.
type pending struct {
	grant
	challenge, redirect string
	offline             bool
	userCode            string
	declined            bool
	expires, nextPoll   time.Time
}

// Access is what an access token is good for.
type Access struct {
	Provider string
	// Audience is the resource; of Google it is "".
	Audience string
	Tenant   string
	Client   string
	// Mailbox is whom the token is of; "" is a Microsoft app on its own behalf.
	Mailbox string
	// Rights are roles or scopes.
	Rights  []string
	expires time.Time
	serial  int64
}

// Providers whose tokens these are.
const (
	Microsoft = "microsoft"
	Google    = "google"
)

// New starts no listener.
func New(w *world.World, keys Keys) *Servers {
	s := &Servers{
		w: w, keys: keys,
		barrier: map[string]int64{}, codes: map[string]*pending{},
		grants: map[string]*grant{}, accesses: map[string]*Access{},
	}
	s.Microsoft, s.Google = s.microsoft(), s.google()
	return s
}

// Expire has every access token of a provider that was issued so far be refused.
func (s *Servers) Expire(provider string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.barrier[provider] = s.serial
}

// Revoke is Expire for refresh tokens too: people must consent again.
func (s *Servers) Revoke(provider string) {
	s.Expire(provider)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.grants {
		if g.provider == provider {
			g.used = true
		}
	}
}

// refused is why a token is not good, or nil.
func (s *Servers) refused(a *Access) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !time.Now().Before(a.expires):
		return fmt.Errorf("the token has expired")
	case a.serial <= s.barrier[a.Provider]:
		return fmt.Errorf("the token was revoked")
	}
	return nil
}

// next is the number of the token that is issued now.
func (s *Servers) next() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serial++
	return s.serial
}

// refreshToken makes one for g.
func (s *Servers) refreshToken(prefix string, g grant) string {
	token := prefix + secret()
	s.mu.Lock()
	defer s.mu.Unlock()
	g.used = false
	s.grants[token] = &g
	return token
}

// redeem finds what a refresh token of that client stands for. With rotation it
// is good only once.
func (s *Servers) redeem(token, client string, rotate bool) (grant, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.grants[token]
	if g == nil || g.used || g.client != client {
		return grant{}, false
	}
	g.used = rotate
	return *g, true
}

// oauthError is an answer by RFC 6749, section 5.2.
type oauthError struct {
	status      int
	code, text  string
	description int // the number of an AADSTS code
}

func refuse(status int, code, format string, args ...any) *oauthError {
	return &oauthError{status: status, code: code, text: fmt.Sprintf(format, args...)}
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

func secret() string {
	b := make([]byte, 24)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// words are what a scope lists.
func words(scope string) []string { return strings.Fields(scope) }
