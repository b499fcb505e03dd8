package bearer

import (
	"crypto/x509"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"postern/relay/setting"
)

// Issuer is one entry of auth.issuers: whose tokens are taken, and what must be
// in them. Without introspection_url and tokeninfo its tokens are JWTs.
type Issuer struct {
	// Issuer is what the tokens have as iss, to the letter; below it lies the
	// discovery document.
	Issuer string `yaml:"issuer"`
	// Audience is what the tokens must have as aud, one of them if several.
	Audience Audience `yaml:"audience"`
	// AccountClaim is the claim that names the account. Default sub; with
	// tokeninfo email.
	AccountClaim string `yaml:"account_claim"`
	// Scopes and Roles are what a token must have all of, in scope or scp and in
	// roles. Where both are given, one of the two is enough: users' tokens have
	// scopes, those of programs have roles.
	Scopes []string `yaml:"scopes"`
	Roles  []string `yaml:"roles"`
	// Algorithms are the signatures taken. Default RS256, PS256, ES256, EdDSA.
	Algorithms []string `yaml:"algorithms"`
	// TokenTypes are what the tokens may have as typ in their header. Default
	// at+jwt (RFC 9068); a token without typ counts as JWT.
	TokenTypes []string `yaml:"token_types"`
	// JWKSURL is where the keys are, for an issuer without discovery.
	JWKSURL string `yaml:"jwks_url"`
	// IntrospectionURL is where the issuer is asked about each token (RFC 7662),
	// with ClientID and ClientSecret.
	IntrospectionURL string         `yaml:"introspection_url"`
	ClientID         string         `yaml:"client_id"`
	ClientSecret     setting.Secret `yaml:"client_secret"`
	// Tokeninfo is google, or the URL of a server that answers as Google's does.
	Tokeninfo string `yaml:"tokeninfo"`
	// CA is a file with the authorities to trust, for an issuer with a
	// certificate of your own. Default: those of the system.
	CA string `yaml:"ca"`
	// ClockSkew is how far the issuer's clock may be off. Default 60s.
	ClockSkew setting.Duration `yaml:"clock_skew"`
}

// Subject is one entry of an account's subjects: an identity at an issuer.
type Subject struct {
	// Issuer is the [Issuer.ID] of one of auth.issuers.
	Issuer string `yaml:"issuer"`
	// Subject is what the tokens have as sub, or as account_claim, to the letter.
	Subject string `yaml:"subject"`
}

// Audience is one value, or a list of them.
type Audience []string

// UnmarshalText reads one value.
func (a *Audience) UnmarshalText(b []byte) error {
	*a = Audience{string(b)}
	return nil
}

const (
	googleTokeninfo = "https://oauth2.googleapis.com/tokeninfo"
	defaultSkew     = time.Minute
	maxSkew         = 10 * time.Minute
)

// algorithms are those that can be allowed. Neither none nor HS256 and its like
// are among them: whoever knows a public key could forge the latter.
var algorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// ID names the issuer in the log and in subjects: the first of issuer,
// introspection_url and tokeninfo that is given.
func (i Issuer) ID() string {
	switch {
	case i.Issuer != "":
		return i.Issuer
	case i.IntrospectionURL != "":
		return i.IntrospectionURL
	}
	return i.Tokeninfo
}

// IsOpen tells whether the issuer's tokens are taken whomever they are meant for.
func (i Issuer) IsOpen() bool {
	return len(i.Audience) == 0 && len(i.Scopes) == 0 && len(i.Roles) == 0
}

// withDefaults fills in what was not given.
func (i Issuer) withDefaults() Issuer {
	if i.AccountClaim == "" {
		i.AccountClaim = "sub"
		if i.Tokeninfo != "" {
			i.AccountClaim = "email"
		}
	}
	if len(i.Algorithms) == 0 {
		i.Algorithms = []string{"RS256", "PS256", "ES256", "EdDSA"}
	}
	if len(i.TokenTypes) == 0 {
		i.TokenTypes = []string{"at+jwt"}
	}
	if i.ClockSkew == 0 {
		i.ClockSkew = setting.Duration(defaultSkew)
	}
	return i
}

