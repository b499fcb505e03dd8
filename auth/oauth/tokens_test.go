package oauth_test

import (
	"context"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postern/auth/oauth"
	"postern/relay/setting"
	"postern/relay/upstream/transport"
)

var _ transport.Tokens = new(oauth.Tokens)
var _ transport.Lasting = new(oauth.Fault)

func TestManyWhoWantATokenAskOnce(t *testing.T) {
	asked, go_on := make(chan struct{}), make(chan struct{})
	answer := counting("3600")
	p := newProvider(t, func(w http.ResponseWriter, q *http.Request) {
		asked <- struct{}{}
		<-go_on
		answer(w, q)
	})
	r := newRoom(t, p.app())
	impatient, leave := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, err := r.Tokens()["m365"].Token(impatient)
		gone <- err
	}()
	<-asked
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { r.mustToken("access-1") })
	}
	leave() // who began it goes away
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("who went away got %v", err)
	}
	close(go_on)
	all.Wait()
	if n := len(p.requests()); n != 1 {
		t.Errorf("%d requests", n)
	}
	form := p.requests()[0]
	if form.Get("grant_type") != "client_credentials" || form.Get("scope") != "smtp.send" || form.Get("client_secret") != canarySecret {
		t.Errorf("the request was %v", form)
	}
}

func TestARotatedRefreshTokenOutlivesARestart(t *testing.T) {
	p := newProvider(t, counting("3600"))
	r := newRoom(t, p.bearer())
	r.mustToken("access-1")
	// Nothing was closed: this is what a power cut leaves.
	again := *r
	again.Set = r.make(p.bearer(), nil)
	again.mustToken("access-2")
	for i, want := range []string{canaryRefresh, "refresh-1"} {
		if got := p.requests()[i].Get("refresh_token"); got != want {
			t.Errorf("request %d had the refresh token %q, want %q", i+1, got, want)
		}
	}
	for _, name := range []string{"tokens/m365", "tokens.key"} {
		info, err := os.Stat(filepath.Join(r.dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	// Another first token in the configuration is newer than what is kept.
	other := p.bearer()
	other.RefreshToken = setting.Plain("written-anew")
	again.Set = r.make(other, nil)
	again.mustToken("access-3")
	if got := p.requests()[2].Get("refresh_token"); got != "written-anew" {
		t.Errorf("the refresh token sent is %q", got)
	}
}

func TestARefreshTokenIsKeptWhateverElseIsWrong(t *testing.T) {
	p := newProvider(t, says(200, `{"access_token":"","refresh_token":"refresh-1","expires_in":0}`))
	r := newRoom(t, p.bearer())
	if _, err := r.token(); err == nil || !strings.Contains(err.Error(), "gave no token") {
		t.Fatal(err)
	}
	p.change(counting("3600"))
	r.Set = r.make(p.bearer(), nil)
	r.mustToken("access-1")
	if got := p.requests()[1].Get("refresh_token"); got != "refresh-1" {
		t.Errorf("the refresh token sent is %q", got)
	}
}

func TestARefreshTokenThatCannotBeStoredIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newQuietProvider(t, counting("3600"))
		r := newRoom(t, p.bearer())
		r.Through(p)
		inTheWay := filepath.Join(r.dir, "tokens")
		if err := os.Symlink(filepath.Join(r.dir, "nowhere"), inTheWay); err != nil {
			t.Fatal(err)
		}
		r.mustToken("access-1")
		if !strings.Contains(r.logged(), "cannot be stored, and would be lost by a restart") {
			t.Errorf("the log is %s", r.logged())
		}
		r.watched()
		time.Sleep(51 * minute) // the next refresh uses what is in memory
		synctest.Wait()
		if got := p.requests()[1].Get("refresh_token"); got != "refresh-1" {
			t.Errorf("the refresh token sent is %q", got)
		}
		if err := os.Remove(inTheWay); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * minute)
		synctest.Wait()
		if !strings.Contains(r.logged(), "the new refresh token is stored") {
			t.Errorf("the log is %s", r.logged())
		}
		r.Set = r.make(p.bearer(), nil)
		r.Through(p)
		r.mustToken("access-3")
		if got := p.requests()[2].Get("refresh_token"); got != "refresh-2" {
			t.Errorf("the refresh token sent is %q", got)
		}
	})
}

