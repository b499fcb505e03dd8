//go:build linux

package main_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// signed is a JWT by RS256, or PS256 when that is in the header.
func signed(t *testing.T, key *rsa.PrivateKey, header, claims map[string]any) string {
	t.Helper()
	part := func(m map[string]any) string {
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	text := part(header) + "." + part(claims)
	sum := sha256.Sum256([]byte(text))
	var signature []byte
	var err error
	if header["alg"] == "PS256" {
		signature, err = rsa.SignPSS(rand.Reader, key, crypto.SHA256, sum[:], nil)
	} else {
		signature, err = rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	}
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func (s *sim) rsaKey(pemText []byte) *rsa.PrivateKey {
	s.t.Helper()
	block, _ := pem.Decode(pemText)
	if block == nil {
		s.t.Fatal("no PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		s.t.Fatal(err)
	}
	return key.(*rsa.PrivateKey)
}

func (s *sim) file(name string) []byte {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.t.Fatal(err)
	}
	return text
}

// serviceGrant asks for a token of a service account; change makes it another request.
func (s *sim) serviceGrant(subject, scope string, change func(claims map[string]any)) answer {
	s.t.Helper()
	var account map[string]string
	if err := json.Unmarshal(s.file("google-relay.json"), &account); err != nil {
		s.t.Fatal(err)
	}
	now := time.Now().Unix()
	claims := map[string]any{"iss": account["client_email"], "sub": subject, "scope": scope, "aud": "https://oauth2.googleapis.com/token", "iat": now, "exp": now + 3600}
	if change != nil {
		change(claims)
	}
	assertion := signed(s.t, s.rsaKey([]byte(account["private_key"])), map[string]any{"alg": "RS256", "typ": "JWT", "kid": account["private_key_id"]}, claims)
	return s.google(url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {assertion}})
}

func (s *sim) google(form url.Values) answer {
	s.t.Helper()
	return s.http("POST", "https://"+s.address["google-login"]+"/token", map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, form.Encode())
}

func (s *sim) serviceToken(subject, scope string) string {
	s.t.Helper()
	a := s.serviceGrant(subject, scope, nil)
	token, _ := a.json(s.t)["access_token"].(string)
	if token == "" {
		s.t.Fatalf("no token: %d %s", a.Status, a.Body)
	}
	return token
}

func TestMicrosoftRefusesTokens(t *testing.T) {
	s := startSim(t, "1m", "")
	for _, c := range []struct {
		does, tenant string
		form         url.Values
		status       int
		want         []string
	}{
		{"an unknown tenant", "nowhere.example", url.Values{}, 400, []string{"invalid_request", "AADSTS90002"}},
		{"an unknown app", tenant, url.Values{"client_id": {"nobody"}}, 400, []string{"unauthorized_client", "AADSTS700016"}},
		{"no secret", tenant, url.Values{"client_id": {gateway}}, 401, []string{"invalid_client", "AADSTS7000218"}},
		{"a wrong secret", tenant, url.Values{"client_id": {gateway}, "client_secret": {"no"}}, 401, []string{"invalid_client", "AADSTS7000215"}},
		{"a delegated scope for an app", tenant, url.Values{"client_id": {gateway}, "client_secret": {secret}, "scope": {"https://outlook.office.com/SMTP.Send"}}, 400, []string{"invalid_scope", "AADSTS1002012"}},
		{"an unknown resource", tenant, url.Values{"client_id": {gateway}, "client_secret": {secret}, "scope": {"https://elsewhere.example/.default"}}, 400, []string{"invalid_resource", "AADSTS500011"}},
		{"an assertion of another key", tenant, url.Values{"client_id": {gateway}, "client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_assertion": {"a.b.c"}}, 401, []string{"invalid_client", "AADSTS700027"}},
	} {
		t.Run(c.does, func(t *testing.T) {
			c.form.Set("grant_type", "client_credentials")
			a := s.microsoft(c.tenant, "token", c.form)
			if a.Status != c.status {
				t.Errorf("status %d, want %d", a.Status, c.status)
			}
			must(t, a.Body, c.want...)
		})
	}
}

func TestMicrosoftCertificate(t *testing.T) {
	s := startSim(t, "1m", "")
	block, _ := pem.Decode(s.file("app.crt"))
	thumbprint := sha256.Sum256(block.Bytes)
	key := s.rsaKey(s.file("app.key"))
	now := time.Now().Unix()
	grant := func(algorithm string, change func(header, claims map[string]any)) answer {
		header := map[string]any{"alg": algorithm, "typ": "JWT", "x5t#S256": base64.RawURLEncoding.EncodeToString(thumbprint[:])}
		claims := map[string]any{"iss": gateway, "sub": gateway, "jti": "1", "nbf": now, "exp": now + 300,
			"aud": "https://login.microsoftonline.com/" + tenant + "/oauth2/v2.0/token"}
		change(header, claims)
		return s.microsoft(tenant, "token", url.Values{"grant_type": {"client_credentials"}, "client_id": {gateway}, "scope": {exchange},
			"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_assertion": {signed(t, key, header, claims)}})
	}
	for _, algorithm := range []string{"RS256", "PS256"} {
		if a := grant(algorithm, func(_, _ map[string]any) {}); a.Status != 200 {
			t.Errorf("%s: %d %s", algorithm, a.Status, a.Body)
		}
	}
	for is, change := range map[string]func(header, claims map[string]any){
		"without a thumbprint": func(header, _ map[string]any) { delete(header, "x5t#S256") },
		"of another issuer":    func(_, claims map[string]any) { claims["iss"] = "other" },
		"for another endpoint": func(_, claims map[string]any) { claims["aud"] = "https://elsewhere.example/token" },
		"that lives too long":  func(_, claims map[string]any) { claims["exp"] = now + 7200 },
		"that has expired":     func(_, claims map[string]any) { claims["exp"] = now - 7200 },
		"without a jti":        func(_, claims map[string]any) { delete(claims, "jti") },
	} {
		if a := grant("PS256", change); a.Status != 401 || !strings.Contains(a.Body, "AADSTS700027") {
			t.Errorf("an assertion %s: %d %s", is, a.Status, a.Body)
		}
	}
}

func TestMicrosoftDeviceCode(t *testing.T) {
	s := startSim(t, "1m", "")
	scope := "https://outlook.office.com/SMTP.Send offline_access"
	if a := s.microsoft(tenant, "devicecode", url.Values{"client_id": {gateway}, "scope": {scope}}); a.Status != 400 {
		t.Errorf("an app with a secret got a device code: %s", a.Body)
	}
	begun := s.microsoft(tenant, "devicecode", url.Values{"client_id": {publicApp}, "scope": {scope}}).json(t)
	poll := func() answer {
		return s.microsoft(tenant, "token", url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "client_id": {publicApp}, "device_code": {begun["device_code"].(string)}})
	}
	must(t, poll().Body, "authorization_pending")
	s.http("GET", begun["verification_uri"].(string)+"?code="+begun["user_code"].(string)+"&as=relay@example.com", nil, "")
	first := poll().json(t)
	must(t, s.smtp("microsoft-smtp", map[string]any{"mechanism": "XOAUTH2", "user": "relay@example.com", "secret": first["access_token"]}), "auth 235")
	must(t, s.smtp("microsoft-smtp", map[string]any{"mechanism": "XOAUTH2", "user": "second@example.com", "secret": first["access_token"]}), "auth 235") // relay is a delegate
	must(t, s.smtp("microsoft-smtp", map[string]any{"mechanism": "XOAUTH2", "user": "full@example.com", "secret": first["access_token"]}), "auth 535 5.7.3")
	s.mustRotate(first["refresh_token"].(string))
}