// rules are what the configuration says of a token, its defaults filled in.
func (i Issuer) rules() rules {
	return rules{
		issuer: i.Issuer, audience: i.Audience, scopes: i.Scopes, roles: i.Roles, claim: i.AccountClaim,
		algorithms: i.Algorithms, types: i.TokenTypes, skew: i.ClockSkew.Std(), provenEmail: i.Tokeninfo != "",
	}
}

// Check reports every value that cannot be used.
func (i Issuer) Check(bad func(key, format string, args ...any)) {
	i.checkKind(bad)
	i.checkURLs(bad)
	for n, a := range i.Algorithms {
		if !slices.Contains(algorithms, a) {
			bad(fmt.Sprintf("algorithms[%d]", n), "%q cannot be allowed; choose among %s", a, strings.Join(algorithms, ", "))
		}
	}
	if i.ClockSkew.Std() > maxSkew {
		bad("clock_skew", "%s is more than %s; set the clocks instead", i.ClockSkew, setting.Duration(maxSkew))
	}
	if slices.Contains(i.Audience, "") {
		bad("audience", "is empty; write what the tokens have as aud")
	}
	if _, _, err := readRoots(i.CA); err != nil {
		bad("ca", "%v", err)
	}
}

// checkKind reports keys that do not go together.
func (i Issuer) checkKind(bad func(key, format string, args ...any)) {
	asks := i.IntrospectionURL != "" || i.Tokeninfo != ""
	switch {
	case i.Issuer == "" && !asks:
		bad("issuer", "is missing; write what the tokens have as iss, or where to ask about them as introspection_url")
	case i.Tokeninfo != "" && (i.IntrospectionURL != "" || i.Issuer != ""):
		bad("tokeninfo", "does not go together with issuer or introspection_url; make it an entry of its own")
	case len(i.Audience) == 0 && i.Tokeninfo != "":
		bad("audience", "is missing; without it anybody's app could log in. Write the client ids of your apps")
	case len(i.Audience) == 0 && !asks:
		bad("audience", "is missing; without it tokens for other services of this issuer could log in. Write what yours have as aud")
	}
	if asks && (i.JWKSURL != "" || len(i.Algorithms) > 0 || len(i.TokenTypes) > 0) {
		bad("introspection_url", "the issuer is asked about its tokens, so jwks_url, algorithms and token_types mean nothing; remove them, or this")
	}
	switch introspects := i.IntrospectionURL != ""; {
	case introspects && (i.ClientID == "" || i.ClientSecret.IsZero()):
		bad("client_id", "is missing, or client_secret is; the issuer answers only those it knows")
	case !introspects && (i.ClientID != "" || !i.ClientSecret.IsZero()):
		bad("client_id", "means nothing without introspection_url")
	}
}

func (i Issuer) checkURLs(bad func(key, format string, args ...any)) {
	for _, u := range []struct{ key, text string }{
		{"issuer", i.Issuer}, {"jwks_url", i.JWKSURL}, {"introspection_url", i.IntrospectionURL}, {"tokeninfo", i.tokeninfoURL()},
	} {
		if u.text == "" {
			continue
		}
		if err := checkURL(u.text); err != nil {
			bad(u.key, "%v", err)
		}
	}
}

// tokeninfoURL is the URL that Tokeninfo stands for.
func (i Issuer) tokeninfoURL() string {
	if i.Tokeninfo == "google" {
		return googleTokeninfo
	}
	return i.Tokeninfo
}

// checkURL accepts what may be fetched: https, and http on this machine.
func checkURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "":
		return fmt.Errorf("%q is not a URL such as https://login.example.com", text)
	case u.Scheme == "https", u.Scheme == "http" && isLoopback(u.Hostname()):
		return nil
	}
	return fmt.Errorf("%q is not protected by TLS; write https://", text)
}

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// readRoots reads the authorities of a file; none for "".
func readRoots(path string) (pem []byte, pool *x509.CertPool, err error) {
	if path == "" {
		return nil, nil, nil
	}
	pem, err = os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	pool = x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, nil, fmt.Errorf("%s holds no certificate in PEM form", path)
	}
	return pem, pool, nil
}
