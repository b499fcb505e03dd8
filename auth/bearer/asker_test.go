package bearer_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/auth/bearer"
	"postern/relay/setting"
)

// introspecting is an entry of auth.issuers that asks p.
func introspecting(p *idp) bearer.Issuer {
	return bearer.Issuer{
		IntrospectionURL: p.URL + "/introspect", ClientID: "postern", ClientSecret: setting.Plain(secret),
		Audience: bearer.Audience{"api://postern"}, AccountClaim: "username",
	}
}

// google is an entry of auth.issuers for a p that stands for Google.
func google(p *idp) bearer.Issuer {
	return bearer.Issuer{Tokeninfo: p.URL + "/tokeninfo", Audience: bearer.Audience{"app-1.apps.googleusercontent.com"}, Scopes: []string{"https://mail.google.com/"}}
}

func TestIntrospection(t *testing.T) {
	usual := claims{"active": true, "sub": "mary-1", "username": "mary", "client_id": "app", "aud": "api://postern", "exp": inOneHour}
	for _, test := range []struct {
		name   string
		answer claims
		want   string
	}{
		{"an active token proves its subject", usual, "mary-1"},
		{"one without exp does", usual.with(claims{"exp": nil}), "mary-1"},
		{"one with its type does", usual.with(claims{"token_type": "bearer"}), "mary-1"},
		{"where there is no person, the client is the subject", usual.with(claims{"sub": nil, "username": nil}), "app"},
		{"a person without sub is not the client", usual.with(claims{"sub": nil}), ""},
		{"one that is not active is refused", claims{"active": false}, "invalid_token"},
		{"one that is not active is refused, whatever else is said", usual.with(claims{"active": false}), "invalid_token"},
		{"one that has expired is refused", usual.with(claims{"exp": 1.0}), "invalid_token"},
		{"one for another service is refused", usual.with(claims{"aud": "wiki"}), "invalid_token"},
		{"one for nobody is refused", usual.with(claims{"aud": nil}), "invalid_token"},
		{"one bound to a key is refused", usual.with(claims{"token_type": "DPoP"}), "invalid_token"},
		{"an ID token is refused", usual.with(claims{"nonce": "n"}), "invalid_token"},
		{"an answer that does not say active is trouble", usual.with(claims{"active": nil}), "trouble"},
		{"an answer that says active in words is trouble", usual.with(claims{"active": "true"}), "trouble"},
		{"an answer without end is trouble", usual.with(claims{"padding": strings.Repeat("x", 17<<10)}), "trouble"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := startIDP(t)
			p.say(opaqueToken, test.answer)
			mustBe(t, open(t, io.Discard, introspecting(p)), opaqueToken, test.want)
		})
	}
}

func TestAnAnswerAboutATokenOfAnotherIssuer(t *testing.T) {
	p := startIDP(t)
	cfg := introspecting(p)
	cfg.Issuer = "https://asked.example.com"
	v := open(t, io.Discard, cfg)
	usual := claims{"active": true, "sub": "mary", "aud": "api://postern"}
	p.say("ours", usual.with(claims{"iss": cfg.Issuer}))
	p.say("foreign", usual.with(claims{"iss": "https://other.example.com"}))
	mustBe(t, v, "ours", "mary")
	mustBe(t, v, "foreign", "invalid_token")
}

func TestAnswersAreRememberedForAWhile(t *testing.T) {
	p := startIDP(t)
	v, clock := openMoving(t, io.Discard, introspecting(p))
	mustBe(t, v, opaqueToken, "invalid_token")
	mustBe(t, v, opaqueToken, "invalid_token")
	asked := func(want int) {
		t.Helper()
		if n := p.count("/introspect"); n != want {
			t.Fatalf("asked %d times, want %d", n, want)
		}
	}
	asked(1)
	p.say(opaqueToken, claims{"active": true, "sub": "mary", "aud": "api://postern"})
	clock.advance(5 * time.Second)
	mustBe(t, v, opaqueToken, "mary")
	asked(2)
	clock.advance(59 * time.Second)
	mustBe(t, v, opaqueToken, "mary")
	asked(2)
	clock.advance(time.Second)
	p.say(opaqueToken, claims{"active": true, "sub": "mary", "aud": "api://postern", "exp": float64(clock.read().Add(10 * time.Second).Unix())})
	mustBe(t, v, opaqueToken, "mary")
	asked(3)
	clock.advance(10 * time.Second) // it has expired, and may have been prolonged
	mustBe(t, v, opaqueToken, "mary")
	asked(4)
}

func TestOneTokenIsAskedAboutOnceAtATime(t *testing.T) {
	p := startIDP(t)
	p.say(opaqueToken, claims{"active": true, "sub": "mary", "aud": "api://postern"})
	v := open(t, io.Discard, introspecting(p))
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if got, err := outcome(t, v, opaqueToken); got != "mary" {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	all.Wait()
	if n := p.count("/introspect"); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	p := startIDP(t)
	p.say(opaqueToken, claims{"active": true, "sub": "mary", "aud": "api://postern"})
	v := open(t, io.Discard, introspecting(p))
	for n := range bearer.MaxAnswers + 100 {
		v.Remember(fmt.Sprint("token-", n))
	}
	mustBe(t, v, opaqueToken, "mary")
	if n := v.Remembered(); n > bearer.MaxAnswers {
		t.Errorf("%d answers are remembered", n)
	}
}

func TestAnIssuerThatCannotBeAsked(t *testing.T) {
	for _, test := range []struct {
		name   string
		handle http.HandlerFunc
		log    string
	}{
		{"it is away", failing, "503"},
		{"it does not know us", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusUnauthorized) }, "are client_id and client_secret right?"},
		{"it hangs", func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body) // else the server does not notice that the client has gone
			<-r.Context().Done()
		}, "deadline exceeded"},
		{"it answers with HTML", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "<html>") }, "not the JSON expected"},
		{"it sends us elsewhere", http.RedirectHandler("http://localhost:1/", http.StatusTemporaryRedirect).ServeHTTP, "redirected to another host"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := startIDP(t)
			p.on("/introspect", test.handle)
			log := new(bytes.Buffer)
			v := open(t, log, introspecting(p))
			if test.name == "it hangs" {
				v.SetPatience(20 * time.Millisecond)
			}
			for range 3 {
				mustBe(t, v, opaqueToken, "trouble")
			}
			if got := strings.Count(log.String(), "cannot be asked"); got != 1 || !strings.Contains(log.String(), test.log) || !strings.Contains(log.String(), p.URL) {
				t.Errorf("logged %d times, want %q:\n%s", got, test.log, log)
			}
			if strings.Contains(log.String(), opaqueToken) || strings.Contains(log.String(), secret) {
				t.Errorf("the log shows a secret:\n%s", log)
			}
		})
	}
}

