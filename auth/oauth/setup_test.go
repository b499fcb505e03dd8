package oauth_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postern/auth/oauth"
	"postern/metrics"
	"postern/relay/setting"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// secrets that no log and no error may show.
const (
	canarySecret  = "canary-secret-7a31"
	canaryRefresh = "canary-refresh-9d0c"
)

// provider is a token endpoint that answers as it is told.
type provider struct {
	t   *testing.T
	url string

	mu     sync.Mutex
	answer http.HandlerFunc
	asked  []url.Values
}

// newProvider answers each request with answer, whose form is parsed.
func newProvider(t *testing.T, answer http.HandlerFunc) *provider {
	p := &provider{t: t, answer: answer}
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	p.url = server.URL
	return p
}

// newQuietProvider has no network, so that it can be in a bubble of synctest:
// requests reach it by RoundTrip.
func newQuietProvider(t *testing.T, answer http.HandlerFunc) *provider {
	return &provider{t: t, answer: answer, url: "https://login.example.com"}
}

func (p *provider) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	if err := q.ParseForm(); err != nil {
		p.t.Error(err)
	}
	p.mu.Lock()
	p.asked = append(p.asked, q.PostForm)
	answer := p.answer
	p.mu.Unlock()
	answer(w, q)
}

// RoundTrip is the way to a provider without a network.
func (p *provider) RoundTrip(q *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	p.ServeHTTP(w, q)
	if err := q.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

func (p *provider) change(answer http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

func (p *provider) requests() []url.Values {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]url.Values(nil), p.asked...)
}

// says answers with a status and JSON.
func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// counting answers with access-1, access-2 and so on, and refresh tokens of the
// same number.
func counting(expiresIn string) http.HandlerFunc {
	var mu sync.Mutex
	n := 0
	return func(w http.ResponseWriter, q *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		n++
		says(200, fmt.Sprintf(`{"access_token":"access-%d","refresh_token":"refresh-%d","token_type":"Bearer","expires_in":%s}`, n, n, expiresIn))(w, q)
	}
}

// room is a Set with what is around it.
type room struct {
	*oauth.Set
	t   *testing.T
	dir string
	log *bytes.Buffer
	mu  *sync.Mutex
	o   oauth.Options
}

func (r *room) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Write(b)
}

func (r *room) logged() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.String()
}

// newRoom makes a Set of one credential, for the upstream m365.
func newRoom(t *testing.T, c oauth.Config) *room {
	r := &room{t: t, dir: t.TempDir(), log: new(bytes.Buffer), mu: new(sync.Mutex)}
	r.o = oauth.Options{DataDir: r.dir, Metrics: metrics.New("", ""), Log: slog.New(slog.NewTextHandler(r, nil))}
	r.Set = r.make(c, nil)
	t.Cleanup(func() {
		for _, secret := range []string{canarySecret, canaryRefresh} {
			if strings.Contains(r.logged(), secret) {
				t.Errorf("the log shows %s:\n%s", secret, r.logged())
			}
		}
	})
	return r
}

func (r *room) make(c oauth.Config, old *oauth.Set) *oauth.Set {
	r.t.Helper()
	c.Check(func(key, format string, args ...any) { r.t.Errorf("%s: %s", key, fmt.Sprintf(format, args...)) })
	s, err := oauth.New([]oauth.Credential{{Upstream: "m365", Mailbox: "relay@example.com", Config: c}}, r.o, old)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(s.Close)
	return s
}

// token is what is handed out.
func (r *room) token() (string, error) {
	return r.Tokens()["m365"].Token(r.t.Context())
}

func (r *room) mustToken(want string) {
	r.t.Helper()
	if got, err := r.token(); got != want || err != nil {
		r.t.Fatalf("the token is %q, %v; want %q", got, err, want)
	}
}

func (r *room) status() oauth.Status { return r.Status()[0] }

// watched runs the watch until the test ends.
func (r *room) watched() {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { r.Watch(ctx) })
	r.t.Cleanup(func() { cancel(); done.Wait() })
}

// app is a credential of the flow client_credentials.
func (p *provider) app() oauth.Config {
	return oauth.Config{Flow: oauth.ClientCredentials, ClientID: "postern", ClientSecret: setting.Plain(canarySecret),
		TokenURL: p.url + "/token", Scopes: []string{"smtp.send"}, ClientAuth: "post"}
}

// bearer is a credential of the flow refresh_token.
func (p *provider) bearer() oauth.Config {
	c := p.app()
	c.Flow, c.RefreshToken = oauth.RefreshToken, setting.Plain(canaryRefresh)
	return c
}

// device is a credential of the flow device, and a public client.
func (p *provider) device() oauth.Config {
	c := p.app()
	c.Flow, c.DeviceURL, c.ClientSecret, c.ClientAuth = oauth.Device, p.url+"/device", setting.Secret{}, ""
	return c
}

const minute, second = time.Minute, time.Second
