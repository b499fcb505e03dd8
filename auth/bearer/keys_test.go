package bearer_test

import (
	"bytes"
	"crypto"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/auth/bearer"
)

// clock is a time that moves when told to.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// openMoving is open with a clock that moves, and tokens that outlive the test.
func openMoving(t *testing.T, log io.Writer, cfg bearer.Issuer) (*bearer.Verifier, *clock) {
	t.Helper()
	v, c := open(t, log, cfg), &clock{now: today}
	v.SetClock(c.read)
	return v, c
}

func lasting(p *idp) string { return p.token(claims{"exp": inOneHour + 10*24*3600}) }

// by makes a token that names the key kid and is signed by k.
func (p *idp) by(kid string, k any) string {
	return sign(claims{"alg": "RS256", "kid": kid, "typ": "at+jwt"}, p.usual().with(claims{"exp": inOneHour + 10*24*3600}), k)
}

func mustBe(t *testing.T, v *bearer.Verifier, token, want string) {
	t.Helper()
	if got, err := outcome(t, v, token); got != want {
		t.Fatalf("got %q, %v; want %q", got, err, want)
	}
}

func TestAThousandUnknownKeysAreFetchedForOnce(t *testing.T) {
	p := startIDP(t)
	v, clock := openMoving(t, io.Discard, usual(p))
	mustBe(t, v, lasting(p), "erp")
	var all sync.WaitGroup
	for worker := range 10 {
		all.Go(func() {
			for n := range 100 {
				got, err := outcome(t, v, p.by(fmt.Sprint("stranger-", worker, "-", n), otherRSA))
				if got != "invalid_token" && got != "trouble" {
					t.Errorf("got %q, %v", got, err)
				}
			}
		})
	}
	all.Wait()
	if n := p.count("/jwks"); n != 2 {
		t.Errorf("the keys were fetched %d times, want once at first and once for all unknown ones", n)
	}
	clock.advance(time.Minute)
	mustBe(t, v, p.by("another", otherRSA), "invalid_token")
	if n := p.count("/jwks"); n != 3 {
		t.Errorf("a minute later the keys were fetched %d times, want 3", n)
	}
}

// A key is refused only if its issuer was asked for it: that a stranger used up
// the fetch of this minute must not refuse a key that is new.
func TestAnUnknownKeyIsRefusedOnlyIfItWasLookedFor(t *testing.T) {
	p := startIDP(t)
	v, clock := openMoving(t, io.Discard, usual(p))
	mustBe(t, v, p.by("stranger", otherRSA), "invalid_token")
	mustBe(t, v, p.by("stranger", otherRSA), "invalid_token")
	p.rotate(map[string]crypto.Signer{"new": otherRSA})
	mustBe(t, v, p.by("new", otherRSA), "trouble")
	mustBe(t, v, p.by("stranger", otherRSA), "invalid_token")
	clock.advance(time.Minute)
	mustBe(t, v, p.by("new", otherRSA), "erp")
}

