package auth_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"postern/auth"
	"postern/auth/bearer"
	"postern/relay/setting"
)

// quick is the hash of "correct horse" (see hash_test.go).
const quick = "$5$rounds=1000$0123456789abcdef$nR1521U8IXcSFtheYoCuDMlX/ICPi621L7rO.MJ27x2"

// pencil is the credential of "pencil" in RFC 7677, section 3.
const pencil = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

func TestConfigCheck(t *testing.T) {
	const mem = 256 << 20
	for _, test := range []struct {
		name   string
		config auth.Config
		want   []string
	}{
		{"the default is good", auth.DefaultConfig(), nil},
		{"no mechanism is reported", auth.Config{Memory: mem},
			[]string{"mechanisms: is empty, so nobody could log in; known are PLAIN, LOGIN, XOAUTH2, OAUTHBEARER, EXTERNAL, SCRAM-SHA-256, CRAM-MD5"}},
		{"an unknown mechanism is reported with those known", auth.Config{Mechanisms: []string{"PLAIN", "DIGEST-MD5"}, Memory: mem},
			[]string{`mechanisms[1]: "DIGEST-MD5" is not known; known are PLAIN, LOGIN, XOAUTH2, OAUTHBEARER, EXTERNAL, SCRAM-SHA-256, CRAM-MD5`}},
		{"a mechanism listed twice is reported", auth.Config{Mechanisms: []string{"LOGIN", "LOGIN"}, Memory: mem},
			[]string{"mechanisms[1]: LOGIN is listed twice"}},
		{"a mechanism for tokens without issuers is reported", auth.Config{Mechanisms: []string{"OAUTHBEARER"}, Memory: mem},
			[]string{"mechanisms[0]: OAUTHBEARER is for tokens, and auth.issuers names nobody whose tokens are taken"}},
		{"an issuer listed twice is reported", auth.Config{Mechanisms: []string{"LOGIN"}, Memory: mem, Issuers: []bearer.Issuer{{Tokeninfo: "google"}, {Tokeninfo: "google"}}},
			[]string{`issuers[1]: "google" is listed twice; an audience may have several values in one entry`}},
		{"memory for less than one of our own hashes is reported", auth.Config{Mechanisms: []string{"LOGIN"}, Memory: 8 << 20},
			[]string{`memory: 8MiB is too little: checking one password made by "postern hash" takes 19MiB`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			test.config.Check(func(key, format string, args ...any) {
				got = append(got, key+": "+fmt.Sprintf(format, args...))
			})
			if !slices.Equal(got, test.want) {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

func TestAccountCheck(t *testing.T) {
	for _, test := range []struct {
		name    string
		account auth.Account
		want    string // "" for none, else key and a part of the sentence
	}{
		{"a name and a hash are enough", auth.Account{Name: "printer-3f", PasswordHash: setting.Plain(quick)}, ""},
		{"a hash is not needed", auth.Account{Name: "Büro", Aliases: []string{"scan@example.com"}}, ""},
		{"a missing name is reported", auth.Account{}, "name: is missing"},
		{"a space in a name is reported", auth.Account{Name: "3rd floor"}, `name: "3rd floor" holds a space`},
		{"a space that only looks like one is reported", auth.Account{Name: "3rd\u00a0floor"}, "name: "},
		{"a control character in a name is reported", auth.Account{Name: "a\tb"}, `name: "a\tb" holds a space`},
		{"an invisible character in a name is reported", auth.Account{Name: "a\u200bb"}, `name: "a\u200bb" holds`},
		{"a name that is not UTF-8 is reported", auth.Account{Name: "a\xff"}, "name: is not valid UTF-8"},
		{"a name no client need send is reported", auth.Account{Name: strings.Repeat("a", 256)}, "name: is longer than 255 octets"},
		{"an empty alias is reported", auth.Account{Name: "a", Aliases: []string{"b", ""}}, "aliases[1]: is missing"},
		{"a password in place of the hash is reported", auth.Account{Name: "a", PasswordHash: setting.Plain("hunter2")}, "password_hash: is not a password hash"},
		{"a scheme not accepted is reported with those that are", auth.Account{Name: "a", PasswordHash: setting.Plain("$1$abc$def")}, "password_hash: is in no form that is accepted: argon2id"},
		{"a SCRAM credential is enough", auth.Account{Name: "a", SCRAM: setting.Plain(pencil)}, ""},
		{"a password in place of the SCRAM credential is reported", auth.Account{Name: "a", SCRAM: setting.Plain("hunter2")}, "scram: is not a SCRAM credential"},
		{"a SCRAM credential cut short is reported", auth.Account{Name: "a", SCRAM: setting.Plain(pencil[:len(pencil)-4])}, "scram: is not a SCRAM credential"},
		{"a SCRAM credential of another hash is reported", auth.Account{Name: "a", SCRAM: setting.Plain(strings.Replace(pencil, "256", "1", 1))}, "scram: is not a SCRAM credential"},
		{"a SCRAM credential of too few rounds is reported", auth.Account{Name: "a", SCRAM: setting.Plain(strings.Replace(pencil, "4096", "1000", 1))}, "scram: has 1000 rounds"},
		{"a CRAM secret is enough", auth.Account{Name: "a", CRAMSecret: setting.Plain("hunter2")}, ""},
		{"a CRAM secret that is too long is reported", auth.Account{Name: "a", CRAMSecret: setting.Plain(strings.Repeat("x", 256))}, "cram_secret: the password is longer than 255 octets"},
		{"a damaged hash is reported", auth.Account{Name: "a", PasswordHash: setting.Plain(quick[:50])}, "password_hash: is damaged"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			test.account.Check(func(key, format string, args ...any) {
				got = append(got, key+": "+fmt.Sprintf(format, args...))
			})
			switch {
			case test.want == "" && len(got) > 0:
				t.Errorf("got %q", got)
			case test.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], test.want)):
				t.Errorf("got %q, want one that begins %q", got, test.want)
			}
		})
	}
}

func TestNamesAreUniqueInAnyCase(t *testing.T) {
	accounts := []auth.Account{
		{Name: "Printer", Aliases: []string{"scan@example.com"}},
		{Name: "printer"},
		{Name: "erp", Aliases: []string{"SCAN@example.com", "ERP"}},
		{Name: ""}, {Name: ""},
		{Name: "ſcanner"}, {Name: "SCANNER"}, // the long s has the same capital
		{Name: "unique"},
	}
	var got []string
	auth.Check(accounts, func(i int, key, format string, args ...any) {
		got = append(got, fmt.Sprintf("%d %s: ", i, key)+fmt.Sprintf(format, args...))
	})
	want := []string{
		`1 name: "printer" is already a name of account "Printer"; letter case makes no difference`,
		`2 aliases[0]: "SCAN@example.com" is already a name of account "Printer"; letter case makes no difference`,
		`2 aliases[1]: "ERP" is already a name of account "erp"; letter case makes no difference`,
		`6 name: "SCANNER" is already a name of account "ſcanner"; letter case makes no difference`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestCertificatesAreOfOneAccount(t *testing.T) {
	var got []string
	auth.Check([]auth.Account{
		{Name: "a", Certificates: []auth.CertificateName{"dns:a.example.com", "subject:CN=a"}},
		{Name: "b", Certificates: []auth.CertificateName{"subject:CN=b", "dns:a.example.com"}},
	}, func(i int, key, format string, args ...any) {
		got = append(got, fmt.Sprintf("%d %s: ", i, key)+fmt.Sprintf(format, args...))
	})
	want := []string{`1 certificates[1]: dns:a.example.com is already a certificate of account "a"; a client that shows it must be one of them`}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestAMechanismNeedsAnAccount(t *testing.T) {
	for mechanism, account := range map[string]auth.Account{
		"SCRAM-SHA-256": {Name: "a", SCRAM: setting.Plain(pencil)},
		"CRAM-MD5":      {Name: "a", CRAMSecret: setting.Plain("secret")},
		"EXTERNAL":      {Name: "a", Certificates: []auth.CertificateName{"dns:a"}},
		"LOGIN":         {Name: "a"},
	} {
		cfg := auth.Config{Mechanisms: []string{"PLAIN", mechanism}}
		check := func(accounts ...auth.Account) (got []string) {
			auth.CheckMechanisms(cfg, accounts, func(key, format string, args ...any) {
				got = append(got, key+": "+fmt.Sprintf(format, args...))
			})
			return got
		}
		if got := check(auth.Account{Name: "b"}, account); len(got) != 0 {
			t.Errorf("%s with an account for it: %q", mechanism, got)
		}
		got := check(auth.Account{Name: "b"})
		if mechanism != "LOGIN" && (len(got) != 1 || !strings.HasPrefix(got[0], "mechanisms[1]: "+mechanism+" is offered, but no account has ")) || mechanism == "LOGIN" && len(got) != 0 {
			t.Errorf("%s without an account for it: %q", mechanism, got)
		}
	}
}
