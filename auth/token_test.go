package auth_test

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"postern/auth"
	"postern/auth/bearer"
	"postern/relay/message"
	"postern/relay/setting"
)

// openTokens makes accounts with one issuer, which knows these tokens (RFC 7662).
func openTokens(t *testing.T, tokens map[string]map[string]any, accounts ...func(issuer string) auth.Account) *auth.Accounts {
	t.Helper()
	idp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := tokens[r.PostFormValue("token")]
		if answer == nil {
			answer = map[string]any{"active": false}
		}
		json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(idp.Close)
	cfg := auth.DefaultConfig()
	cfg.Mechanisms = []string{"XOAUTH2", "OAUTHBEARER"}
	cfg.Issuers = []bearer.Issuer{{IntrospectionURL: idp.URL, ClientID: "postern", ClientSecret: setting.Plain("secret"), AccountClaim: "username"}}
	var all []auth.Account
	for _, account := range accounts {
		all = append(all, account(idp.URL))
	}
	a, err := auth.New(cfg, all, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestBearer(t *testing.T) {
	const from = "192.0.2.7"
	exp := time.Now().Add(time.Hour).Truncate(time.Second)
	tokens := map[string]map[string]any{
		"of-mary":    {"active": true, "sub": "8c1f", "username": "MARY@example.com", "exp": exp.Unix()},
		"of-erp":     {"active": true, "client_id": "erp-client"},
		"of-bob":     {"active": true, "sub": "77aa", "username": "bob"},
		"of-fenced":  {"active": true, "username": "fenced"},
		"of-nobody":  {"active": true, "sub": "0000", "username": "nobody"},
		"of-no-name": {"active": true, "sub": ""},
		"of-both":    {"active": true, "sub": "erp-client", "username": "mary"},
	}
	a := openTokens(t, tokens,
		func(string) auth.Account { return auth.Account{Name: "mary", Aliases: []string{"mary@example.com"}} },
		func(issuer string) auth.Account {
			return auth.Account{Name: "erp", Subjects: []bearer.Subject{{Issuer: issuer, Subject: "erp-client"}, {Issuer: issuer, Subject: "bob"}}}
		},
		func(string) auth.Account {
			return auth.Account{Name: "fenced", Networks: networks(t, "10.20.0.0/16")}
		})
	for _, test := range []struct {
		name, user, token, from string
		account, subject        string // or
		status, told            string
	}{
		{"the claim names an account by an alias, in any letter case", "", "of-mary", from, "mary", "8c1f", "", ""},
		{"the user name may be the account", "Mary", "of-mary", from, "mary", "8c1f", "", ""},
		{"the user name may be another of its names", "mary@EXAMPLE.com", "of-mary", from, "mary", "8c1f", "", ""},
		{"an account lists a program as its subject", "erp", "of-erp", from, "erp", "erp-client", "", ""},
		{"an account lists what the claim says", "erp", "of-bob", from, "erp", "77aa", "", ""},
		{"a subject that is listed goes before a name", "", "of-both", from, "erp", "erp-client", "", ""},
		{"the networks of the account hold the client", "", "of-fenced", "::ffff:10.20.3.4", "fenced", "", "", ""},

		{"another account's name is refused", "erp", "of-mary", from, "", "", "invalid_request", "is not for the user name given"},
		{"a name nobody has is refused", "boss", "of-mary", from, "", "", "invalid_request", "is not for the user name given"},
		{"the subject is no user name", "8c1f", "of-mary", from, "", "", "invalid_request", "is not for the user name given"},
		{"a token that names no account is refused", "", "of-nobody", from, "", "", "invalid_request", "names no account here"},
		{"a token without a name is refused", "", "of-no-name", from, "", "", "invalid_request", "names no account here"},
		{"another network is refused", "", "of-fenced", from, "", "", "invalid_request", "is not valid from this address"},
		{"a token that is not known is refused", "mary", "rubbish", from, "", "", "invalid_token", "is not valid, or not any more"},
	} {
		t.Run(test.name, func(t *testing.T) {
			who, err := a.Bearer(t.Context(), test.user, test.token, netip.MustParseAddr(test.from))
			if who.Account != test.account || who.User != test.subject {
				t.Errorf("got %+v, %v", who, err)
			}
			var refusal *message.TokenRefusal
			if got := errors.As(err, &refusal); got != (test.status != "") {
				t.Fatalf("the error is %v", err)
			}
			if refusal != nil && (refusal.Status != test.status || !strings.Contains(err.Error(), "535 5.7.8 The token "+test.told)) {
				t.Errorf("got %s, %v", refusal.Status, err)
			}
		})
	}
	who, err := a.Bearer(t.Context(), "", "of-mary", anywhere)
	if err != nil || !who.Expires.Equal(exp.Add(time.Minute)) {
		t.Errorf("it expires at %s, %v; want %s and the skew of the clocks", who.Expires, err, exp)
	}
	if who, _ := a.Bearer(t.Context(), "", "of-erp", anywhere); !who.Expires.IsZero() {
		t.Errorf("it expires at %s, and should never", who.Expires)
	}
}

func TestBearerWithoutIssuers(t *testing.T) {
	a := open(t, auth.Account{Name: "mary"})
	a.Prepare(t.Context())
	if _, err := a.Bearer(t.Context(), "mary", "of-mary", anywhere); code(t, err) != 535 {
		t.Errorf("got %v", err)
	}
}

func TestSubjectsAreChecked(t *testing.T) {
	cfg := auth.DefaultConfig()
	cfg.Issuers = []bearer.Issuer{{Tokeninfo: "google", Audience: bearer.Audience{"app"}}}
	_, err := auth.New(cfg, []auth.Account{{Name: "a", Subjects: []bearer.Subject{{Issuer: "https://accounts.google.com", Subject: "x"}}}}, slog.New(slog.DiscardHandler))
	if err == nil || !strings.HasPrefix(err.Error(), `accounts[0].subjects[0]: auth.issuers has no "https://accounts.google.com"`) {
		t.Errorf("got %v", err)
	}
}
