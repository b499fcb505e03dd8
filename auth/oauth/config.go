package oauth

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"postern/relay/setting"
)

// Flows, as the configuration names them.
const (
	ClientCredentials = "client_credentials"
	RefreshToken      = "refresh_token"
	Device            = "device"
	AuthorizationCode = "authorization_code"
	ServiceAccount    = "service_account"
)

var flows = []string{ClientCredentials, RefreshToken, Device, AuthorizationCode, ServiceAccount}

// Upstream is what oauth needs of an entry of upstreams.
type Upstream struct {
	OAuth Config `yaml:"oauth"`
}

// Config says how an upstream's access tokens are got. What a preset knows need
// not be given.
type Config struct {
	// Flow is how we prove ourselves: client_credentials (the program itself, RFC
	// 6749, section 4.4), device (a person agrees on another machine, RFC 8628),
	// authorization_code (a person agrees in a browser, with PKCE, RFC 7636),
	// refresh_token (a person has agreed already), or service_account (a key that
	// acts for a mailbox, RFC 7523).
	Flow string `yaml:"flow"`
	// Tenant takes the place of {tenant} in the addresses.
	Tenant string `yaml:"tenant"`
	// ClientID and ClientSecret are those of the app that is registered there.
	ClientID     string         `yaml:"client_id"`
	ClientSecret setting.Secret `yaml:"client_secret"`
	// ClientSecretExpires is the day on which the secret ends.
	ClientSecretExpires Date `yaml:"client_secret_expires"`
	// ClientAuth is how the secret is sent: "basic", in the header, or "post", in
	// the form (RFC 6749, section 2.3.1). Default: what the preset says, else basic.
	ClientAuth string `yaml:"client_auth"`
	// Certificate and Key are PEM files that take the place of ClientSecret: each
	// request is signed with the key (RFC 7523, section 2.2).
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
	// RefreshToken is the first one of the flow refresh_token.
	RefreshToken setting.Secret `yaml:"refresh_token"`
	// ServiceAccount is the key file of the flow service_account, as Google writes
	// it, and Subject the mailbox it acts for. Default: the upstream's.
	ServiceAccount setting.Secret `yaml:"service_account"`
	Subject        string         `yaml:"subject"`
	// TokenURL, DeviceURL and AuthorizeURL are the provider's endpoints.
	TokenURL     string `yaml:"token_url"`
	DeviceURL    string `yaml:"device_url"`
	AuthorizeURL string `yaml:"authorize_url"`
	// Scopes are what the tokens are for.
	Scopes []string `yaml:"scopes"`
	// Redirect is where the provider sends the browser back to, if it must be one
	// that is registered. Default: a free port of this machine.
	Redirect string `yaml:"redirect"`
	// CA is a PEM file with the only authorities to trust with the endpoints.
	// Default: those of the system.
	CA string `yaml:"ca"`

	// Provider is what a preset says.
	Provider Provider `yaml:"-"`
}

// Provider is what is known of a provider beforehand. {tenant} in its addresses
// stands for the tenant.
type Provider struct {
	TokenURL, DeviceURL, AuthorizeURL string
	// AppScopes are asked for by programs of their own, UserScopes for a person.
	AppScopes, UserScopes []string
	// AuthorizeParams are added to the address that a person visits.
	AuthorizeParams map[string]string
	// ClientAuth and Redirect are the defaults of the keys of that name. A Redirect
	// without a port gets a free one.
	ClientAuth, Redirect string
}

const tenantHole = "{tenant}"

// IsZero tells whether nothing of it was written in the file.
func (c Config) IsZero() bool {
	c.Provider = Provider{}
	return reflect.ValueOf(c).IsZero()
}

// interactive tells whether a person has to agree.
func (c Config) interactive() bool { return c.Flow == Device || c.Flow == AuthorizationCode }

// keepsToken tells whether the flow lives from a refresh token.
func (c Config) keepsToken() bool { return c.interactive() || c.Flow == RefreshToken }

func (c Config) tokenURL() string     { return c.endpoint(c.TokenURL, c.Provider.TokenURL) }
func (c Config) deviceURL() string    { return c.endpoint(c.DeviceURL, c.Provider.DeviceURL) }
func (c Config) authorizeURL() string { return c.endpoint(c.AuthorizeURL, c.Provider.AuthorizeURL) }
func (c Config) redirect() string {
	return cmp.Or(c.Redirect, c.Provider.Redirect, "http://127.0.0.1")
}
func (c Config) clientAuth() string { return cmp.Or(c.ClientAuth, c.Provider.ClientAuth, "basic") }

func (c Config) endpoint(own, preset string) string {
	return strings.ReplaceAll(cmp.Or(own, preset), tenantHole, c.Tenant)
}

