package oauth_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/auth/oauth"
)

// devices answers the device endpoint with a code, and polls in turn with codes of
// errors, at last with a token.
func devices(t *testing.T, polls ...string) (p *provider, when *[]time.Duration) {
	when = new([]time.Duration)
	var last time.Time
	p = newQuietProvider(t, func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/device" {
			last = time.Now()
			says(200, `{"device_code":"dev","user_code":"ABCD-EFGH","verification_uri":"https://login.example.com/device","expires_in":900,"interval":5}`)(w, q)
			return
		}
		*when = append(*when, time.Since(last))
		last = time.Now()
		if len(polls) == 0 {
			says(200, `{"access_token":"a","refresh_token":"`+canaryRefresh+`","expires_in":3600}`)(w, q)
			return
		}
		now := polls[0]
		polls = polls[1:]
		if now == "" {
			says(502, "<html>")(w, q)
			return
		}
		says(400, `{"error":"`+now+`"}`)(w, q)
	})
	return p, when
}

func TestLoginByDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, when := devices(t, "authorization_pending", "slow_down", "", "authorization_pending")
		r := newRoom(t, p.device())
		r.Through(p)
		login, err := r.Login("m365")
		if err != nil {
			t.Fatal(err)
		}
		code, err := login.Device(t.Context())
		if err != nil || code.Code != "ABCD-EFGH" || code.URL != "https://login.example.com/device" {
			t.Fatal(code, err)
		}
		token, err := login.Await(t.Context(), code)
		if token != canaryRefresh || err != nil {
			t.Errorf("the refresh token is %q, %v", token, err)
		}
		want := []time.Duration{5 * second, 5 * second, 10 * second, 10 * second, 10 * second}
		for i, pause := range *when {
			if pause != want[i] {
				t.Errorf("poll %d came after %v, want %v", i+1, pause, want[i])
			}
		}
		p.change(counting("3600"))
		s, err := r.Keep(t.Context(), "m365", token)
		if err != nil || s.State != oauth.StateOK {
			t.Errorf("%+v, %v", s, err)
		}
	})
}

func TestLoginByDeviceThatFails(t *testing.T) {
	for poll, want := range map[string]string{
		"access_denied":          "has declined",
		"authorization_declined": "has declined",
		"expired_token":          "begin anew",
		"invalid_client":         "check client_id",
	} {
		synctest.Test(t, func(t *testing.T) {
			p, _ := devices(t, poll)
			r := newRoom(t, p.device())
			r.Through(p)
			login, _ := r.Login("m365")
			code, err := login.Device(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := login.Await(t.Context(), code); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", poll, err)
			}
		})
	}
}

func TestBadDeviceEndpoints(t *testing.T) {
	for body, want := range map[string]string{
		`<html>`: "not the JSON",
		`{}`:     "gave no code",
		`{"device_code":"d","user_code":"u","verification_uri":"javascript:alert(1)"}`:                                        "gave no code, or no page",
		`{"device_code":"d","user_code":"u","verification_uri":"http://login.example.com"}`:                                   "gave no code, or no page",
		`{"device_code":"d\n","user_code":"u","verification_uri":"https://login.example.com"}`:                                "gave no code",
		`{"device_code":"d","user_code":"u","verification_uri":"https://login.example.com","expires_in":1e400,"interval":-1}`: "not the JSON",
	} {
		r := newRoom(t, newProvider(t, says(200, body)).device())
		login, err := r.Login("m365")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := login.Device(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", body, err)
		}
	}
	r := newRoom(t, newProvider(t, says(400, `{"error":"invalid_scope","error_description":"Invalid device flow scope: https://mail.google.com/"}`)).device())
	login, _ := r.Login("m365")
	if _, err := login.Device(t.Context()); err == nil || !strings.Contains(err.Error(), "use flow authorization_code") {
		t.Errorf("got %v", err)
	}
}

// visits is a credential of the flow authorization_code.
func (p *provider) visits() oauth.Config {
	c := p.device()
	c.Flow, c.DeviceURL, c.AuthorizeURL = oauth.AuthorizationCode, "", p.url+"/authorize"
	c.Provider.AuthorizeParams = map[string]string{"access_type": "offline", "prompt": "consent"}
	return c
}

