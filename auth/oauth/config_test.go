package oauth_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"postern/auth/oauth"
	"postern/relay/setting"
)

// problems are what Check has against a configuration.
func problems(c oauth.Config) (all []string) {
	c.Check(func(key, format string, args ...any) { all = append(all, key+" "+fmt.Sprintf(format, args...)) })
	return all
}

// microsoft is as a preset fills it in.
var microsoft = oauth.Provider{
	TokenURL:  "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token",
	DeviceURL: "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/devicecode",
	AppScopes: []string{"https://outlook.office365.com/.default"}, UserScopes: []string{"https://outlook.office.com/SMTP.Send", "offline_access"},
	ClientAuth: "post",
}

func TestCheck(t *testing.T) {
	secret := setting.Plain(canarySecret)
	app := oauth.Config{Flow: oauth.ClientCredentials, Tenant: "example.onmicrosoft.com", ClientID: "id", ClientSecret: secret, Provider: microsoft}
	with := func(change func(*oauth.Config)) oauth.Config {
		c := app
		change(&c)
		return c
	}
	for _, row := range []struct {
		name   string
		config oauth.Config
		want   []string
	}{
		{"nothing of it is written", oauth.Config{Provider: microsoft}, nil},
		{"a preset knows the rest", app, nil},
		{"a device needs no secret", with(func(c *oauth.Config) { c.Flow, c.ClientSecret = oauth.Device, setting.Secret{} }), nil},
		{"no flow", oauth.Config{ClientID: "id"}, []string{"flow it is missing; write client_credentials, refresh_token, device, authorization_code or service_account"}},
		{"an unknown flow", oauth.Config{Flow: "password"}, []string{`flow "password" is not known; write client_credentials, refresh_token, device, authorization_code or service_account`}},
		{"no preset and nothing else", oauth.Config{Flow: oauth.ClientCredentials}, []string{
			"client_id it is missing; write the id of the app that is registered with the provider",
			"client_secret it is missing; write it, or certificate and key",
			"scopes it is missing; write what the tokens are for, as the provider names it",
			"token_url it is missing; write it, or a preset of the upstream that knows it",
		}},
		{"no tenant", with(func(c *oauth.Config) { c.Tenant = "" }), []string{"tenant it is missing; write the id or a domain of your organisation there, such as example.onmicrosoft.com"}},
		{"a tenant that leads elsewhere", with(func(c *oauth.Config) { c.Tenant = "a/../b" }), []string{`tenant "a/../b" may hold only letters, digits, . and -`}},
		{"a tenant for nothing", with(func(c *oauth.Config) {
			c.TokenURL, c.Provider = "https://login.example.com/token", oauth.Provider{AppScopes: []string{"s"}}
		}),
			[]string{"tenant it means nothing here: no address has a place for it, written {tenant}"}},
		{"secrets sent in clear", with(func(c *oauth.Config) { c.TokenURL = "http://login.example.com/{tenant}" }), []string{`token_url "http://login.example.com/example.onmicrosoft.com" is not protected by TLS; write https://`}},
		{"keys of another flow", with(func(c *oauth.Config) {
			c.RefreshToken, c.Subject, c.Redirect = secret, "a@example.com", "http://localhost"
		}), []string{
			"refresh_token it means nothing in the flow client_credentials, only in refresh_token; remove it, or change flow",
			"subject it means nothing in the flow client_credentials, only in service_account; remove it, or change flow",
			"redirect it means nothing in the flow client_credentials, only in authorization_code; remove it, or change flow",
		}},
		{"a secret and a certificate", with(func(c *oauth.Config) { c.Certificate, c.Key = "/a", "/b" }), []string{"client_secret and certificate prove the same; leave one of them out"}},
		{"half a certificate", with(func(c *oauth.Config) { c.Key, c.ClientSecret = "/b", setting.Secret{} }), []string{"certificate and key belong together; write both, as whole paths of PEM files"}},
		{"an end of nothing", with(func(c *oauth.Config) {
			c.Flow, c.ClientSecret, c.ClientSecretExpires, c.ClientAuth = oauth.Device, setting.Secret{}, day(t, "2027-03-01"), "post"
		}), []string{
			"client_secret_expires it means nothing without client_secret; the end of a certificate is read from it",
			"client_auth it means nothing without client_secret",
		}},
		{"a way to send the secret that is none", with(func(c *oauth.Config) { c.ClientAuth = "query" }), []string{`client_auth "query" is not known; write basic or post`}},
		{"two scopes in one", with(func(c *oauth.Config) { c.Scopes = []string{"a b"} }), []string{`scopes[0] "a b" is not one scope; write each as an entry of its own`}},
		{"no first token", with(func(c *oauth.Config) { c.Flow = oauth.RefreshToken }), []string{`refresh_token it is missing; write the one you got, or use flow device or authorization_code to get one with "postern login"`}},
		{"no page to agree on", with(func(c *oauth.Config) { c.Flow = oauth.AuthorizationCode }), []string{"authorize_url it is missing; write it, or a preset of the upstream that knows it"}},
		{"a redirect with a query", with(func(c *oauth.Config) {
			c.Flow, c.AuthorizeURL, c.Redirect = oauth.AuthorizationCode, "https://login.example.com/a", "http://localhost?x=1"
		}), []string{`redirect "http://localhost?x=1" has a query; write it without`}},
		{"no key", with(func(c *oauth.Config) { c.Flow, c.ClientID, c.ClientSecret = oauth.ServiceAccount, "", setting.Secret{} }),
			[]string{"service_account it is missing; write the key file that Google gave you, such as file:/etc/postern/google.json"}},
	} {
		if got := problems(row.config); !slices.Equal(got, row.want) {
			t.Errorf("%s: got\n%q\nwant\n%q", row.name, got, row.want)
		}
	}
	_, ecdsaKey := newKeys(t)
	expired := app
	expired.ClientSecret = setting.Secret{}
	expired.Certificate, expired.Key, _ = writePair(t, ecdsaKey, time.Date(2020, 1, 2, 0, 0, 0, 0, time.UTC))
	if got := problems(expired); len(got) != 1 || got[0] != "certificate "+expired.Certificate+" has expired on 2020-01-02; make a new one and register it with the provider" {
		t.Errorf("got %q", got)
	}
}

func day(t *testing.T, text string) (d oauth.Date) {
	t.Helper()
	if err := d.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDate(t *testing.T) {
	if b, err := day(t, "2027-03-01").MarshalText(); string(b) != "2027-03-01" || err != nil {
		t.Errorf("%s, %v", b, err)
	}
	for _, text := range []string{"", "2027-3-1", "01.03.2027", "2027-02-30", "2027-03-01T00:00:00Z"} {
		if err := new(oauth.Date).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func TestTheKeyOfTheStore(t *testing.T) {
	for text, want := range map[string]int{"": 0, "short": 1, "0123456789abcdef0123456789abcdef": 0} {
		got := 0
		s := oauth.Store{Key: setting.Plain(text)}
		if text == "" {
			s = oauth.Store{}
		}
		s.Check(func(string, string, ...any) { got++ })
		if got != want {
			t.Errorf("%q: %d problems", text, got)
		}
	}
}
