package identity

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"postern/cmd/provider-sim/world"
)

// Resources that tokens are for.
const (
	Exchange         = "https://outlook.office365.com"
	ExchangeDelegate = "https://outlook.office.com"
	GraphResource    = "https://graph.microsoft.com"
)

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// microsoft is the v2.0 endpoints of Entra ID.
func (s *Servers) microsoft() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{tenant}/oauth2/v2.0/token", s.microsoftToken)
	mux.HandleFunc("POST /{tenant}/oauth2/v2.0/devicecode", s.microsoftDevice)
	mux.HandleFunc("GET /{tenant}/oauth2/v2.0/authorize", s.authorize(Microsoft))
	mux.HandleFunc("/devicelogin", s.deviceLogin)
	mux.HandleFunc("GET /{tenant}/discovery/v2.0/keys", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &s.keys.Signing.PublicKey, KeyID: keyID, Algorithm: "RS256", Use: "sig"}}})
	})
	return mux
}

const keyID = "sim-key"

func (s *Servers) microsoftToken(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	tokens, failed := s.microsoftGrant(r)
	if failed != nil {
		s.w.Count(world.MicrosoftLogin, failed.code)
		s.w.Log().Info("token refused", "provider", Microsoft, "error", failed.code, "reason", failed.text)
		answer(w, failed.status, map[string]any{
			"error": failed.code, "error_description": failed.text, "error_codes": []int{failed.description},
			"timestamp": time.Now().UTC().Format("2006-01-02 15:04:05Z"), "trace_id": secret()[:32], "correlation_id": secret()[:32],
		})
		return
	}
	s.w.Count(world.MicrosoftLogin, "token")
	s.w.Log().Info("token", "provider", Microsoft, "grant", r.PostFormValue("grant_type"))
	answer(w, http.StatusOK, tokens)
}

// aadsts is an error of Entra ID with its number.
func aadsts(status int, code string, number int, text string) *oauthError {
	return &oauthError{status: status, code: code, description: number, text: "AADSTS" + text}
}

func (s *Servers) microsoftGrant(r *http.Request) (map[string]any, *oauthError) {
	t, app, failed := s.client(r)
	if failed != nil {
		return nil, failed
	}
	kind := r.PostFormValue("grant_type")
	if kind == "client_credentials" {
		return s.appOnly(t, app, r.PostFormValue("scope"))
	}
	var g grant
	switch kind {
	case "refresh_token":
		var ok bool
		if g, ok = s.redeem(r.PostFormValue("refresh_token"), app.ClientID, true); !ok {
			return nil, aadsts(400, "invalid_grant", 70000, "70000: The provided value for the input parameter 'refresh_token' is not valid, was used before or was revoked.")
		}
		if scope := r.PostFormValue("scope"); scope != "" {
			g.scope = scope
		}
	case "authorization_code":
		p, failed := s.takeCode(r, app.ClientID)
		if failed != nil {
			return nil, failed
		}
		g = p.grant
	case "urn:ietf:params:oauth:grant-type:device_code":
		p, failed := s.poll(r.PostFormValue("device_code"), app.ClientID)
		if failed != nil {
			return nil, failed
		}
		g = p.grant
	default:
		return nil, aadsts(400, "unsupported_grant_type", 70003, "70003: The app requested an unsupported grant type '"+kind+"'.")
	}
	offline := slices.Contains(words(g.scope), "offline_access") || kind == "refresh_token"
	return s.delegated(t, app, g, offline)
}