func (c Config) scopes() []string {
	switch {
	case len(c.Scopes) > 0:
		return c.Scopes
	case c.Flow == ClientCredentials, c.Flow == ServiceAccount:
		return c.Provider.AppScopes
	}
	return c.Provider.UserScopes
}

// Date is a day, written 2027-03-01: until its end in UTC.
type Date struct{ day time.Time }

// UnmarshalText reads a day.
func (d *Date) UnmarshalText(b []byte) error {
	day, err := time.Parse(time.DateOnly, string(b))
	if err != nil {
		return fmt.Errorf("%q is not a day; write it like 2027-03-01", b)
	}
	d.day = day
	return nil
}

// MarshalText is the form UnmarshalText reads.
func (d Date) MarshalText() ([]byte, error) {
	if d.IsZero() {
		return nil, nil
	}
	return []byte(d.String()), nil
}

func (d Date) String() string { return d.day.Format(time.DateOnly) }

// IsZero tells whether no day was given.
func (d Date) IsZero() bool { return d.day.IsZero() }

// end is the last second of the day, so that it reads as the day that was written;
// zero when none was given.
func (d Date) end() time.Time {
	if d.IsZero() {
		return time.Time{}
	}
	return d.day.AddDate(0, 0, 1).Add(-time.Second)
}

// Store is the section tokens of the configuration.
type Store struct {
	// Key encrypts the refresh tokens in the data directory. Default: one that is
	// made there.
	Key setting.Secret `yaml:"key"`
}

// Check reports a key that protects nothing.
func (s Store) Check(bad func(key, format string, args ...any)) {
	if s.Key.IsZero() {
		return
	}
	text, err := s.Key.Reveal()
	switch {
	case err != nil:
		bad("key", "%v", err)
	case len(text) < minKey:
		bad("key", "it is shorter than %d characters; make one with: openssl rand -base64 32", minKey)
	}
}

// CheckSubject reports a service account that acts for nobody: mailbox is the
// upstream's.
func (c Config) CheckSubject(mailbox string, bad func(key, format string, args ...any)) {
	if c.Flow == ServiceAccount && c.Subject == "" && mailbox == "" {
		bad("subject", "it is missing; write the mailbox that the service account acts for here, or as mailbox of the upstream")
	}
}

// Check reports what is missing, and what does not go together.
func (c Config) Check(bad func(key, format string, args ...any)) {
	if c.IsZero() {
		return
	}
	if !slices.Contains(flows, c.Flow) {
		if c.Flow == "" {
			bad("flow", "it is missing; write %s", oneOf(flows))
		} else {
			bad("flow", "%q is not known; write %s", c.Flow, oneOf(flows))
		}
		return // what the others are for is not known
	}
	c.checkForeign(bad)
	c.checkClient(bad)
	c.checkGrant(bad)
	c.checkEndpoints(bad)
	if _, err := readRoots(c.CA); err != nil {
		bad("ca", "%v", err)
	}
}

// checkForeign reports keys that mean nothing in the flow.
func (c Config) checkForeign(bad func(key, format string, args ...any)) {
	for _, k := range []struct {
		key   string
		set   bool
		flows []string
	}{
		{"client_id", c.ClientID != "", []string{ClientCredentials, RefreshToken, Device, AuthorizationCode}},
		{"client_secret", !c.ClientSecret.IsZero(), []string{ClientCredentials, RefreshToken, Device, AuthorizationCode}},
		{"certificate", c.Certificate != "" || c.Key != "", []string{ClientCredentials, RefreshToken, Device, AuthorizationCode}},
		{"refresh_token", !c.RefreshToken.IsZero(), []string{RefreshToken}},
		{"service_account", !c.ServiceAccount.IsZero(), []string{ServiceAccount}},
		{"subject", c.Subject != "", []string{ServiceAccount}},
		{"device_url", c.DeviceURL != "", []string{Device}},
		{"authorize_url", c.AuthorizeURL != "", []string{AuthorizationCode}},
		{"redirect", c.Redirect != "", []string{AuthorizationCode}},
	} {
		if k.set && !slices.Contains(k.flows, c.Flow) {
			bad(k.key, "it means nothing in the flow %s, only in %s; remove it, or change flow", c.Flow, oneOf(k.flows))
		}
	}
}

