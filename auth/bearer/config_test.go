package bearer_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/auth/bearer"
	"postern/relay/setting"
)

func TestCheck(t *testing.T) {
	jwt := bearer.Issuer{Issuer: "https://login.example.com", Audience: bearer.Audience{"api://postern"}}
	asking := bearer.Issuer{IntrospectionURL: "https://idp.example.com/introspect", ClientID: "postern", ClientSecret: setting.Plain("s")}
	noPEM := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(noPEM, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		issuer bearer.Issuer
		change func(i *bearer.Issuer)
		want   []string // key and the beginning of the sentence
	}{
		{"an issuer and an audience are enough", jwt, func(i *bearer.Issuer) {}, nil},
		{"so is what introspection needs", asking, func(i *bearer.Issuer) {}, nil},
		{"so are Google and the ids of apps", bearer.Issuer{Tokeninfo: "google", Audience: bearer.Audience{"app"}}, func(i *bearer.Issuer) {}, nil},
		{"an issuer may be asked about its JWTs", asking, func(i *bearer.Issuer) { i.Issuer = "https://idp.example.com" }, nil},
		{"http is good enough on this machine", jwt, func(i *bearer.Issuer) { i.Issuer, i.JWKSURL = "http://localhost:8080/realm", "http://[::1]:8080/keys" }, nil},

		{"nothing is not", bearer.Issuer{}, func(i *bearer.Issuer) {}, []string{"issuer: is missing"}},
		{"an issuer in clear is reported", jwt, func(i *bearer.Issuer) { i.Issuer = "http://login.example.com" }, []string{`issuer: "http://login.example.com" is not protected by TLS`}},
		{"a host that only begins like ours is reported", jwt, func(i *bearer.Issuer) { i.Issuer = "http://localhost.example.com" }, []string{"issuer: "}},
		{"a name that is no URL is reported", jwt, func(i *bearer.Issuer) { i.Issuer = "accounts.google.com" }, []string{`issuer: "accounts.google.com" is not a URL`}},
		{"a password in a URL is reported", jwt, func(i *bearer.Issuer) { i.JWKSURL = "https://me:secret@login.example.com/" }, []string{"jwks_url: "}},
		{"no audience is reported", jwt, func(i *bearer.Issuer) { i.Audience = nil }, []string{"audience: is missing; without it tokens for other services"}},
		{"an empty audience is reported", jwt, func(i *bearer.Issuer) { i.Audience = bearer.Audience{""} }, []string{"audience: is empty"}},
		{"no audience with Google is reported", bearer.Issuer{Tokeninfo: "google"}, func(i *bearer.Issuer) {}, []string{"audience: is missing; without it anybody's app"}},
		{"none is reported", jwt, func(i *bearer.Issuer) { i.Algorithms = []string{"RS256", "none"} }, []string{`algorithms[1]: "none" cannot be allowed`}},
		{"HS256 is reported", jwt, func(i *bearer.Issuer) { i.Algorithms = []string{"HS256"} }, []string{`algorithms[0]: "HS256" cannot be allowed`}},
		{"a clock that is off by far is reported", jwt, func(i *bearer.Issuer) { i.ClockSkew = setting.Duration(time.Hour) }, []string{"clock_skew: 1h is more than 10m"}},
		{"a file of authorities that is not there is reported", jwt, func(i *bearer.Issuer) { i.CA = "/nowhere/ca.pem" }, []string{"ca: open /nowhere/ca.pem"}},
		{"a file that holds none is reported", jwt, func(i *bearer.Issuer) { i.CA = noPEM }, []string{"ca: " + noPEM + " holds no certificate"}},
		{"introspection without a secret is reported", asking, func(i *bearer.Issuer) { i.ClientSecret = setting.Secret{} }, []string{"client_id: is missing, or client_secret is"}},
		{"a secret without introspection is reported", jwt, func(i *bearer.Issuer) { i.ClientSecret = setting.Plain("s") }, []string{"client_id: means nothing without introspection_url"}},
		{"keys and introspection are reported", asking, func(i *bearer.Issuer) { i.JWKSURL = "https://idp.example.com/keys" }, []string{"introspection_url: the issuer is asked about its tokens"}},
		{"Google and an issuer are reported", jwt, func(i *bearer.Issuer) { i.Tokeninfo = "google" }, []string{"tokeninfo: does not go together"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.change(&test.issuer)
			var got []string
			test.issuer.Check(func(key, format string, args ...any) {
				got = append(got, key+": "+fmt.Sprintf(format, args...))
			})
			if !slices.EqualFunc(got, test.want, strings.HasPrefix) {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
			_, err := bearer.New([]bearer.Issuer{test.issuer}, slog.New(slog.DiscardHandler))
			if (err != nil) != (len(test.want) > 0) {
				t.Errorf("New: %v", err)
			}
		})
	}
}

func TestAnIssuerThatWasNotThereAtTheStart(t *testing.T) {
	p := startIDP(t)
	p.on(discoveryPath, failing)
	v, clock := openMoving(t, io.Discard, usual(p))
	v.Prepare(t.Context())
	mustBe(t, v, lasting(p), "trouble")
	p.on(discoveryPath, func(w http.ResponseWriter, r *http.Request) {
		reply(w, claims{"issuer": p.URL, "jwks_uri": p.URL + "/jwks"})
	})
	clock.advance(time.Minute)
	mustBe(t, v, lasting(p), "erp")
}