// client finds the tenant and proves the app: by its secret, or by an assertion
// that its certificate has signed.
func (s *Servers) client(r *http.Request) (world.Tenant, world.App, *oauthError) {
	id, secret, inHeader := r.BasicAuth()
	if !inHeader {
		id, secret = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
	}
	t, ok := s.tenant(r.PathValue("tenant"), id)
	if !ok {
		return t, world.App{}, aadsts(400, "invalid_request", 90002, "90002: Tenant '"+r.PathValue("tenant")+"' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud.")
	}
	i := slices.IndexFunc(t.Apps, func(a world.App) bool { return a.ClientID == id })
	if i < 0 {
		return t, world.App{}, aadsts(400, "unauthorized_client", 700016, "700016: Application with identifier '"+id+"' was not found in the directory '"+t.Name+"'.")
	}
	app := t.Apps[i]
	switch {
	case app.Public && r.PostFormValue("grant_type") != "client_credentials":
		return t, app, nil
	case r.PostFormValue("client_assertion_type") == assertionType:
		if err := s.assertion(r, app); err != nil {
			return t, app, aadsts(401, "invalid_client", 700027, "700027: The certificate with identifier used to sign the client assertion is not registered on application, or the assertion is not valid: "+err.Error())
		}
		return t, app, nil
	case secret == "":
		return t, app, aadsts(401, "invalid_client", 7000218, "7000218: The request body must contain the following parameter: 'client_assertion' or 'client_secret'.")
	case app.Secret == "" || secret != app.Secret:
		return t, app, aadsts(401, "invalid_client", 7000215, "7000215: Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '"+id+"'.")
	}
	return t, app, nil
}

// tenant is that of a name or id; of "common", "organizations" and "consumers"
// that of the app.
func (s *Servers) tenant(name, client string) (world.Tenant, bool) {
	for _, t := range s.w.Microsoft.Tenants {
		if strings.EqualFold(name, t.ID) || strings.EqualFold(name, t.Name) {
			return t, true
		}
		if slices.Contains([]string{"common", "organizations", "consumers"}, name) &&
			slices.ContainsFunc(t.Apps, func(a world.App) bool { return a.ClientID == client }) {
			return t, true
		}
	}
	return world.Tenant{}, false
}

// assertion is checked as Entra ID documents its format: PS256 or RS256, the
// certificate's thumbprint, issuer and subject the app, a short life.
func (s *Servers) assertion(r *http.Request, app world.App) error {
	cert := s.keys.Apps[app.ClientID]
	if cert == nil {
		return errors.New("the application has no certificate")
	}
	token, err := jwt.ParseSigned(r.PostFormValue("client_assertion"), []jose.SignatureAlgorithm{jose.RS256, jose.PS256})
	if err != nil {
		return err
	}
	long, short := sha256.Sum256(cert.Raw), sha1.Sum(cert.Raw)
	header := token.Headers[0].ExtraHeaders
	if header["x5t#S256"] != base64.RawURLEncoding.EncodeToString(long[:]) && header["x5t"] != base64.RawURLEncoding.EncodeToString(short[:]) {
		return errors.New("the header names no thumbprint of the certificate (x5t#S256 or x5t)")
	}
	var claims jwt.Claims
	if err := token.Claims(cert.PublicKey, &claims); err != nil {
		return err
	}
	if claims.ID == "" || claims.Expiry == nil || time.Until(claims.Expiry.Time()) > 11*time.Minute {
		return errors.New("it needs a jti, and an exp at most ten minutes ahead")
	}
	if !slices.ContainsFunc(claims.Audience, func(a string) bool { return strings.HasSuffix(a, r.URL.Path) }) {
		return errors.New("its audience is not the token endpoint")
	}
	return claims.Validate(jwt.Expected{Issuer: app.ClientID, Subject: app.ClientID, Time: time.Now()})
}

// appOnly is the client credentials grant (RFC 6749, section 4.4).
func (s *Servers) appOnly(t world.Tenant, app world.App, scope string) (map[string]any, *oauthError) {
	resource, ok := strings.CutSuffix(scope, "/.default")
	if !ok {
		return nil, aadsts(400, "invalid_scope", 1002012, "1002012: The provided value for scope "+scope+" is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI).")
	}
	roles := app.Exchange
	switch resource {
	case Exchange, ExchangeDelegate:
	case GraphResource:
		roles = app.Graph
	default:
		return nil, aadsts(400, "invalid_resource", 500011, "500011: The resource principal named "+resource+" was not found in the tenant named "+t.Name+".")
	}
	a := Access{Audience: resource, Tenant: t.ID, Client: app.ClientID, Rights: roles}
	return s.issue(a, map[string]any{"roles": roles, "idtyp": "app"})
}