// checkClient reports an app that could not prove itself.
func (c Config) checkClient(bad func(key, format string, args ...any)) {
	if c.Flow == ServiceAccount {
		return
	}
	if c.ClientID == "" {
		bad("client_id", "it is missing; write the id of the app that is registered with the provider")
	}
	signs := c.Certificate != "" || c.Key != ""
	switch {
	case signs && !c.ClientSecret.IsZero():
		bad("client_secret", "and certificate prove the same; leave one of them out")
	case signs && (c.Certificate == "" || c.Key == ""):
		bad("certificate", "and key belong together; write both, as whole paths of PEM files")
	case signs:
		if _, err := readPair(c.Certificate, c.Key); err != nil {
			bad("certificate", "%v", err)
		}
	case c.Flow == ClientCredentials && c.ClientSecret.IsZero():
		bad("client_secret", "it is missing; write it, or certificate and key")
	}
	if !c.ClientSecretExpires.IsZero() && c.ClientSecret.IsZero() {
		bad("client_secret_expires", "it means nothing without client_secret; the end of a certificate is read from it")
	}
	switch {
	case c.ClientAuth != "" && c.ClientAuth != "basic" && c.ClientAuth != "post":
		bad("client_auth", "%q is not known; write basic or post", c.ClientAuth)
	case c.ClientAuth != "" && c.ClientSecret.IsZero():
		bad("client_auth", "it means nothing without client_secret")
	}
}

// checkGrant reports what the flow cannot begin without.
func (c Config) checkGrant(bad func(key, format string, args ...any)) {
	switch c.Flow {
	case RefreshToken:
		if c.RefreshToken.IsZero() {
			bad("refresh_token", "it is missing; write the one you got, or use flow %s or %s to get one with \"postern login\"", Device, AuthorizationCode)
		}
	case ServiceAccount:
		if c.ServiceAccount.IsZero() {
			bad("service_account", "it is missing; write the key file that Google gave you, such as file:/etc/postern/google.json")
		} else if _, err := readServiceAccount(c.ServiceAccount); err != nil {
			bad("service_account", "%v", err)
		}
	}
	if len(c.scopes()) == 0 {
		bad("scopes", "it is missing; write what the tokens are for, as the provider names it")
	}
	for i, s := range c.Scopes {
		if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) {
			bad(fmt.Sprintf("scopes[%d]", i), "%q is not one scope; write each as an entry of its own", s)
		}
	}
}

// checkEndpoints reports addresses that are missing or nowhere to send secrets.
func (c Config) checkEndpoints(bad func(key, format string, args ...any)) {
	c.checkTenant(bad)
	needs := map[string]string{"token_url": c.tokenURL()}
	switch c.Flow {
	case Device:
		needs["device_url"] = c.deviceURL()
	case AuthorizationCode:
		needs["authorize_url"] = c.authorizeURL()
		if err := checkRedirect(c.redirect()); err != nil {
			bad("redirect", "%v", err)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(needs)) {
		if needs[key] == "" {
			bad(key, "it is missing; write it, or a preset of the upstream that knows it")
		} else if err := checkURL(needs[key]); err != nil {
			bad(key, "%v", err)
		}
	}
}

func (c Config) checkTenant(bad func(key, format string, args ...any)) {
	used := []string{cmp.Or(c.TokenURL, c.Provider.TokenURL)}
	switch c.Flow {
	case Device:
		used = append(used, cmp.Or(c.DeviceURL, c.Provider.DeviceURL))
	case AuthorizationCode:
		used = append(used, cmp.Or(c.AuthorizeURL, c.Provider.AuthorizeURL))
	}
	hasHole := func(url string) bool { return strings.Contains(url, tenantHole) }
	wanted := slices.ContainsFunc(used, hasHole)
	switch {
	case wanted && c.Tenant == "":
		bad("tenant", "it is missing; write the id or a domain of your organisation there, such as example.onmicrosoft.com")
	case !wanted && !hasHole(c.Provider.TokenURL) && c.Tenant != "":
		bad("tenant", "it means nothing here: no address has a place for it, written {tenant}")
	case strings.ContainsFunc(c.Tenant, notInTenant):
		bad("tenant", "%q may hold only letters, digits, . and -", c.Tenant)
	}
}

func notInTenant(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '.')
}

// checkURL accepts where secrets may be sent: https, and http on this machine.
func checkURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "":
		return fmt.Errorf("%q is not a URL such as https://login.example.com/token", text)
	case u.Scheme == "https", u.Scheme == "http" && isLoopback(u.Hostname()):
		return nil
	}
	return fmt.Errorf("%q is not protected by TLS; write https://", text)
}

// checkRedirect accepts where a browser may bring a code to.
func checkRedirect(text string) error {
	if err := checkURL(text); err != nil {
		return err
	}
	if u, err := url.Parse(text); err != nil || u.RawQuery != "" {
		return fmt.Errorf("%q has a query; write it without", text)
	}
	return nil
}

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && a.IsLoopback()
}

// oneOf lists words for a person.
func oneOf(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}
