package submission

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/emersion/go-sasl"

	"postern/relay/message"
)

// askers make the server of each mechanism that asks once, with a name and a
// secret. EXTERNAL has none to tell: it is in the certificate.
var askers = map[string]func(ask func(name, secret string) error) sasl.Server{
	"PLAIN":       func(ask func(name, secret string) error) sasl.Server { return &clientFirst{Server: plain{ask}} },
	"LOGIN":       func(ask func(name, secret string) error) sasl.Server { return &login{ask: ask} },
	"XOAUTH2":     func(ask func(name, secret string) error) sasl.Server { return &clientFirst{Server: xoauth2{ask}} },
	"OAUTHBEARER": func(ask func(name, secret string) error) sasl.Server { return &clientFirst{Server: oauthBearer{ask}} },
	"EXTERNAL": func(ask func(name, secret string) error) sasl.Server {
		return &clientFirst{Server: external{func(name string) error { return ask(name, "canary-secret") }}}
	},
}

// FuzzMechanisms gives the servers of all mechanisms any octets for up to three
// responses; a response that begins with "-" is none at all. Whatever they are,
// an exchange ends within three steps, asks at most once who it is, with nothing
// but what the client said, and succeeds only if told so.
func FuzzMechanisms(f *testing.F) {
	names := slices.Sorted(maps.Keys(askers))
	for _, seed := range [][3]string{
		{"\x00printer\x00canary-secret", "", ""},
		{"-", "\x00printer\x00canary-secret", ""},
		{"printer\x00PRINTER\x00canary-secret", "", ""},
		{"boss\x00printer\x00canary-secret", "", ""},
		{"printer", "canary-secret", ""},
		{"-", "printer", "canary-secret"},
		{"user=printer\x01auth=Bearer canary-secret\x01\x01", "", ""},
		{"-", "user=printer\x01auth=Bearer canary-secret\x01\x01", ""},
		{"user=printer\x01auth=Bearer wrong\x01\x01", "\x01", ""},
		{"n,a=printer=2Cone,\x01host=relay\x01port=587\x01auth=Bearer canary-secret\x01\x01", "", ""},
		{"y,,\x01auth=bearer wrong\x01\x01", "\x01", ""},
		{"p=tls-exporter,,\x01auth=Bearer canary-secret\x01\x01", "", ""},
		{"n,a==,\x01auth=Bearer =\x01\x01", "\x01\x01", "n,,"},
		{"printer", "", ""}, {"-", "", ""}, {"print\x00er", "", ""}, {"print\xffer", "", ""},
		{"", "", ""}, {"-", "", ""}, {"-", "-", "-"}, {"\x00\x00", "\x00\x00\x00", "\xff\xfe"},
	} {
		for i := range names {
			f.Add(uint8(i), seed[0], seed[1], seed[2])
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, first, second, third string) {
		name := names[int(which)%len(names)]
		said := []string{first, second, third}
		var asked [][2]string
		server := askers[name](func(name, secret string) error {
			asked = append(asked, [2]string{name, secret})
			if secret != "canary-secret" {
				return &message.TokenRefusal{Status: "invalid_token", Reply: errCredentials}
			}
			return nil
		})
		done, err := exchangeAll(server, said)
		if !done && err == nil {
			t.Fatal("the exchange did not end")
		}
		if len(asked) > 1 {
			t.Fatalf("%q was asked", asked)
		}
		if err == nil && (len(asked) == 0 || asked[0][1] != "canary-secret") {
			t.Errorf("it succeeded, having asked %q", asked)
		}
		var reply *message.Reply
		if err != nil && (!errors.As(err, &reply) || !reply.Permanent()) {
			t.Errorf("it failed with %v, which is not a reply that counts", err)
		}
		if len(asked) == 1 {
			checkAsked(t, name, asked[0], said)
		}
	})
}

// exchangeAll gives the responses until the server has decided.
func exchangeAll(server sasl.Server, said []string) (done bool, err error) {
	for _, s := range said {
		var response []byte
		if !strings.HasPrefix(s, "-") {
			response = []byte(s)
		}
		if _, done, err = server.Next(response); done || err != nil {
			return done, err
		}
	}
	return false, nil
}

// checkAsked compares name and secret asked for with what was said.
func checkAsked(t *testing.T, mechanism string, asked [2]string, said []string) {
	t.Helper()
	name, secret := asked[0], asked[1]
	for i, s := range said {
		var ok bool
		switch mechanism {
		case "PLAIN":
			as, rest, _ := strings.Cut(s, "\x00")
			ok = rest == name+"\x00"+secret && (as == "" || strings.EqualFold(as, name)) && strings.Count(s, "\x00") == 2
		case "LOGIN":
			ok = s == name && i+1 < len(said) && said[i+1] == secret
		case "EXTERNAL":
			ok = strings.HasPrefix(s, "-") && name == "" || s == name && utf8.ValidString(s) && !strings.Contains(s, "\x00")
		case "XOAUTH2":
			ok = strings.HasSuffix(s, "\x01\x01") && strings.Contains(strings.ToLower(s), "auth=bearer ") &&
				strings.Contains(s, secret+"\x01") && (name == "" || strings.Contains(s, "user="+name+"\x01"))
		case "OAUTHBEARER":
			encoded := strings.NewReplacer("=", "=3D", ",", "=2C").Replace(name)
			ok = strings.HasSuffix(s, "\x01\x01") && (s[0] == 'n' || s[0] == 'y') && strings.Contains(s, secret+"\x01") &&
				(name == "" && strings.HasPrefix(s[1:], ",,\x01") || name != "" && strings.HasPrefix(s[1:], ",a="+encoded+",\x01"))
		}
		if ok {
			return
		}
	}
	t.Errorf("%q was asked after %q", asked, said)
}