func TestARefreshTokenUnderAnotherKeyIsLeftAlone(t *testing.T) {
	p := newProvider(t, counting("3600"))
	r := newRoom(t, p.device())
	if _, err := r.Keep(t.Context(), "m365", canaryRefresh); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(r.dir, "tokens", "m365")
	before, err := os.ReadFile(file)
	if err != nil || strings.Contains(string(before), "refresh") {
		t.Fatalf("%v: %q", err, before)
	}
	r.o.Key = setting.Plain("another key of more than 32 characters")
	r.Set = r.make(p.device(), nil)
	_, err = r.token()
	if err == nil || !strings.Contains(err.Error(), file+" cannot be opened with the key there is") || r.status().State != oauth.StateMisconfigured {
		t.Errorf("%v, %v", err, r.status())
	}
	if _, err := r.Keep(t.Context(), "m365", "newer"); err == nil || !strings.Contains(err.Error(), "cannot be opened") {
		t.Errorf("a new token was kept in the place of the old: %v", err)
	}
	if after, err := os.ReadFile(file); err != nil || string(after) != string(before) {
		t.Errorf("the file was changed, %v", err)
	}
	// The name is bound too: a file under another name is not that of another upstream.
	r.o.Key = setting.Secret{}
	if err := os.Rename(file, filepath.Join(r.dir, "tokens", "gmail")); err != nil {
		t.Fatal(err)
	}
	s, err := oauth.New([]oauth.Credential{{Upstream: "gmail", Config: p.device()}}, r.o, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Tokens()["gmail"].Token(t.Context()); err == nil || !strings.Contains(err.Error(), "cannot be opened") {
		t.Errorf("got %v", err)
	}
}

func TestARefreshTokenIsSentOnlyWhereItIsFrom(t *testing.T) {
	p, foreign := newProvider(t, counting("3600")), newProvider(t, counting("3600"))
	r := newRoom(t, p.device())
	if _, err := r.Keep(t.Context(), "m365", canaryRefresh); err != nil {
		t.Fatal(err)
	}
	r.Set = r.make(foreign.device(), r.Set)
	if _, err := r.token(); err == nil || !strings.Contains(err.Error(), "another client_id or token_url") || r.status().State != oauth.StateNeedsConsent {
		t.Errorf("%v, %v", err, r.status())
	}
	if n := len(foreign.requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
}

func TestTokensAreRefreshedWhileNobodyAsks(t *testing.T) {
	for _, row := range []struct {
		name      string
		expiresIn string
		after     time.Duration
	}{
		{"ten minutes before the end", "3600", 50 * minute},
		{"at four fifths of a short life", "600", 8 * minute},
		{"of one that says no life, as if it were ten minutes", "null", 8 * minute},
		{"written as a string", `"3600"`, 50 * minute},
		{"of one that lives for a year, each day", "31536000", 24*time.Hour - 10*minute},
		{"of one that lives a second, no more than twice a minute", "1", 30 * second},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newQuietProvider(t, counting(row.expiresIn))
				r := newRoom(t, p.app())
				r.Through(p)
				r.watched()
				synctest.Wait()
				for n := 1; n <= 3; n++ {
					if got := len(p.requests()); got != n {
						t.Fatalf("%d requests, want %d", got, n)
					}
					time.Sleep(row.after - second)
					synctest.Wait()
					if got := len(p.requests()); got != n {
						t.Fatalf("%d requests a second early, want %d", got, n)
					}
					time.Sleep(second)
					synctest.Wait()
				}
			})
		})
	}
}