// mustRotate uses a refresh token, and then once more, which is refused.
func (s *sim) mustRotate(token string) {
	s.t.Helper()
	refresh := func(token string) answer {
		return s.microsoft(tenant, "token", url.Values{"grant_type": {"refresh_token"}, "client_id": {publicApp}, "refresh_token": {token}})
	}
	second := refresh(token)
	rotated, _ := second.json(s.t)["refresh_token"].(string)
	if rotated == "" || rotated == token {
		s.t.Fatalf("no new refresh token: %d %s", second.Status, second.Body)
	}
	must(s.t, refresh(token).Body, `"error":"invalid_grant"`)
	if a := refresh(rotated); a.Status != 200 {
		s.t.Errorf("the new refresh token is refused: %s", a.Body)
	}
	s.control("POST", "/tokens/microsoft/revoke", "", nil)
	must(s.t, refresh(rotated).Body, `"error":"invalid_grant"`)
}

// consent walks through the authorization endpoint as the person "as".
func (s *sim) consent(endpoint, client, scope, as, verifier string) (code string) {
	s.t.Helper()
	sum := sha256.Sum256([]byte(verifier))
	q := url.Values{"response_type": {"code"}, "client_id": {client}, "scope": {scope}, "redirect_uri": {"http://127.0.0.1:9/back"}, "state": {"xyz"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"}, "access_type": {"offline"}}
	page := s.http("GET", endpoint+"?"+q.Encode(), nil, "")
	must(s.t, page.Body, "Consent as "+as)
	q.Set("as", as)
	back, err := url.Parse(s.http("GET", endpoint+"?"+q.Encode(), nil, "").Headers["Location"])
	if err != nil || back.Query().Get("state") != "xyz" || back.Host != "127.0.0.1:9" {
		s.t.Fatalf("sent back to %v: %v", back, err)
	}
	return back.Query().Get("code")
}

func TestMicrosoftAuthorizationCode(t *testing.T) {
	s := startSim(t, "1m", "")
	endpoint := "https://" + s.address["microsoft-login"] + "/" + tenant + "/oauth2/v2.0/authorize"
	redeem := func(code, verifier string) answer {
		return s.microsoft(tenant, "token", url.Values{"grant_type": {"authorization_code"}, "client_id": {publicApp}, "code": {code},
			"redirect_uri": {"http://127.0.0.1:9/back"}, "code_verifier": {verifier}})
	}
	scope := "https://outlook.office.com/SMTP.Send offline_access"
	must(t, redeem(s.consent(endpoint, publicApp, scope, "relay@example.com", "right"), "wrong").Body, "invalid_grant", "code_verifier")
	code := s.consent(endpoint, publicApp, scope, "relay@example.com", "right")
	a := redeem(code, "right")
	if a.json(t)["refresh_token"] == nil {
		t.Errorf("no refresh token: %s", a.Body)
	}
	must(t, redeem(code, "right").Body, "invalid_grant")
	mixed := s.consent(endpoint, publicApp, "https://outlook.office.com/SMTP.Send https://graph.microsoft.com/Mail.Send", "relay@example.com", "right")
	must(t, redeem(mixed, "right").Body, "invalid_scope", "AADSTS70011")
}

func TestGoogleTokens(t *testing.T) {
	s := startSim(t, "1m", "")
	for does, c := range map[string]struct {
		subject, scope string
		change         func(map[string]any)
		want           []string
	}{
		"acts for nobody there":   {"gone@workspace.example", "https://mail.google.com/", nil, []string{"invalid_grant", "Invalid email or User ID"}},
		"acts in another domain":  {"relay@elsewhere.example", "https://mail.google.com/", nil, []string{"unauthorized_client"}},
		"asks for another scope":  {"relay@workspace.example", "https://www.googleapis.com/auth/drive", nil, []string{"unauthorized_client"}},
		"has a wrong clock":       {"relay@workspace.example", "https://mail.google.com/", func(c map[string]any) { c["iat"] = 1; c["exp"] = 3601 }, []string{"invalid_grant", "timeframe"}},
		"is for another audience": {"relay@workspace.example", "https://mail.google.com/", func(c map[string]any) { c["aud"] = "https://elsewhere.example/" }, []string{"invalid_grant", "audience"}},
		"is of another issuer":    {"relay@workspace.example", "https://mail.google.com/", func(c map[string]any) { c["iss"] = "a@b" }, []string{"invalid_grant", "account not found"}},
	} {
		t.Run(does, func(t *testing.T) { must(t, s.serviceGrant(c.subject, c.scope, c.change).Body, c.want...) })
	}
	client := url.Values{"client_id": {"desktop.apps.googleusercontent.com"}, "client_secret": {"sim-google-secret"}}
	code := s.consent("https://"+s.address["google-login"]+"/o/oauth2/v2/auth", client.Get("client_id"), "https://mail.google.com/", "relay@workspace.example", "v")
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {"http://127.0.0.1:9/back"}, "code_verifier": {"v"}}
	for name, value := range client {
		form[name] = value
	}
	refresh, _ := s.google(form).json(t)["refresh_token"].(string)
	form = url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}, "client_id": client["client_id"], "client_secret": client["client_secret"]}
	for range 2 { // Google does not rotate
		token, _ := s.google(form).json(t)["access_token"].(string)
		must(t, s.smtp("gmail-smtp", map[string]any{"mechanism": "XOAUTH2", "user": "relay@workspace.example", "secret": token}), "auth 235")
	}
	s.control("POST", "/tokens/google/revoke", "", nil)
	must(t, s.google(form).Body, "invalid_grant", "Token has been expired or revoked.")
	form.Set("client_secret", "wrong")
	must(t, s.google(form).Body, "invalid_client")
	device := s.http("POST", "https://"+s.address["google-login"]+"/device/code", map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, "scope=https://mail.google.com/")
	must(t, device.Body, "invalid_scope", "Invalid device flow scope: https://mail.google.com/")
}
