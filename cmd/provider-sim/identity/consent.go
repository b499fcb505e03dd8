package identity

import (
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"postern/cmd/provider-sim/world"
)

// codeLife is how long a person may take.
const codeLife = 15 * time.Minute

// page offers the mailboxes there are; each is a person who consents.
var page = template.Must(template.New("consent").Parse(`<!doctype html>
<title>Sign in to the simulation</title>
<h1>{{.Client}} asks to send mail</h1>
<p>It asks for: {{.Scope}}</p>
<ul>{{range .As}}<li><a href="{{.Link}}">Consent as {{.Mailbox}}</a></li>{{end}}</ul>
{{with .Decline}}<p><a href="{{.}}">Decline</a></p>{{end}}
`))

type choice struct{ Link, Mailbox string }

// authorize is the authorization endpoint (RFC 6749, section 3.1) with PKCE (RFC
// 7636). The parameter "as" is whom the person at the browser chose to be.
func (s *Servers) authorize(provider string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		redirect, err := url.Parse(q.Get("redirect_uri"))
		if err != nil || !isLoopback(redirect) {
			http.Error(w, "redirect_uri must lead to 127.0.0.1, [::1] or localhost", http.StatusBadRequest)
			return
		}
		switch {
		case q.Get("response_type") != "code" || q.Get("client_id") == "":
			http.Error(w, "response_type must be code, and client_id be given", http.StatusBadRequest)
		case q.Get("code_challenge") != "" && q.Get("code_challenge_method") != "S256":
			http.Error(w, "code_challenge_method must be S256", http.StatusBadRequest)
		case q.Get("decline") != "":
			back(w, r, redirect, url.Values{"error": {"access_denied"}, "state": {q.Get("state")}})
		case q.Get("as") != "":
			p := pending{
				grant:     grant{client: q.Get("client_id"), mailbox: q.Get("as"), scope: q.Get("scope"), provider: provider},
				challenge: q.Get("code_challenge"), redirect: q.Get("redirect_uri"), offline: q.Get("access_type") == "offline",
			}
			back(w, r, redirect, url.Values{"code": {s.wait(p)}, "state": {q.Get("state")}})
		default:
			s.choose(w, r, provider, q.Get("client_id"), q.Get("scope"), q.Get("login_hint"))
		}
	}
}

func back(w http.ResponseWriter, r *http.Request, to *url.URL, more url.Values) {
	q := to.Query()
	for name, values := range more {
		q[name] = values
	}
	to.RawQuery = q.Encode()
	http.Redirect(w, r, to.String(), http.StatusFound)
}

