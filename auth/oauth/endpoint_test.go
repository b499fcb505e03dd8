package oauth_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"postern/auth/oauth"
)

// Each of these costs a sentence, and no more.
func TestBadEndpoints(t *testing.T) {
	long := strings.Repeat("a", 20<<10)
	for _, row := range []struct {
		name   string
		answer http.HandlerFunc
		want   string
	}{
		{"a page", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<!DOCTYPE html><title>Welcome") }, "answered with a web page"},
		{"a page with 503", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503); io.WriteString(w, "<html>") }, "answered 503 with a web page"},
		{"500 with nothing", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, "answered 500 with something that is not the JSON"},
		{"500 with a token", says(500, `{"access_token":"a","expires_in":1}`), "answered 500"},
		{"null", says(200, `null`), "not the JSON expected"},
		{"a list", says(200, `[]`), "not the JSON expected"},
		{"half of it", says(200, `{"access_token":"a`), "not the JSON expected"},
		{"no token", says(200, `{}`), "gave no token"},
		{"an empty token", says(200, `{"access_token":""}`), "gave no token"},
		{"a token that is a number", says(200, `{"access_token":7}`), "gave no token"},
		{"a token with a line end", says(200, `{"access_token":"a\r\nMAIL FROM:<>"}`), "characters that no token has"},
		{"a token with NUL", says(200, `{"access_token":"a\u0000"}`), "characters that no token has"},
		{"a token beyond any measure", says(200, `{"access_token":"`+long+`"}`), "more than 16 KiB"},
		{"another kind of token", says(200, `{"access_token":"a","token_type":"mac"}`), "another type than Bearer"},
		{"no time", says(200, `{"access_token":"a","expires_in":0}`), "has ended already"},
		{"time before", says(200, `{"access_token":"a","expires_in":"-1"}`), "has ended already"},
		{"time that is no number", says(200, `{"access_token":"a","expires_in":"soon"}`), "no number"},
		{"time that is not a number", says(200, `{"access_token":"a","expires_in":"NaN"}`), "has ended already"},
		{"time that is a list", says(200, `{"access_token":"a","expires_in":[1]}`), "no number"},
		{"an answer without end", func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := io.WriteString(w, strings.Repeat(" ", 1<<10)); err != nil {
					return
				}
			}
		}, "more than 256 KiB"},
		{"half an answer", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "{")
			panic(http.ErrAbortHandler)
		}, "EOF"},
		{"an error nobody knows", says(400, `{"error":"tea\npot","error_description":"\u001b[31mred\u202e"}`), "answered 400: tea: [31mred"},
		{"an error that repeats what was sent", func(w http.ResponseWriter, q *http.Request) {
			says(418, fmt.Sprintf(`{"error":"x","error_description":"%s %s"}`, strings.Repeat("y", 290), q.PostFormValue("client_secret")))(w, q)
		}, "<secret"},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := newRoom(t, newProvider(t, row.answer).app())
			_, err := r.token()
			if err == nil || !strings.Contains(err.Error(), row.want) || strings.ContainsFunc(err.Error(), func(c rune) bool { return c < ' ' }) {
				t.Errorf("the error is %q, want %q", err, row.want)
			}
			if s := r.status(); s.State != oauth.StateRefreshing || s.Hint == "" || s.Next.Before(time.Now()) {
				t.Errorf("%+v", s)
			}
			if err != nil && strings.Contains(err.Error(), canarySecret[:8]) {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
}

func TestARedirectGetsNothing(t *testing.T) {
	for _, status := range []int{301, 302, 307, 308} {
		elsewhere := newProvider(t, counting("3600"))
		p := newProvider(t, func(w http.ResponseWriter, q *http.Request) { http.Redirect(w, q, elsewhere.url+"/token", status) })
		r := newRoom(t, p.app())
		_, err := r.token()
		if err == nil || !strings.Contains(err.Error(), "redirects to "+strings.TrimPrefix(elsewhere.url, "http://")+", where nothing secret is sent") {
			t.Errorf("%d: %v", status, err)
		}
		if len(elsewhere.requests()) > 0 {
			t.Errorf("%d: credentials were sent elsewhere", status)
		}
	}
}

func TestAnEndpointOutOfReach(t *testing.T) {
	server := httptest.NewServer(nil)
	c := (&provider{url: server.URL}).app()
	server.Close()
	r := newRoom(t, c)
	if _, err := r.token(); err == nil || !strings.Contains(err.Error(), "connection refused") || strings.Contains(err.Error(), "Post") {
		t.Errorf("got %v", err)
	}
}