func TestGoogle(t *testing.T) {
	usual := claims{"azp": "app-1.apps.googleusercontent.com", "aud": "app-1.apps.googleusercontent.com", "sub": "1234",
		"scope": "https://mail.google.com/ openid", "exp": fmt.Sprint(int64(inOneHour)), "expires_in": "3599",
		"email": "mary@example.com", "email_verified": "true", "access_type": "online"}
	for _, test := range []struct {
		name   string
		answer claims
		want   string
	}{
		{"a token for our app proves its subject", usual, "1234"},
		{"one that Google does not know is refused", nil, "invalid_token"},
		{"one for somebody else's app is refused", usual.with(claims{"aud": "evil.apps.googleusercontent.com"}), "invalid_token"},
		{"one for our app by its azp alone is refused", usual.with(claims{"aud": "evil.apps.googleusercontent.com", "azp": "app-1.apps.googleusercontent.com"}), "invalid_token"},
		{"one whose address is not verified is refused", usual.with(claims{"email_verified": "false"}), "invalid_token"},
		{"one that does not say whether it is is refused", usual.with(claims{"email_verified": nil}), "invalid_token"},
		{"one without the scope is refused", usual.with(claims{"scope": "openid"}), "insufficient_scope"},
		{"one that has expired is refused", usual.with(claims{"exp": "1000000000"}), "invalid_token"},
		{"one whose end cannot be read is refused", usual.with(claims{"exp": "soon"}), "invalid_token"},
		{"an answer that does not say for whom it is, is trouble", usual.with(claims{"aud": nil}), "trouble"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := startIDP(t)
			if test.answer != nil {
				p.say(googleToken, test.answer)
			}
			mustBe(t, open(t, io.Discard, google(p)), googleToken, test.want)
		})
	}
}

func TestGoogleAway(t *testing.T) {
	p := startIDP(t)
	p.on("/tokeninfo", failing)
	log := new(bytes.Buffer)
	v := open(t, log, google(p))
	got, err := outcome(t, v, googleToken)
	if got != "trouble" {
		t.Errorf("got %q, %v", got, err)
	}
	p.Close() // now it cannot even be reached; the error of net/http has the whole URL
	if got, err = outcome(t, v, googleToken+"2"); got != "trouble" {
		t.Errorf("got %q, %v", got, err)
	}
	if all := log.String() + err.Error(); strings.Contains(all, googleToken) {
		t.Errorf("the token is shown:\n%s", all)
	}
}

// Whoever is asked about a token could use it.
func TestTokensAreShownToNobodyElse(t *testing.T) {
	jwtIssuer, asked, other, googles := startIDP(t), startIDP(t), startIDP(t), startIDP(t)
	named := introspecting(asked)
	named.Issuer = "https://asked.example.com"
	v := open(t, io.Discard, usual(jwtIssuer), named, introspecting(other), google(googles))
	for _, test := range []struct {
		name, token                     string
		byAsked, byOther, byGoogle, key int
	}{
		{"a JWT of an issuer with keys", lasting(jwtIssuer), 0, 0, 0, 1},
		{"a JWT of an issuer that is asked", jwtIssuer.token(claims{"iss": "https://asked.example.com"}), 1, 0, 0, 0},
		{"a JWT of a stranger goes to the one that may be anybody", jwtIssuer.token(claims{"iss": "https://evil.example"}), 0, 1, 0, 0},
		{"an opaque token may be of both", opaqueToken, 1, 1, 0, 0},
		{"a token of Google", googleToken, 0, 0, 1, 0},
	} {
		before := []int{asked.count("/introspect"), other.count("/introspect"), googles.count("/tokeninfo"), jwtIssuer.count("/jwks")}
		outcome(t, v, test.token)
		after := []int{asked.count("/introspect"), other.count("/introspect"), googles.count("/tokeninfo"), jwtIssuer.count("/jwks")}
		for n, want := range []int{test.byAsked, test.byOther, test.byGoogle, test.key} {
			if got := after[n] - before[n]; got != want {
				t.Errorf("%s: number %d of those was asked %d times, want %d", test.name, n, got, want)
			}
		}
	}
}

func TestOneIssuerAwayDoesNotHideAnother(t *testing.T) {
	away, there := startIDP(t), startIDP(t)
	away.on("/introspect", failing)
	there.say(opaqueToken, claims{"active": true, "sub": "mary", "aud": "api://postern"})
	for _, order := range [][]bearer.Issuer{{introspecting(away), introspecting(there)}, {introspecting(there), introspecting(away)}} {
		v := open(t, io.Discard, order...)
		mustBe(t, v, opaqueToken, "mary")
		mustBe(t, v, "another", "trouble") // it may be of the one that is away
	}
}
