package identity

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"postern/cmd/provider-sim/world"
)

// Scopes of Google that let somebody send.
const (
	GmailScope     = "https://mail.google.com/"
	GmailSendScope = "https://www.googleapis.com/auth/gmail.send"
)

// GoogleAudience is what an assertion for Google's token endpoint is for, also
// when it is posted to this one.
const GoogleAudience = "https://oauth2.googleapis.com/token"

func (s *Servers) google() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", s.googleToken)
	mux.HandleFunc("GET /o/oauth2/v2/auth", s.authorize(Google))
	mux.HandleFunc("POST /device/code", func(w http.ResponseWriter, r *http.Request) {
		answer(w, 400, map[string]any{"error": "invalid_scope", "error_description": "Invalid device flow scope: " + r.PostFormValue("scope")})
	})
	return mux
}

func (s *Servers) googleToken(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	tokens, failed := s.googleGrant(r)
	if failed != nil {
		s.w.Count(world.GoogleLogin, failed.code)
		s.w.Log().Info("token refused", "provider", Google, "error", failed.code, "reason", failed.text)
		answer(w, failed.status, map[string]any{"error": failed.code, "error_description": failed.text})
		return
	}
	s.w.Count(world.GoogleLogin, "token")
	s.w.Log().Info("token", "provider", Google, "grant", r.PostFormValue("grant_type"))
	answer(w, http.StatusOK, tokens)
}

func (s *Servers) googleGrant(r *http.Request) (map[string]any, *oauthError) {
	kind := r.PostFormValue("grant_type")
	if kind == "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		return s.serviceAccount(r)
	}
	id, given, inHeader := r.BasicAuth()
	if !inHeader {
		id, given = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
	}
	i := slices.IndexFunc(s.w.Google.Clients, func(c world.Client) bool { return c.ClientID == id })
	if i < 0 {
		return nil, refuse(401, "invalid_client", "The OAuth client was not found.")
	}
	if s.w.Google.Clients[i].Secret != given {
		return nil, refuse(401, "invalid_client", "Unauthorized")
	}
	switch kind {
	case "refresh_token":
		g, ok := s.redeem(r.PostFormValue("refresh_token"), id, false)
		if !ok {
			return nil, refuse(400, "invalid_grant", "Token has been expired or revoked.")
		}
		return s.opaque(g), nil
	case "authorization_code":
		p, failed := s.takeCode(r, id)
		if failed != nil {
			return nil, failed
		}
		tokens := s.opaque(p.grant)
		if p.offline {
			tokens["refresh_token"] = s.refreshToken("1//sim-", p.grant)
		}
		return tokens, nil
	}
	return nil, refuse(400, "unsupported_grant_type", "Invalid grant_type: %s", kind)
}

// serviceAccount is the grant of RFC 7523, section 2.1: the account has signed for
// whom it acts, and the administrator of that domain has allowed it.
func (s *Servers) serviceAccount(r *http.Request) (map[string]any, *oauthError) {
	token, err := jwt.ParseSigned(r.PostFormValue("assertion"), []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return nil, refuse(400, "invalid_grant", "Bad Request")
	}
	var claims struct {
		jwt.Claims
		Scope string `json:"scope"`
	}
	if err := token.UnsafeClaimsWithoutVerification(&claims); err != nil {
		return nil, refuse(400, "invalid_grant", "Bad Request")
	}
	i := slices.IndexFunc(s.w.Google.ServiceAccounts, func(a world.ServiceAccount) bool { return a.Email == claims.Issuer })
	if i < 0 {
		return nil, refuse(400, "invalid_grant", "Invalid grant: account not found")
	}
	account := s.w.Google.ServiceAccounts[i]
	if err := token.Claims(s.keys.ServiceAccounts[account.Email], &claims); err != nil {
		return nil, refuse(400, "invalid_grant", "Invalid JWT Signature.")
	}
	return s.act(r, account, claims.Claims, claims.Scope)
}

func (s *Servers) act(r *http.Request, account world.ServiceAccount, claims jwt.Claims, scope string) (map[string]any, *oauthError) {
	now := time.Now()
	audience := slices.ContainsFunc(claims.Audience, func(a string) bool {
		return a == GoogleAudience || strings.HasSuffix(a, r.Host+r.URL.Path)
	})
	_, domain, _ := strings.Cut(claims.Subject, "@")
	_, known := world.Find(s.w.Google.Mailboxes, claims.Subject)
	switch {
	case !audience:
		return nil, refuse(400, "invalid_grant", "Invalid JWT: Failed audience check.")
	case claims.IssuedAt == nil || claims.Expiry == nil ||
		claims.IssuedAt.Time().After(now.Add(5*time.Minute)) || !claims.Expiry.Time().After(now) ||
		claims.Expiry.Time().Sub(claims.IssuedAt.Time()) > time.Hour:
		return nil, refuse(400, "invalid_grant", "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim.")
	case claims.Subject == "":
		return s.opaque(grant{client: account.Email, scope: scope}), nil
	case !slices.Contains(account.Domains, domain) || slices.ContainsFunc(words(scope), func(w string) bool { return !slices.Contains(account.Scopes, w) }):
		return nil, refuse(401, "unauthorized_client", "Client is unauthorized to retrieve access tokens using this method, or client not authorized for any of the scopes requested.")
	case !known:
		return nil, refuse(400, "invalid_grant", "Invalid email or User ID")
	}
	return s.opaque(grant{client: account.Email, mailbox: claims.Subject, scope: scope}), nil
}

// opaque issues a token that says nothing.
func (s *Servers) opaque(g grant) map[string]any {
	token := "ya29.sim-" + secret()
	a := &Access{
		Provider: Google, Client: g.client, Mailbox: g.mailbox, Rights: words(g.scope),
		expires: time.Now().Add(time.Duration(s.w.Google.TokenLife) * time.Second), serial: s.next(),
	}
	s.mu.Lock()
	s.accesses[token] = a
	s.mu.Unlock()
	return map[string]any{"access_token": token, "expires_in": s.w.Google.TokenLife, "token_type": "Bearer", "scope": g.scope}
}

// CheckGoogle tells what a token is good for.
func (s *Servers) CheckGoogle(token string) (*Access, error) {
	s.mu.Lock()
	a := s.accesses[token]
	s.mu.Unlock()
	if a == nil {
		return nil, errors.New("the token is not known")
	}
	return a, s.refused(a)
}
