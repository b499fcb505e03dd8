package auth

import (
	"encoding/base64"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xdg-go/scram"

	"postern/relay/message"
	"postern/relay/setting"
)

// pencil is the credential of "pencil" in RFC 7677, section 3.
const pencil = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

var (
	office   = netip.MustParseAddr("10.20.3.7")
	stranger = netip.MustParseAddr("192.0.2.7")
)

// challengers are accounts for SCRAM and CRAM-MD5: "user" from the office only,
// with the password "pencil"; "app" with another; "deaf" with none.
func challengers(t testing.TB) *Accounts {
	t.Helper()
	var network setting.Network
	if err := network.UnmarshalText([]byte("10.20.0.0/16")); err != nil {
		t.Fatal(err)
	}
	app, err := newSCRAMCredential("correct horse", 5000) // for tests to be fast
	if err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.Mechanisms = []string{scramName, cramName}
	a, err := New(cfg, []Account{
		{Name: "User", Aliases: []string{"a,b=c"}, SCRAM: setting.Plain(pencil), CRAMSecret: setting.Plain("pencil"), Networks: setting.Networks{network}},
		{Name: "app", SCRAM: setting.Plain(app), CRAMSecret: setting.Plain("correct horse")},
		{Name: "deaf"},
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func replyCode(t testing.TB, err error) int {
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

// talk plays a client of SCRAM to the end.
func talk(t testing.TB, server Challenge, client *scram.ClientConversation) error {
	t.Helper()
	response, err := client.Step("")
	for err == nil {
		challenge, done, refused := server.Next([]byte(response))
		if refused != nil || done {
			return refused
		}
		if response, err = client.Step(string(challenge)); client.Done() {
			response = ""
		}
	}
	t.Fatalf("the client gave up: %v", err)
	return err
}

// The exchange of RFC 7677, section 3.
func TestSCRAMVector(t *testing.T) {
	c, err := challengers(t).Challenge(scramName, office)
	if err != nil {
		t.Fatal(err)
	}
	x := c.(*scramExchange)
	server, err := scram.SHA256.NewServer(x.credential)
	if err != nil {
		t.Fatal(err)
	}
	x.ServerConversation = server.WithNonceGenerator(func() string { return "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0" }).NewConversation()
	if x.Name() != "" {
		t.Errorf("the name is %q before it is told", x.Name())
	}
	for i, step := range []struct{ response, challenge string }{
		{"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"},
		{"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="},
		{"", ""},
	} {
		challenge, done, err := c.Next([]byte(step.response))
		if string(challenge) != step.challenge || done != (i == 2) || err != nil {
			t.Fatalf("after %q it said %q, %v, %v; want %q", step.response, challenge, done, err, step.challenge)
		}
		if c.Name() != "user" {
			t.Errorf("the name is %q", c.Name())
		}
	}
	if c.Identity().Account != "User" {
		t.Errorf("it is %+v", c.Identity())
	}
}

func TestSCRAM(t *testing.T) {
	a := challengers(t)
	for _, row := range []struct {
		what           string
		name, password string
		as             string
		from           netip.Addr
		want           int
	}{
		{"the right password", "user", "pencil", "", office, 235},
		{"the name in another letter case", "USER", "pencil", "", office, 235},
		{"a name that must be encoded", "a,b=c", "pencil", "", office, 235},
		{"a name with a soft hyphen, which RFC 4013 takes away", "us\u00ader", "pencil", "", office, 235},
		{"acting as oneself", "user", "pencil", "User", office, 235},
		{"acting as another", "user", "pencil", "app", office, 535},
		{"a wrong password", "user", "pen", "", office, 535},
		{"the password of another", "user", "correct horse", "", office, 535},
		{"an account of other networks", "user", "pencil", "", stranger, 535},
		{"an account without networks", "app", "correct horse", "", stranger, 235},
		{"an account without a credential", "deaf", "pencil", "", office, 535},
		{"nobody", "nobody", "pencil", "", office, 535},
	} {
		t.Run(row.what, func(t *testing.T) {
			client, err := scram.SHA256.NewClientUnprepped(row.name, row.password, row.as)
			if err != nil {
				t.Fatal(err)
			}
			server, err := a.Challenge(scramName, row.from)
			if err != nil {
				t.Fatal(err)
			}
			if got := replyCode(t, talk(t, server, client.NewConversation())); got != row.want {
				t.Errorf("it is %d, want %d", got, row.want)
			}
		})
	}
}

// What SCRAM makes lets in who knows the password, in whatever form Unicode has.
func TestSCRAMCredentialIsOfThePassword(t *testing.T) {
	text, err := SCRAM("ca\u00adn\u00f6e")
	if err != nil {
		t.Fatal(err)
	}
	again, err := SCRAM("ca\u00adn\u00f6e")
	if err != nil || again == text {
		t.Errorf("two credentials of a password are the same, or %v", err)
	}
	c, err := parseSCRAM(text)
	if err != nil || c.Iters != scramWork || len(c.Salt) != scramSalt {
		t.Fatalf("%s reads back as %+v, %v", text, c.KeyFactors, err)
	}
	client, err := scram.SHA256.NewClient("", "cano\u0308e", "")
	if err != nil {
		t.Fatal(err)
	}
	if same, err := client.GetStoredCredentialsWithError(c.KeyFactors); err != nil || string(same.StoredKey) != string(c.StoredKey) {
		t.Errorf("another spelling is another password, %v", err)
	}
	for _, bad := range []string{"", "a\x00b", strings.Repeat("x", 256), "bell\a"} {
		if _, err := SCRAM(bad); err == nil {
			t.Errorf("a credential of %q was made", bad)
		}
	}
}

// first is what the server says to a name.
func first(t testing.TB, a *Accounts, name string, from netip.Addr) (salt, rounds string) {
	t.Helper()
	c, err := a.Challenge(scramName, from)
	if err != nil {
		t.Fatal(err)
	}
	said, done, err := c.Next([]byte("n,,n=" + name + ",r=abc"))
	if err != nil || done {
		t.Fatalf("%s: %q, %v, %v", name, said, done, err)
	}
	parts := strings.Split(string(said), ",")
	if len(parts) != 3 || !strings.HasPrefix(parts[0], "r=abc") || len(parts[0]) < len("r=abc")+24 {
		t.Fatalf("%s: it said %q", name, said)
	}
	return parts[1], parts[2]
}

// Who counts failures must count them for the name that was looked up, however
// the client wrote it.
func TestSCRAMTellsTheNameItLookedUp(t *testing.T) {
	a := challengers(t)
	for _, written := range []string{"printer", "prin\u00adter", "ｐｒｉｎｔｅｒ", "printer\u200b"} {
		c, err := a.Challenge(scramName, stranger)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.Next([]byte("n,,n=" + written + ",r=abc")); err != nil || c.Name() != "printer" {
			t.Errorf("%q is the name %q, %v", written, c.Name(), err)
		}
	}
}

func TestSCRAMDoesNotTellWhoIsThere(t *testing.T) {
	a := challengers(t)
	rounds := map[string]bool{}
	salts := map[string]bool{}
	for _, name := range []string{"user", "nobody", "somebody", "deaf", "x", "y", "z", "v", "w"} {
		salt, i := first(t, a, name, stranger)
		again, _ := first(t, a, strings.ToUpper(name), stranger)
		if again != salt {
			t.Errorf("%s has the salts %s and %s", name, salt, again)
		}
		raw, err := base64.StdEncoding.DecodeString(salt[len("s="):])
		if err != nil || len(raw) != 16 || salts[salt] {
			t.Errorf("%s has the salt %s", name, salt)
		}
		salts[salt], rounds[i] = true, true
	}
	if !rounds["i=4096"] || !rounds["i=5000"] || len(rounds) != 2 {
		t.Errorf("the rounds are %v; they should be those of accounts", rounds)
	}
	if salt, _ := first(t, a, "user", stranger); salt == "s=W22ZaJ0SNY7soEsUEjb6gQ==" {
		t.Error("a stranger gets the salt of an account it may not use")
	}
	if salt, _ := first(t, a, "user", office); salt != "s=W22ZaJ0SNY7soEsUEjb6gQ==" {
		t.Errorf("the account's salt is told as %s", salt)
	}
}

// The salts of nobody outlive a restart, as those of accounts do, but cannot be
// found out without a credential.
func TestSCRAMStandInsAreThoseOfTheAccounts(t *testing.T) {
	c, err := parseSCRAM(pencil)
	if err != nil {
		t.Fatal(err)
	}
	other, err := newSCRAMCredential("pencil", minWork)
	if err != nil {
		t.Fatal(err)
	}
	salt := func(credentials ...string) string {
		var accounts []Account
		for _, text := range credentials {
			accounts = append(accounts, Account{SCRAM: setting.Plain(text)})
		}
		return newSCRAMStandIns(accounts).like(c, "nobody").Salt
	}
	if salt(pencil, other) != salt(other, pencil) {
		t.Error("a restart changes the salts of nobody")
	}
	if salt(pencil) == salt(other) {
		t.Error("the salts of nobody do not depend on what only the accounts know")
	}
}

// What was overheard of one exchange is of no use in another.
func TestSCRAMReplay(t *testing.T) {
	a := challengers(t)
	client, err := scram.SHA256.NewClient("user", "pencil", "")
	if err != nil {
		t.Fatal(err)
	}
	conversation := client.NewConversation()
	hello, err := conversation.Step("")
	if err != nil {
		t.Fatal(err)
	}
	heard, err := a.Challenge(scramName, office)
	if err != nil {
		t.Fatal(err)
	}
	challenge, _, err := heard.Next([]byte(hello))
	if err != nil {
		t.Fatal(err)
	}
	proof, err := conversation.Step(string(challenge))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := heard.Next([]byte(proof)); err != nil {
		t.Fatal(err)
	}
	replayed, err := a.Challenge(scramName, office)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := replayed.Next([]byte(hello)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := replayed.Next([]byte(proof)); replyCode(t, err) != 535 {
		t.Errorf("the replay gave %v", err)
	}
}

func TestSCRAMThatIsNone(t *testing.T) {
	a := challengers(t)
	const hello = "n,,n=user,r=abc"
	for _, row := range []struct {
		what string
		said []string // NONCE is the server's
		want int
	}{
		{"nothing", []string{""}, 501},
		{"no SCRAM", []string{"\x00user\x00pencil"}, 501},
		{"channel binding", []string{"p=tls-exporter,,n=user,r=abc"}, 501},
		{"another flag", []string{"x,,n=user,r=abc"}, 501},
		{"an extension that must be known", []string{"n,,m=x,n=user,r=abc"}, 501},
		{"a name encoded wrongly", []string{"n,,n=us=er,r=abc"}, 501},
		{"no proof", []string{hello, ""}, 501},
		{"half a proof", []string{hello, "c=biws,r=NONCE"}, 501},
		{"a proof that is not base64", []string{hello, "c=biws,r=NONCE,p=!"}, 501},
		{"a short proof", []string{hello, "c=biws,r=NONCE,p=AAAA"}, 535},
		{"an empty proof", []string{hello, "c=biws,r=NONCE,p="}, 535},
		{"a proof of zeros", []string{hello, "c=biws,r=NONCE,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}, 535},
		{"another nonce", []string{hello, "c=biws,r=abc,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}, 535},
		{"another binding", []string{hello, "c=eSws,r=NONCE,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}, 535},
		{"the hello again", []string{hello, hello}, 501},
		{"100 KB", []string{"n,,n=" + strings.Repeat("x", 100<<10) + ",r=abc", "c=biws,r=NONCE,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}, 535},
	} {
		t.Run(row.what, func(t *testing.T) {
			c, err := a.Challenge(scramName, office)
			if err != nil {
				t.Fatal(err)
			}
			nonce := ""
			for i, said := range row.said {
				challenge, done, err := c.Next([]byte(strings.ReplaceAll(said, "NONCE", nonce)))
				last := i == len(row.said)-1
				if done || (err != nil) != last || last && replyCode(t, err) != row.want {
					t.Fatalf("step %d gave %q, %v, %v; want %d", i, challenge, done, err, row.want)
				}
				nonce, _, _ = strings.Cut(strings.TrimPrefix(string(challenge), "r="), ",")
			}
		})
	}
	t.Run("words after the proof", func(t *testing.T) {
		client, err := scram.SHA256.NewClient("user", "pencil", "")
		if err != nil {
			t.Fatal(err)
		}
		server, err := a.Challenge(scramName, office)
		if err != nil {
			t.Fatal(err)
		}
		conversation := client.NewConversation()
		said, _ := conversation.Step("")
		for range 2 {
			challenge, _, err := server.Next([]byte(said))
			if err != nil {
				t.Fatal(err)
			}
			said, _ = conversation.Step(string(challenge))
		}
		if _, done, err := server.Next([]byte("and now?")); done || replyCode(t, err) != 501 {
			t.Errorf("they gave %v, %v", done, err)
		}
	})
}

// A credential is read at each use; one that cannot be read is our trouble.
func TestChallengeSecretsAreReadAgain(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	secret := func(name string) (s setting.Secret) {
		if err := s.UnmarshalText([]byte("file:" + filepath.Join(dir, name))); err != nil {
			t.Fatal(err)
		}
		return s
	}
	write("scram", pencil)
	write("cram", "pencil")
	cfg := DefaultConfig()
	cfg.Mechanisms = []string{scramName, cramName}
	a, err := New(cfg, []Account{{Name: "user", SCRAM: secret("scram"), CRAMSecret: secret("cram")}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	login := func(password string) (bySCRAM, byCRAM int) {
		client, err := scram.SHA256.NewClient("user", password, "")
		if err != nil {
			t.Fatal(err)
		}
		server, err := a.Challenge(scramName, office)
		if err != nil {
			t.Fatal(err)
		}
		return replyCode(t, talk(t, server, client.NewConversation())), cramLogin(t, a, "user", password, office)
	}
	if s, c := login("pencil"); s != 235 || c != 235 {
		t.Errorf("at first: %d, %d", s, c)
	}
	other, err := newSCRAMCredential("crayon", minWork)
	if err != nil {
		t.Fatal(err)
	}
	write("scram", other)
	write("cram", "crayon")
	if s, c := login("pencil"); s != 535 || c != 535 {
		t.Errorf("with the old password: %d, %d", s, c)
	}
	if s, c := login("crayon"); s != 235 || c != 235 {
		t.Errorf("with the new password: %d, %d", s, c)
	}
	os.Remove(filepath.Join(dir, "scram"))
	os.Remove(filepath.Join(dir, "cram"))
	if s, c := login("crayon"); s != 454 || c != 454 {
		t.Errorf("without the files: %d, %d", s, c)
	}
}
