package auth_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"postern/auth"
	"postern/relay/message"
	"postern/relay/setting"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var anywhere = netip.MustParseAddr("192.0.2.7")

func networks(t *testing.T, texts ...string) (ns setting.Networks) {
	t.Helper()
	for _, text := range texts {
		var n setting.Network
		if err := n.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		ns = append(ns, n)
	}
	return ns
}

func open(t *testing.T, accounts ...auth.Account) *auth.Accounts {
	t.Helper()
	a, err := auth.New(auth.DefaultConfig(), accounts, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// code is 235 for a login that succeeded, else that of the reply.
func code(t *testing.T, err error) int {
	t.Helper()
	var reply *message.Reply
	switch {
	case err == nil:
		return 235
	case !errors.As(err, &reply):
		t.Fatalf("%v is not a reply", err)
	}
	return reply.Code
}

func TestPassword(t *testing.T) {
	a := open(t,
		auth.Account{Name: "Printer-3F", Aliases: []string{"Scan3F@example.com"}, PasswordHash: setting.Plain(quick)},
		auth.Account{Name: "fenced", PasswordHash: setting.Plain(quick), Networks: networks(t, "10.20.0.0/16", "2001:db8::/32", "fe80::/10")},
		auth.Account{Name: "tokens-only"},
	)
	for _, test := range []struct {
		name, user, password, from string
		want                       string // account, or "" for 535
	}{
		{"the name opens the account", "Printer-3F", "correct horse", "192.0.2.7", "Printer-3F"},
		{"any letter case of the name does", "PRINTER-3f", "correct horse", "192.0.2.7", "Printer-3F"},
		{"an alias does", "scan3f@EXAMPLE.com", "correct horse", "192.0.2.7", "Printer-3F"},
		{"a wrong password does not", "Printer-3F", "correct horsf", "192.0.2.7", ""},
		{"letter case of the password matters", "Printer-3F", "Correct Horse", "192.0.2.7", ""},
		{"an empty password does not", "Printer-3F", "", "192.0.2.7", ""},
		{"a password longer than any does not", "Printer-3F", strings.Repeat("a", 1<<14), "192.0.2.7", ""},
		{"a name nobody has does not", "nobody", "correct horse", "192.0.2.7", ""},
		{"an empty name does not", "", "correct horse", "192.0.2.7", ""},
		{"an account without a hash does not", "tokens-only", "correct horse", "192.0.2.7", ""},
		{"the network it may use does", "fenced", "correct horse", "10.20.3.4", "fenced"},
		{"so does one written as IPv6", "fenced", "correct horse", "::ffff:10.20.3.4", "fenced"},
		{"so does an IPv6 network", "fenced", "correct horse", "2001:db8::1", "fenced"},
		{"so does a link-local address with its zone", "fenced", "correct horse", "fe80::1%eth0", "fenced"},
		{"another network does not", "fenced", "correct horse", "10.21.3.4", ""},
		{"another network written as IPv6 does not", "fenced", "correct horse", "::ffff:10.21.3.4", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			for range 2 { // the second is answered from memory
				got, err := a.Password(t.Context(), test.user, test.password, netip.MustParseAddr(test.from))
				if got.Account != test.want {
					t.Errorf("got %q, %v; want %q", got.Account, err, test.want)
				}
				const refused = "535 5.7.8 User name or password is wrong, or not valid from this address"
				if test.want == "" && err.Error() != refused {
					t.Errorf("got %q\nwant %q", err, refused)
				}
			}
		})
	}
}

func TestMechanisms(t *testing.T) {
	a := open(t)
	if got := a.Mechanisms(); !slices.Equal(got, []string{"PLAIN", "LOGIN"}) {
		t.Errorf("got %q", got)
	}
	a.Mechanisms()[0] = "GSSAPI"
	if got := a.Mechanisms(); got[0] != "PLAIN" {
		t.Errorf("the caller could change them to %q", got)
	}
}

func TestWithoutAnyHashNobodyLogsIn(t *testing.T) {
	a := open(t, auth.Account{Name: "tokens-only"})
	for _, name := range []string{"tokens-only", "nobody"} {
		if _, err := a.Password(t.Context(), name, "correct horse", anywhere); code(t, err) != 535 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	const big = "$argon2id$v=19$m=524288,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$tCGweEmNNiMdfjqoFl9ZKRl/bO0NJTtJMmax1Il43Gc"
	for _, test := range []struct {
		name     string
		config   auth.Config
		accounts []auth.Account
		want     string
	}{
		{"a config that Check reports", auth.Config{Memory: 256 << 20}, nil, "auth.mechanisms: is empty"},
		{"an account that Check reports", auth.DefaultConfig(), []auth.Account{{}}, "accounts[0].name: is missing"},
		{"names that Check reports", auth.DefaultConfig(), []auth.Account{{Name: "a"}, {Name: "A"}}, `accounts[1].name: "A" is already a name of account "a"`},
		{"a hash that needs more memory than there is", auth.DefaultConfig(), []auth.Account{{Name: "a", PasswordHash: setting.Plain(big)}},
			`accounts[0].password_hash: needs 512MiB of memory at each login, more than auth.memory, 256MiB. Raise that, or make a new one with "postern hash"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := auth.New(test.config, test.accounts, slog.New(slog.DiscardHandler))
			if err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
		})
	}
}

func TestHashInAFileIsReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hash")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(quick + "\n")
	var secret setting.Secret
	if err := secret.UnmarshalText([]byte("file:" + path)); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	a, err := auth.New(auth.DefaultConfig(), []auth.Account{{Name: "erp", PasswordHash: secret}}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	expect := func(password string, want int) {
		t.Helper()
		if _, err := a.Password(t.Context(), "erp", password, anywhere); code(t, err) != want {
			t.Errorf("%s: got %v, want %d", password, err, want)
		}
	}
	expect("correct horse", 235)

	password, hash, err := auth.Generate()
	if err != nil {
		t.Fatal(err)
	}
	write(hash)
	expect("correct horse", 535) // though it was right a moment ago
	expect(password, 235)

	write("CANARY")
	expect(password, 454) // ours to mend: the device must not give up
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	expect(password, 454)
	if got := log.String(); !strings.Contains(got, "account=erp") || strings.Contains(got, "CANARY") {
		t.Errorf("the log says %q", got)
	}
	write(hash)
	expect(password, 235)
}

func TestHash(t *testing.T) {
	hash, err := auth.Hash("correct horse")
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^\$argon2id\$v=19\$m=19456,t=2,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$`).MatchString(hash) {
		t.Errorf("got %s", hash)
	}
	a := open(t, auth.Account{Name: "erp", PasswordHash: setting.Plain(hash)})
	if _, err := a.Password(t.Context(), "erp", "correct horse", anywhere); err != nil {
		t.Error(err)
	}
	if again, _ := auth.Hash("correct horse"); again == hash {
		t.Error("two hashes have the same salt")
	}
	for _, password := range []string{"", strings.Repeat("a", 256), "a\x00b"} {
		if hash, err := auth.Hash(password); err == nil {
			t.Errorf("%.10q has the hash %s, but nobody could log in with it", password, hash)
		}
	}
}

func TestGenerate(t *testing.T) {
	form := regexp.MustCompile(`^[2-9a-hjkmnp-z]{26}$`)
	seen := make(map[rune]int)
	for range 200 {
		password, hash, err := auth.Generate()
		if err != nil {
			t.Fatal(err)
		}
		if !form.MatchString(password) {
			t.Fatalf("%s is not easy to type", password)
		}
		for _, r := range password {
			seen[r]++
		}
		a := open(t, auth.Account{Name: "printer", PasswordHash: setting.Plain(hash)})
		if _, err := a.Password(t.Context(), "printer", password, anywhere); err != nil {
			t.Fatal(err)
		}
	}
	// Of 5,200 characters each is expected 168 times; a draw that prefers or
	// leaves out some is far beyond these bounds, chance is not (10 sigma).
	if len(seen) != 31 {
		t.Errorf("%d characters are used, want 31", len(seen))
	}
	for r, n := range seen {
		if n < 40 || n > 300 {
			t.Errorf("%q is drawn %d times", r, n)
		}
	}
}

// TestSecretsStaySecret puts a canary wherever a password or hash may stand
// and looks for it in all that is said.
func TestSecretsStaySecret(t *testing.T) {
	const canary = "CANARYcanary"
	var said bytes.Buffer
	log := slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelDebug}))
	for _, hash := range []string{
		canary, "$" + canary, "$" + canary + "$", "$5$" + canary + "$x", "$6$rounds=" + canary + "$a$b", "$5$" + canary + "=1$a$b",
		"$argon2id$v=19$m=" + canary + "$a$b", "$argon2id$v=19$" + canary + "=1$a$b", "$argon2id$v=19$m=8,t=1,p=1$" + canary + "!$" + canary,
		"$argon2id$v=" + canary + "$m=8,t=1,p=1$a$b", "$2b$" + canary + "$a", "$2b$04$" + canary, "$scrypt$ln=" + canary + "$a$b",
		"$scrypt$" + canary + "=1$a$b", "$scrypt$ln=1,r=1,p=1$" + canary + "$!" + canary, "$pbkdf2$" + canary + "$a$b", "$pbkdf2$1$" + canary + "!$a",
		"$argon2id$v=19$m=4194304,t=9,p=1$" + canary + canary + "$" + canary + canary + canary, "$5$rounds=999999999$" + canary + "$" + strings.Repeat("a", 43),
	} {
		account := auth.Account{Name: "erp", PasswordHash: setting.Plain(hash)}
		_, err := auth.New(auth.DefaultConfig(), []auth.Account{account}, log)
		if err == nil {
			t.Errorf("%s is accepted", hash)
		}
		fmt.Fprintln(&said, err, account)
		fmt.Fprintf(&said, "%v %+v %#v\n", account, account, []auth.Account{account})
	}
	hash := "$5$" + canary + "$" + strings.Repeat(canary, 4)[:43]
	a, err := auth.New(auth.DefaultConfig(), []auth.Account{{Name: "erp", PasswordHash: setting.Plain(hash)}}, log)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"erp", "nobody"} {
		_, err := a.Password(t.Context(), name, canary, anywhere)
		fmt.Fprintln(&said, err)
	}
	_, err = auth.Hash(strings.Repeat(canary, 30))
	fmt.Fprintln(&said, err)
	_, err = auth.Hash(canary + "\x00")
	fmt.Fprintln(&said, err)
	if i := strings.Index(said.String(), canary); i >= 0 {
		t.Errorf("a secret is told: %q", said.String()[max(0, i-80):i+len(canary)])
	}
}