// delegated gives a token that acts for the person of g.
func (s *Servers) delegated(t world.Tenant, app world.App, g grant, offline bool) (map[string]any, *oauthError) {
	resource, rights := "", []string{}
	for _, word := range words(g.scope) {
		if slices.Contains([]string{"offline_access", "openid", "profile", "email"}, word) {
			continue
		}
		i := strings.LastIndex(word, "/")
		of := GraphResource
		if i >= 0 {
			of = word[:i]
		}
		if resource != "" && of != resource {
			return nil, aadsts(400, "invalid_scope", 70011, "70011: The provided request must include a 'scope' input parameter. Scopes of several resources cannot be asked for at once: "+g.scope)
		}
		resource = of
		rights = append(rights, word[i+1:])
	}
	if !slices.Contains([]string{Exchange, ExchangeDelegate, GraphResource}, resource) {
		return nil, aadsts(400, "invalid_scope", 70011, "70011: The provided value for the input parameter 'scope' is not valid: "+g.scope)
	}
	a := Access{Audience: resource, Tenant: t.ID, Client: app.ClientID, Mailbox: g.mailbox, Rights: rights}
	tokens, failed := s.issue(a, map[string]any{"scp": strings.Join(rights, " "), "upn": g.mailbox})
	if failed == nil {
		tokens["scope"] = g.scope
		if offline {
			g.client, g.tenant, g.provider = app.ClientID, t.ID, Microsoft
			tokens["refresh_token"] = s.refreshToken("0.sim-", g)
		}
	}
	return tokens, failed
}

// issue signs a token that is good for a.
func (s *Servers) issue(a Access, more map[string]any) (map[string]any, *oauthError) {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: s.keys.Signing},
		(&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", keyID))
	if err != nil {
		return nil, refuse(500, "server_error", "%v", err)
	}
	life := time.Duration(s.w.Microsoft.TokenLife) * time.Second
	now := time.Now()
	claims := map[string]any{
		"aud": a.Audience, "iss": "https://sts.windows.net/" + a.Tenant + "/", "tid": a.Tenant, "appid": a.Client,
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(life).Unix(), "serial": s.next(), "ver": "1.0",
	}
	for name, value := range more {
		claims[name] = value
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		return nil, refuse(500, "server_error", "%v", err)
	}
	return map[string]any{"token_type": "Bearer", "expires_in": s.w.Microsoft.TokenLife, "ext_expires_in": s.w.Microsoft.TokenLife, "access_token": token}, nil
}

// CheckMicrosoft tells what a token is good for, if it is for one of these resources.
func (s *Servers) CheckMicrosoft(token string, audiences ...string) (*Access, error) {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return nil, err
	}
	var c struct {
		jwt.Claims
		Tenant string   `json:"tid"`
		App    string   `json:"appid"`
		UPN    string   `json:"upn"`
		Roles  []string `json:"roles"`
		Scope  string   `json:"scp"`
		Serial int64    `json:"serial"`
	}
	if err := parsed.Claims(&s.keys.Signing.PublicKey, &c); err != nil {
		return nil, err
	}
	if len(c.Audience) != 1 || !slices.Contains(audiences, c.Audience[0]) || c.Expiry == nil {
		return nil, errors.New("the token is for another resource")
	}
	a := &Access{
		Provider: Microsoft, Audience: c.Audience[0], Tenant: c.Tenant, Client: c.App, Mailbox: c.UPN,
		Rights: append(c.Roles, words(c.Scope)...), expires: c.Expiry.Time(), serial: c.Serial,
	}
	return a, s.refused(a)
}
