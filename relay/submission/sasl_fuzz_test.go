package submission

import (
	"bytes"
	"strings"
	"testing"

	"github.com/emersion/go-sasl"

	"postern/relay/message"
)

// FuzzMechanisms gives the servers of PLAIN and LOGIN any octets for up to
// three responses; a response that begins with "-" is none at all. Whatever
// they are, an exchange ends within three steps, asks at most once who it is,
// with nothing but what the client said, and succeeds only if told so.
func FuzzMechanisms(f *testing.F) {
	for _, seed := range [][3]string{
		{"\x00printer\x00canary-secret", "", ""},
		{"-", "\x00printer\x00canary-secret", ""},
		{"printer\x00PRINTER\x00canary-secret", "", ""},
		{"boss\x00printer\x00canary-secret", "", ""},
		{"printer", "canary-secret", ""},
		{"-", "printer", "canary-secret"},
		{"", "", ""}, {"-", "", ""}, {"-", "-", "-"}, {"\x00\x00", "\x00\x00\x00", "\xff\xfe"},
	} {
		f.Add(true, seed[0], seed[1], seed[2])
		f.Add(false, seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, isPlain bool, first, second, third string) {
		name := "LOGIN"
		if isPlain {
			name = "PLAIN"
		}
		said := []string{first, second, third}
		var asked [][2]string
		server := mechanisms[name](func(user, password string) error {
			asked = append(asked, [2]string{user, password})
			if password != "canary-secret" {
				return errCredentials
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
		if reply, ok := err.(*message.Reply); err != nil && (!ok || !reply.Permanent()) {
			t.Errorf("it failed with %v, which is not a reply that counts", err)
		}
		if len(asked) == 1 {
			checkAsked(t, isPlain, asked[0], said)
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

// checkAsked compares name and password asked for with what was said.
func checkAsked(t *testing.T, isPlain bool, asked [2]string, said []string) {
	t.Helper()
	user, password := asked[0], asked[1]
	if !isPlain {
		all := strings.Join(said, "\n")
		if !strings.Contains(all, user) || !strings.Contains(all, password) {
			t.Errorf("%q was asked after %q", asked, said)
		}
		return
	}
	for _, s := range said {
		as, rest, _ := strings.Cut(s, "\x00")
		if rest == user+"\x00"+password && (as == "" || strings.EqualFold(as, user)) && bytes.Count([]byte(s), []byte{0}) == 2 {
			return
		}
	}
	t.Errorf("%q was asked after %q", asked, said)
}