// What cannot be reached, or is no token endpoint, is mended in different places.
func TestWhereToLookWhenAnEndpointGivesNoAnswer(t *testing.T) {
	secured := httptest.NewTLSServer(says(200, `{}`))
	t.Cleanup(secured.Close)
	foreign := (&provider{url: secured.URL}).app()
	p := newProvider(t, nil)
	tenant := p.app()
	tenant.Tenant, tenant.TokenURL = "example.com", p.url+"/{tenant}/token"
	for _, row := range []struct {
		name    string
		config  oauth.Config
		answer  http.HandlerFunc
		through http.RoundTripper
		want    string
	}{
		{"a page that is not there", tenant, func(w http.ResponseWriter, q *http.Request) { http.NotFound(w, q) }, nil, "check tenant, token_url of upstream m365: "},
		{"plain HTTP where there is TLS", p.app(), func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(400); io.WriteString(w, "Client sent") }, nil, "check token_url of upstream m365: "},
		{"a redirect", p.app(), func(w http.ResponseWriter, q *http.Request) {
			http.Redirect(w, q, "https://example.com/", http.StatusFound)
		}, nil, "check token_url of upstream m365: "},
		{"too many requests", p.app(), func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) }, nil, "provider's status page"},
		{"trouble", p.app(), func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) }, nil, "provider's status page"},
		{"a foreign certificate", foreign, nil, nil, "oauth.ca of upstream m365"},
		{"a name that nobody has", p.app(), nil, failing{&net.DNSError{IsNotFound: true}}, "token_url of upstream m365, and the DNS"},
		{"nobody at the other end", p.app(), nil, failing{syscall.ECONNREFUSED}, "HTTPS_PROXY"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p.change(row.answer)
			r := newRoom(t, row.config)
			if row.through != nil {
				r.Through(row.through)
			}
			_, err := r.token()
			if s := r.status(); err == nil || s.State != oauth.StateRefreshing || !strings.HasPrefix(s.Hint, "it is tried again") || !strings.Contains(s.Hint, row.want) {
				t.Errorf("%v: the hint is %q, want %q", err, s.Hint, row.want)
			}
		})
	}
}

// failing is a network where every request ends the same.
type failing struct{ error }

func (f failing) RoundTrip(*http.Request) (*http.Response, error) { return nil, f.error }

func TestWhatProvidersSayInPlainWords(t *testing.T) {
	const traces = `\r\nTrace ID: 11-22\r\nCorrelation ID: 33`
	p := newProvider(t, nil)
	for _, row := range []struct {
		config      oauth.Config
		status      int
		code, text  string
		state       oauth.State
		says, hints string
	}{
		{p.bearer(), 400, "invalid_grant", "AADSTS700082: The refresh token has expired." + traces, oauth.StateNeedsConsent, "not used for 90 days", "get a new refresh token"},
		{p.bearer(), 400, "invalid_grant", "Token has been expired or revoked.", oauth.StateNeedsConsent, "older than 7 days", "postern login m365"},
		{p.bearer(), 400, "interaction_required", "AADSTS50076: MFA", oauth.StateNeedsConsent, "second factor", "refresh token"},
		{p.bearer(), 400, "interaction_required", "AADSTS53003: blocked", oauth.StateNeedsConsent, "Conditional Access", "administrator"},
		{p.app(), 401, "invalid_client", "AADSTS7000215: Invalid client secret provided." + traces, oauth.StateMisconfigured, "the client secret is wrong", "not its id"},
		{p.app(), 401, "invalid_client", "AADSTS7000222: expired", oauth.StateMisconfigured, "has expired", "make a new secret"},
		{p.app(), 401, "invalid_client", "", oauth.StateMisconfigured, "invalid_client", "check client_id and client_secret"},
		{p.app(), 400, "unauthorized_client", "AADSTS700016: Application not found", oauth.StateMisconfigured, "does not know the app", "tenant"},
		{p.app(), 400, "consent_required", "AADSTS90094: admin", oauth.StateNeedsConsent, "administrator has to consent", "API permissions"},
		{p.app(), 400, "invalid_grant", "", oauth.StateMisconfigured, "invalid_grant", "check the section oauth"},
		{p.app(), 400, "invalid_scope", "", oauth.StateMisconfigured, "invalid_scope", "check the scopes"},
		{p.app(), 503, "invalid_client", "", oauth.StateRefreshing, "503", "tried again"},
		{p.app(), 400, "temporarily_unavailable", "", oauth.StateRefreshing, "temporarily_unavailable", "tried again"},
	} {
		p.change(says(row.status, fmt.Sprintf(`{"error":%q,"error_description":"%s"}`, row.code, row.text)))
		r := newRoom(t, row.config)
		_, err := r.token()
		s := r.status()
		if err == nil || s.State != row.state || !strings.Contains(s.Reason, row.says) || !strings.Contains(s.Hint, row.hints) || strings.Contains(s.Reason, "Trace") {
			t.Errorf("%s %q: %v, %+v", row.code, row.text, err, s)
		}
		if row.state != oauth.StateRefreshing && strings.Count(r.logged(), "level=ERROR") != 1 {
			t.Errorf("%s: the log is %s", row.code, r.logged())
		}
	}
}