func TestWhatWouldBeRefusedAnywayFetchesNothing(t *testing.T) {
	p := startIDP(t)
	v := open(t, io.Discard, usual(p))
	for _, token := range []string{
		p.token(claims{"aud": "x"}), p.token(claims{"exp": 1.0}), p.token(claims{"scope": ""}),
		sign(claims{"alg": "none", "typ": "at+jwt"}, p.usual(), nil), "rubbish",
	} {
		if got, err := outcome(t, v, token); !strings.HasPrefix(got, "in") {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if n := p.count("/jwks") + p.count(discoveryPath); n != 0 {
		t.Errorf("the issuer was asked %d times", n)
	}
}

func TestANewKeyIsTakenAtOnce(t *testing.T) {
	p := startIDP(t)
	v, clock := openMoving(t, io.Discard, usual(p))
	mustBe(t, v, lasting(p), "erp")
	p.rotate(map[string]crypto.Signer{"new": otherRSA})
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if got, err := outcome(t, v, p.by("new", otherRSA)); got != "erp" {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	all.Wait()
	if n := p.count("/jwks"); n != 2 {
		t.Errorf("the keys were fetched %d times", n)
	}
	clock.advance(time.Minute)
	mustBe(t, v, lasting(p), "invalid_token") // its key is no more
}

func TestAKeyWithoutKidIsRotatedToo(t *testing.T) {
	p := startIDP(t)
	p.rotate(map[string]crypto.Signer{"": rsaKey})
	v := open(t, io.Discard, usual(p))
	anonymous := claims{"alg": "RS256", "typ": "at+jwt"}
	mustBe(t, v, sign(anonymous, p.usual(), rsaKey), "erp")
	p.rotate(map[string]crypto.Signer{"": otherRSA})
	mustBe(t, v, sign(anonymous, p.usual(), otherRSA), "erp")
}

func TestKeysAreFetchedAgainWhenTheirTimeIsOver(t *testing.T) {
	for cacheControl, life := range map[string]time.Duration{
		"":                              time.Hour,
		"public, max-age=7200":          2 * time.Hour,
		"max-age=1":                     5 * time.Minute,
		"no-cache":                      5 * time.Minute,
		"max-age=31536000, immutable":   24 * time.Hour,
		"max-age=99999999999999999999":  time.Hour,
		`private, Max-Age="600", x=y=z`: 10 * time.Minute,
	} {
		p := startIDP(t)
		p.cached = cacheControl
		v, clock := openMoving(t, io.Discard, usual(p))
		mustBe(t, v, lasting(p), "erp")
		clock.advance(life - time.Second)
		mustBe(t, v, lasting(p), "erp")
		if n := p.count("/jwks"); n != 1 {
			t.Errorf("%q: fetched %d times within %s", cacheControl, n, life)
		}
		p.rotate(map[string]crypto.Signer{"rsa": otherRSA})
		clock.advance(time.Second)
		mustBe(t, v, lasting(p), "invalid_token") // the key was withdrawn
		if n := p.count("/jwks"); n != 2 {
			t.Errorf("%q: fetched %d times after %s", cacheControl, n, life)
		}
	}
}

func TestKeysOutliveAnOutageForADay(t *testing.T) {
	p := startIDP(t)
	log := new(bytes.Buffer)
	v, clock := openMoving(t, log, usual(p))
	mustBe(t, v, lasting(p), "erp")
	p.on("/jwks", failing)

	clock.advance(2 * time.Hour)
	for range 10 {
		mustBe(t, v, lasting(p), "erp")
		mustBe(t, v, p.by("new", otherRSA), "trouble")
	}
	if n := p.count("/jwks"); n != 2 {
		t.Errorf("the keys were fetched %d times, want once in vain", n)
	}
	clock.advance(time.Minute)
	mustBe(t, v, lasting(p), "erp")
	if n := p.count("/jwks"); n != 3 {
		t.Errorf("the keys were fetched %d times, want once more a minute later", n)
	}
	clock.advance(22*time.Hour - 2*time.Minute)
	mustBe(t, v, lasting(p), "erp")
	clock.advance(time.Minute)
	mustBe(t, v, lasting(p), "trouble")

	p.on("/jwks", func(w http.ResponseWriter, r *http.Request) { reply(w, claims{"keys": p.jwks()}) })
	clock.advance(time.Minute)
	mustBe(t, v, lasting(p), "erp")
	for _, want := range []string{"issuer=" + p.URL, "503 Service Unavailable", "are used for up to", "clients are told 454", "can be fetched again"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
}

func failing(w http.ResponseWriter, r *http.Request) {
	http.Error(w, "down", http.StatusServiceUnavailable)
}

// The keys, or the way to them, are not what they should be: that is never the
// client's fault.
func TestIssuersInTrouble(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("another host was asked for %s", r.URL)
	}))
	defer other.Close()
	for _, test := range []struct {
		name, path string
		handle     func(p *idp) http.HandlerFunc
		log        string
	}{
		{"keys that fail", "/jwks", always(failing), "503"},
		{"keys that are HTML", "/jwks", always(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "<html><body>Please sign in</body></html>")
		}), `not the JSON expected (Content-Type \"text/html; charset=utf-8\")`},
		{"keys of 50 MB", "/jwks", always(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, `{"keys":[],"padding":"`)
			for line := bytes.Repeat([]byte("x"), 1<<20); ; {
				if _, err := w.Write(line); err != nil {
					return // the reader has gone, as it should
				}
			}
		}), "answered with more than 1024 KiB"},
		{"keys nested without end", "/jwks", always(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, `{"keys":[`+strings.Repeat("[", 500<<10)+strings.Repeat("]", 500<<10)+`]}`)
		}), "not the JSON expected"},
		{"keys that hang", "/jwks", always(func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), "deadline exceeded"},
		{"keys that hang half way", "/jwks", always(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, `{"keys":[`)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}), "deadline exceeded"},
		{"no keys", "/jwks", always(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{"keys":[]}`) }), "has none that can verify a token"},
		{"keys that are too weak", "/jwks", always(func(w http.ResponseWriter, r *http.Request) {
			reply(w, claims{"keys": []claims{jwk("rsa", shortKey.Public())}})
		}), "has none that can verify a token"},
		{"a secret among the keys", "/jwks", always(func(w http.ResponseWriter, r *http.Request) {
			reply(w, claims{"keys": []claims{{"kty": "oct", "kid": "rsa", "k": b64([]byte("secret"))}}})
		}), "has none that can verify a token"},
		{"discovery that is not there", discoveryPath, always(http.NotFound), "404"},
		{"discovery of another issuer", discoveryPath, func(p *idp) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				reply(w, claims{"issuer": p.URL + "/", "jwks_uri": p.URL + "/jwks"})
			}
		}, "they must be the same to the letter"},
		{"discovery without keys", discoveryPath, func(p *idp) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) { reply(w, claims{"issuer": p.URL}) }
		}, "has no jwks_uri"},
		{"discovery that names keys in clear", discoveryPath, func(p *idp) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				reply(w, claims{"issuer": p.URL, "jwks_uri": "http://keys.example.com/jwks"})
			}
		}, "not protected by TLS"},
		{"a redirect to another host", "/jwks", func(*idp) http.HandlerFunc { return http.RedirectHandler(other.URL, http.StatusFound).ServeHTTP }, "redirected to another host"},
		{"redirects without end", "/jwks", always(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/jwks", http.StatusFound)
		}), "redirected again and again"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := startIDP(t)
			p.on(test.path, test.handle(p))
			log := new(bytes.Buffer)
			v := open(t, log, usual(p))
			if strings.Contains(test.log, "deadline") {
				v.SetPatience(20 * time.Millisecond)
			}
			v.Prepare(t.Context()) // as at the start
			got, err := outcome(t, v, lasting(p))
			if got != "trouble" || !strings.Contains(err.Error(), "issuer "+p.URL) {
				t.Errorf("got %q, %v", got, err)
			}
			if !strings.Contains(log.String(), test.log) {
				t.Errorf("the log lacks %q:\n%s", test.log, log)
			}
			if n := p.count(test.path); n > 5 {
				t.Errorf("asked %d times", n)
			}
		})
	}
}

func always(h http.HandlerFunc) func(*idp) http.HandlerFunc {
	return func(*idp) http.HandlerFunc { return h }
}

func TestARedirectWithinTheHostIsFollowed(t *testing.T) {
	p := startIDP(t)
	p.on(discoveryPath, func(w http.ResponseWriter, r *http.Request) {
		reply(w, claims{"issuer": p.URL, "jwks_uri": p.URL + "/moved"})
	})
	p.on("/moved", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/jwks", http.StatusMovedPermanently)
	})
	mustBe(t, open(t, io.Discard, usual(p)), lasting(p), "erp")
}

func TestKeysWithoutDiscovery(t *testing.T) {
	p := startIDP(t)
	cfg := usual(p)
	cfg.JWKSURL = p.URL + "/jwks"
	mustBe(t, open(t, io.Discard, cfg), lasting(p), "erp")
	if n := p.count(discoveryPath); n != 0 {
		t.Errorf("the discovery document was asked for %d times", n)
	}
}

// A key says what it is for (RFC 7517, sections 4.2 and 4.4).
func TestAKeyIsUsedForNothingElse(t *testing.T) {
	for _, test := range []struct {
		name string
		says claims
		want string
	}{
		{"for the algorithm of the token", claims{"alg": "RS256"}, "erp"},
		{"for any, and any use", claims{"use": nil}, "erp"},
		{"for another algorithm", claims{"alg": "PS256"}, "invalid_token"},
		{"for encryption", claims{"use": "enc"}, "invalid_token"},
	} {
		p := startIDP(t)
		p.on("/jwks", func(w http.ResponseWriter, r *http.Request) {
			reply(w, claims{"keys": []claims{jwk("rsa", rsaKey.Public()).with(test.says), jwk("ec", ecKey.Public())}})
		})
		if got, err := outcome(t, open(t, io.Discard, usual(p)), lasting(p)); got != test.want {
			t.Errorf("%s: got %q, %v; want %q", test.name, got, err, test.want)
		}
	}
}

func TestTheIssuersCertificateIsChecked(t *testing.T) {
	p := startIDP(t)
	plain := p.Server
	p.Server = httptest.NewTLSServer(p)
	t.Cleanup(p.Server.Close)
	plain.Close()
	mustBe(t, open(t, io.Discard, usual(p)), lasting(p), "trouble")
	cfg := usual(p)
	cfg.CA = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(cfg.CA, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	mustBe(t, open(t, io.Discard, cfg), lasting(p), "erp")
}

func TestAReloadKeepsWhatIsKnownOfUnchangedIssuers(t *testing.T) {
	p := startIDP(t)
	before := open(t, io.Discard, usual(p))
	mustBe(t, before, lasting(p), "erp")
	p.on("/jwks", failing)

	same := open(t, io.Discard, usual(p))
	same.Keep(before)
	mustBe(t, same, lasting(p), "erp")

	cfg := usual(p)
	cfg.Scopes = []string{"mail.more"}
	changed := open(t, io.Discard, cfg)
	changed.Keep(before)
	mustBe(t, changed, lasting(p), "insufficient_scope")
	mustBe(t, changed, p.token(claims{"scope": "mail.more"}), "trouble")
}