func TestNoFailureDiscardsATokenThatLives(t *testing.T) {
	failures := map[string]http.HandlerFunc{
		"the connection breaks":  func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"500":                    says(500, `{"error":"server_error"}`),
		"a page":                 func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>")) },
		"429":                    says(429, `{"error":"invalid_grant"}`),
		"an error nobody knows":  says(400, `{"error":"teapot"}`),
		"the consent has ended":  says(400, `{"error":"invalid_grant"}`),
		"the secret has expired": says(401, `{"error":"invalid_client"}`),
		"a redirect": func(w http.ResponseWriter, q *http.Request) {
			http.Redirect(w, q, "https://evil.example/", http.StatusTemporaryRedirect)
		},
		"an empty token": says(200, `{"access_token":"","expires_in":3600}`),
		"no time left":   says(200, `{"access_token":"x","expires_in":-5}`),
	}
	for name, failure := range failures {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newQuietProvider(t, counting("3600"))
				r := newRoom(t, p.bearer())
				r.Through(recovering{p})
				r.watched()
				synctest.Wait()
				p.change(failure)
				time.Sleep(55 * minute)
				synctest.Wait()
				if n := len(p.requests()); n < 2 || n > 7 {
					t.Errorf("%d requests in 5 minutes", n)
				}
				r.mustToken("access-1")
				if r.status().Reason == "" {
					t.Error("the status does not say what is wrong")
				}
				time.Sleep(5*minute - 5*time.Second)
				synctest.Wait()
				if _, err := r.token(); err == nil {
					t.Error("a token is handed out that ends on its way")
				}
				before := len(p.requests())
				for range 100 {
					r.token()
				}
				if n := len(p.requests()) - before; n > 1 {
					t.Errorf("%d requests for 100 messages at one moment", n)
				}
				p.change(counting("3600"))
				time.Sleep(15*minute + 5*time.Second)
				synctest.Wait()
				r.mustToken("access-1")
				if s := r.status(); s.State != oauth.StateOK || s.Reason != "" {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

// recovering turns a panic of the provider into a connection that breaks.
type recovering struct{ *provider }

func (p recovering) RoundTrip(q *http.Request) (r *http.Response, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("connection reset by peer")
		}
	}()
	return p.provider.RoundTrip(q)
}

func TestAProviderThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newQuietProvider(t, func(_ http.ResponseWriter, q *http.Request) { <-q.Context().Done() })
		r := newRoom(t, p.app())
		r.Through(p)
		began := time.Now()
		if _, err := r.token(); err == nil || !strings.Contains(err.Error(), "no answer within 30s") || time.Since(began) != 30*second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestRetryAfterIsHeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newQuietProvider(t, func(w http.ResponseWriter, q *http.Request) {
			w.Header().Set("Retry-After", "1200")
			says(429, `{}`)(w, q)
		})
		r := newRoom(t, p.app())
		r.Through(p)
		r.watched()
		time.Sleep(20*minute - second)
		synctest.Wait()
		if n := len(p.requests()); n != 1 {
			t.Errorf("%d requests within the time asked to wait", n)
		}
		time.Sleep(2 * second)
		synctest.Wait()
		if n := len(p.requests()); n != 2 {
			t.Errorf("%d requests after it", n)
		}
	})
}

func TestARejectedTokenIsReplacedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newQuietProvider(t, counting("3600"))
		r := newRoom(t, p.app())
		r.Through(p)
		r.mustToken("access-1")
		tokens := r.Tokens()["m365"]
		tokens.Reject("of another time")
		r.mustToken("access-1")
		tokens.Reject("access-1")
		r.mustToken("access-2")
		tokens.Reject("access-2")
		if _, err := r.token(); err == nil || !strings.Contains(err.Error(), "refuses new tokens too") {
			t.Errorf("got %v", err)
		}
		time.Sleep(minute)
		r.mustToken("access-3")
		time.Sleep(2 * minute)
		tokens.Reject("access-3")
		r.mustToken("access-4")
	})
}