func TestAVisitIsProvedByPKCE(t *testing.T) {
	p := newProvider(t, counting("3600"))
	r := newRoom(t, p.visits())
	login, err := r.Login("m365")
	if err != nil {
		t.Fatal(err)
	}
	visit, err := login.Visit(false)
	if err != nil {
		t.Fatal(err)
	}
	defer visit.Close()
	u, err := url.Parse(visit.URL)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	if q.Get("code_challenge_method") != "S256" || q.Get("access_type") != "offline" || q.Get("prompt") != "consent" || q.Get("response_type") != "code" {
		t.Errorf("the address is %s", visit.URL)
	}
	back := q.Get("redirect_uri")
	came := make(chan string)
	go func() {
		address, _ := visit.Arrival(t.Context())
		came <- address
	}()
	for state, want := range map[string]int{"": 404, "foreign": 404} {
		if got := comeBack(t, back+"/?code=stolen&state="+state); got != want {
			t.Errorf("with the state %q the browser gets %d", state, got)
		}
	}
	comeBack(t, back+"/?code=good&state="+q.Get("state"))
	code, err := visit.Code(<-came)
	if code != "good" || err != nil {
		t.Fatal(code, err)
	}
	token, err := visit.Redeem(t.Context(), code)
	if token != "refresh-1" || err != nil {
		t.Errorf("%q, %v", token, err)
	}
	form := p.requests()[0]
	if form.Get("redirect_uri") != back || form.Get("grant_type") != "authorization_code" || len(form.Get("code_verifier")) < 43 {
		t.Errorf("the request was %v", form)
	}
}

// comeBack is what a browser gets that was sent back.
func comeBack(t *testing.T, address string) (status int) {
	t.Helper()
	defer http.DefaultClient.CloseIdleConnections()
	resp, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

func TestWhatIsPasted(t *testing.T) {
	p := newProvider(t, says(200, `{"access_token":"a","expires_in":3600}`))
	r := newRoom(t, p.visits())
	login, _ := r.Login("m365")
	visit, err := login.Visit(true)
	if err != nil {
		t.Fatal(err)
	}
	state := visit.State()
	for pasted, want := range map[string]string{
		"":            "no code in it",
		"4/0AbCdEf":   "no code in it",
		"http://[::1": "not an address",
		visit.URL:     "no code in it",
		"http://127.0.0.1/?state=" + state + "&error=access_denied&error_description=no": "says access_denied: no",
		"http://127.0.0.1/?code=stolen&state=x":                                          "not about this login",
		"http://127.0.0.1/?code=stolen":                                                  "not about this login",
		"http://127.0.0.1/?code=a%0D%0Ab&state=" + state:                                 "characters that no code has",
		strings.Repeat("x", 20<<10):                                                      "not an address",
	} {
		if _, err := visit.Code(pasted); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.100s: %v", pasted, err)
		}
	}
	code, err := visit.Code("  http://127.0.0.1/?state=" + state + "&code=good&scope=x \r\n")
	if code != "good" || err != nil {
		t.Error(code, err)
	}
	if _, err := visit.Redeem(t.Context(), code); err == nil || !strings.Contains(err.Error(), "no refresh token") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := visit.Arrival(ctx); err == nil || visit.Listens() {
		t.Error("it listens though it should not")
	}
}

func TestWhereNobodyHasToLogIn(t *testing.T) {
	p := newProvider(t, nil)
	for _, c := range []oauth.Config{p.app(), p.bearer()} {
		r := newRoom(t, c)
		if _, err := r.Login("m365"); err == nil || !strings.Contains(err.Error(), "nobody logs in here: ") {
			t.Errorf("%s: %v", c.Flow, err)
		}
		if _, err := r.Keep(t.Context(), "m365", "x"); err == nil {
			t.Errorf("%s: a refresh token was kept", c.Flow)
		}
		if _, err := r.Login("gmail"); err == nil || !strings.Contains(err.Error(), "those with are: m365") {
			t.Errorf("got %v", err)
		}
	}
}