func isLoopback(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// choose shows the page; a hint leaves only that mailbox.
func (s *Servers) choose(w http.ResponseWriter, r *http.Request, provider, client, scope, hint string) {
	link := func(name, value string) string {
		q := r.URL.Query()
		q.Set(name, value)
		return "?" + q.Encode()
	}
	var as []choice
	for _, m := range s.people(provider) {
		if hint == "" || strings.EqualFold(hint, m.Address) {
			as = append(as, choice{link("as", m.Address), m.Address})
		}
	}
	page.Execute(w, map[string]any{"Client": client, "Scope": scope, "As": as, "Decline": link("decline", "1")})
}

func (s *Servers) people(provider string) []world.Mailbox {
	if provider == Google {
		return s.w.Google.Mailboxes
	}
	var all []world.Mailbox
	for _, t := range s.w.Microsoft.Tenants {
		all = append(all, t.Mailboxes...)
	}
	return all
}

// wait keeps p until its code comes back.
func (s *Servers) wait(p pending) (code string) {
	code = "sim-code-" + secret()
	p.expires = time.Now().Add(codeLife)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.codes[code] = &p
	return code
}

// takeCode redeems an authorization code, once.
func (s *Servers) takeCode(r *http.Request, client string) (*pending, *oauthError) {
	code := r.PostFormValue("code")
	s.mu.Lock()
	p := s.codes[code]
	delete(s.codes, code)
	s.mu.Unlock()
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	switch {
	case p == nil || p.userCode != "" || time.Now().After(p.expires) || p.client != client:
		return nil, refuse(400, "invalid_grant", "The authorization code is not valid, was used before or has expired.")
	case p.redirect != r.PostFormValue("redirect_uri"):
		return nil, refuse(400, "invalid_grant", "The redirect_uri is not that of the authorization request.")
	case p.challenge != "" && base64.RawURLEncoding.EncodeToString(sum[:]) != p.challenge:
		return nil, refuse(400, "invalid_grant", "The code_verifier does not match the code_challenge of the authorization request.")
	}
	return p, nil
}

// microsoftDevice is the device authorization endpoint (RFC 8628).
func (s *Servers) microsoftDevice(w http.ResponseWriter, r *http.Request) {
	t, ok := s.tenant(r.PathValue("tenant"), r.PostFormValue("client_id"))
	i := slices.IndexFunc(t.Apps, func(a world.App) bool { return a.ClientID == r.PostFormValue("client_id") })
	if !ok || i < 0 || !t.Apps[i].Public {
		answer(w, 400, map[string]any{"error": "unauthorized_client", "error_description": "AADSTS700016: no public application of that client_id was found in the directory."})
		return
	}
	p := pending{grant: grant{client: r.PostFormValue("client_id"), scope: r.PostFormValue("scope"), provider: Microsoft}, userCode: strings.ToUpper(secret()[:9])}
	code := s.wait(p)
	verification := "http://" + r.Host + "/devicelogin"
	if r.TLS != nil {
		verification = "https://" + r.Host + "/devicelogin"
	}
	answer(w, http.StatusOK, map[string]any{
		"device_code": code, "user_code": p.userCode, "verification_uri": verification, "expires_in": int(codeLife.Seconds()), "interval": 5,
		"message": "To sign in, use a web browser to open the page " + verification + " and enter the code " + p.userCode + " to authenticate.",
	})
}

// deviceLogin is where a person enters the code of a device.
func (s *Servers) deviceLogin(w http.ResponseWriter, r *http.Request) {
	code := strings.ToUpper(strings.TrimSpace(r.FormValue("code")))
	p := s.device(code)
	switch {
	case p == nil:
		w.Write([]byte(`<!doctype html><title>Enter code</title><form><input name="code" placeholder="Code"><button>Next</button></form>`))
	case r.FormValue("as") == "" && r.FormValue("decline") == "":
		s.choose(w, r, Microsoft, p.client, p.scope, "")
	default:
		s.mu.Lock()
		p.mailbox, p.declined = r.FormValue("as"), r.FormValue("decline") != ""
		s.mu.Unlock()
		w.Write([]byte("You may close this page.\n"))
	}
}

// device is the request that shows this code to a person.
func (s *Servers) device(userCode string) *pending {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.codes {
		if userCode != "" && p.userCode == userCode {
			return p
		}
	}
	return nil
}

// pollInterval is how often a device may ask.
const pollInterval = time.Second

// poll answers a device that asks whether its person has consented.
func (s *Servers) poll(code, client string) (*pending, *oauthError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.codes[code]
	now := time.Now()
	switch {
	case p == nil || p.userCode == "" || p.client != client:
		return nil, refuse(400, "bad_verification_code", "AADSTS70019: The device code is not recognised.")
	case now.After(p.expires):
		return nil, refuse(400, "expired_token", "AADSTS70020: The device code has expired.")
	case p.declined:
		return nil, refuse(400, "authorization_declined", "AADSTS70021: The end user denied the authorization request.")
	case p.mailbox != "":
		delete(s.codes, code)
		return p, nil
	case now.Before(p.nextPoll):
		return nil, refuse(400, "slow_down", "AADSTS70022: Polling too often.")
	}
	p.nextPoll = now.Add(pollInterval)
	return nil, refuse(400, "authorization_pending", "AADSTS70016: OAuth 2.0 device flow error. Authorization is pending. Continue polling.")
}