func TestAReloadKeepsTokensAndEndsPauses(t *testing.T) {
	p := newProvider(t, counting("3600"))
	r := newRoom(t, p.app())
	r.mustToken("access-1")
	r.Set = r.make(p.app(), r.Set)
	r.mustToken("access-1")
	changed := p.app()
	changed.Scopes = []string{"other"}
	r.Set = r.make(changed, r.Set)
	r.mustToken("access-2")

	p.change(says(401, `{"error":"invalid_client"}`))
	changed.Scopes = []string{"third"}
	r.Set = r.make(changed, r.Set)
	if _, err := r.token(); err == nil {
		t.Fatal("no error")
	}
	p.change(counting("60"))
	r.Set = r.make(changed, r.Set)
	if _, err := r.token(); err == nil {
		t.Fatal("the pause was over before the new configuration counted")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.Watch(ctx) // it counts now
	r.mustToken("access-1")
}

func TestAReloadTakesAnotherCAOfTheSameName(t *testing.T) {
	server := httptest.NewTLSServer(counting("3600"))
	t.Cleanup(server.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	write := func(certificate []byte) {
		t.Helper()
		if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, key := newKeys(t)
	_, _, foreign := writePair(t, key, time.Now().Add(time.Hour))
	write(foreign)
	c := (&provider{url: server.URL}).app()
	c.CA = ca
	r := newRoom(t, c)
	if _, err := r.token(); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Fatalf("got %v", err)
	}
	write(server.Certificate().Raw)
	r.Set = r.make(c, r.Set)
	r.mustToken("access-1")
}

func TestNewConsentIsNotUndoneByARefreshUnderWay(t *testing.T) {
	asked, goOn := make(chan struct{}), make(chan struct{})
	p := newProvider(t, func(w http.ResponseWriter, q *http.Request) {
		asked <- struct{}{}
		<-goOn
		says(400, `{"error":"invalid_client"}`)(w, q)
	})
	r := newRoom(t, p.app())
	late := make(chan error)
	go func() {
		_, err := r.token()
		late <- err
	}()
	<-asked
	p.change(counting("3600"))
	r.Tokens()["m365"].Renew()
	r.mustToken("access-1")
	close(goOn)
	if err := <-late; err == nil {
		t.Error("the refresh before has no error")
	}
	if s := r.status(); s.State != oauth.StateOK || s.Reason != "" {
		t.Errorf("%+v", s)
	}
}

func TestWhatEndsSoonIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // it begins on 2000-01-01
		p := newQuietProvider(t, counting("3600"))
		c := p.app()
		c.ClientSecretExpires = day(t, "2000-02-10")
		r := newRoom(t, c)
		r.Through(p)
		r.watched()
		for _, row := range []struct {
			after time.Duration
			lines int
		}{{0, 0}, {10 * 24 * time.Hour, 0}, {24 * time.Hour, 1}, {24 * time.Hour, 2}} {
			time.Sleep(row.after)
			synctest.Wait()
			if n := strings.Count(r.logged(), "credential ends soon"); n != row.lines {
				t.Errorf("%d warnings on %s, want %d", n, time.Now().UTC().Format(time.DateOnly), row.lines)
			}
		}
		time.Sleep(29 * 24 * time.Hour)
		synctest.Wait()
		if n := strings.Count(r.logged(), "credential has ended"); n != 1 {
			t.Errorf("%d lines say that it has ended on %s, want 1", n, time.Now().UTC().Format(time.DateOnly))
		}
		if s := r.status(); s.SecretExpires.Format(time.RFC3339) != "2000-02-10T23:59:59Z" {
			t.Errorf("%+v", s)
		}
	})
}
