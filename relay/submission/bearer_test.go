package submission

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"postern/relay/message"
)

func TestBearerResponses(t *testing.T) {
	const good = "\x01auth=Bearer abc.def\x01\x01"
	for _, row := range []struct {
		what, mechanism, response string
		name, token               string // asked for; none: refused as malformed
	}{
		{"the documented form", "XOAUTH2", "user=user@example.com" + good, "user@example.com", "abc.def"},
		{"no name", "XOAUTH2", "auth=Bearer abc.def\x01\x01", "", "abc.def"},
		{"the scheme in any letter case", "XOAUTH2", "user=a\x01auth=BEARER abc\x01\x01", "a", "abc"},
		{"a token with every character it may have", "XOAUTH2", "auth=Bearer aZ09-._~+/==\x01\x01", "", "aZ09-._~+/=="},
		{"more than name and token", "XOAUTH2", "user=a\x01host=b\x01auth=Bearer abc\x01port=\x01\x01", "a", "abc"},
		{"nothing", "XOAUTH2", "", "", ""},
		{"the answer to an explanation", "XOAUTH2", "\x01", "", ""},
		{"no token", "XOAUTH2", "user=a\x01\x01", "", ""},
		{"an empty token", "XOAUTH2", "user=a\x01auth=Bearer \x01\x01", "", ""},
		{"a token of padding", "XOAUTH2", "auth=Bearer ==\x01\x01", "", ""},
		{"two names", "XOAUTH2", "user=a\x01user=b" + good, "", ""},
		{"two tokens", "XOAUTH2", "auth=Bearer a\x01auth=Bearer b\x01\x01", "", ""},
		{"another scheme", "XOAUTH2", "user=a\x01auth=Basic abc\x01\x01", "", ""},
		{"a token with a line end", "XOAUTH2", "auth=Bearer abc\r\nX: y\x01\x01", "", ""},
		{"a token with a space", "XOAUTH2", "auth=Bearer abc def\x01\x01", "", ""},
		{"a token that is not ASCII", "XOAUTH2", "auth=Bearer \xe4bc\x01\x01", "", ""},
		{"no last octet", "XOAUTH2", "user=a\x01auth=Bearer abc\x01", "", ""},
		{"something behind the end", "XOAUTH2", "user=a\x01auth=Bearer abc\x01\x01x", "", ""},
		{"a pair without a key", "XOAUTH2", "=a" + good, "", ""},

		{"a name", "OAUTHBEARER", "n,a=user@example.com,\x01host=gw.example.com\x01port=587" + good, "user@example.com", "abc.def"},
		{"no name", "OAUTHBEARER", "n,," + good, "", "abc.def"},
		{"a client that could bind to the channel", "OAUTHBEARER", "y,a=a," + good, "a", "abc.def"},
		{"a name that is encoded", "OAUTHBEARER", "n,a=a=2Cb=3Dc=3D2C," + good, "a,b=c=2C", "abc.def"},
		{"a client that binds to the channel", "OAUTHBEARER", "p=tls-unique,a=a," + good, "", ""},
		{"a name that is encoded wrongly", "OAUTHBEARER", "n,a=a=b," + good, "", ""},
		{"a name that is encoded in lower case", "OAUTHBEARER", "n,a=a=2cb," + good, "", ""},
		{"a name that is empty", "OAUTHBEARER", "n,a=," + good, "", ""},
		{"a name without its key", "OAUTHBEARER", "n,user," + good, "", ""},
		{"another flag", "OAUTHBEARER", "x,," + good, "", ""},
		{"no header", "OAUTHBEARER", "auth=Bearer abc.def\x01\x01", "", ""},
		{"half a header", "OAUTHBEARER", "n,", "", ""},
		{"nothing behind the header", "OAUTHBEARER", "n,,", "", ""},
		{"no pairs", "OAUTHBEARER", "n,,\x01\x01", "", ""},
		{"the answer to an explanation", "OAUTHBEARER", "\x01", "", ""},
	} {
		t.Run(row.mechanism+" with "+row.what, func(t *testing.T) {
			asked := false
			server := askers[row.mechanism](func(name, token string) error {
				asked = true
				if name != row.name || token != row.token {
					t.Errorf("asked for %q with %q, want %q with %q", name, token, row.name, row.token)
				}
				return nil
			})
			_, done, err := server.Next([]byte(row.response))
			var reply *message.Reply
			if row.token == "" {
				if asked || !errors.As(err, &reply) || reply.Code != 501 {
					t.Errorf("asked: %v, error: %v; want 501", asked, err)
				}
			} else if !asked || !done || err != nil {
				t.Errorf("asked: %v, done: %v, error: %v", asked, done, err)
			}
		})
	}
}

// The vectors that clients and documents of the providers use.
func TestBearerVectors(t *testing.T) {
	for plain, encoded := range map[string]string{
		"user=user@example.com\x01auth=Bearer abc.def\x01\x01":                                    "dXNlcj11c2VyQGV4YW1wbGUuY29tAWF1dGg9QmVhcmVyIGFiYy5kZWYBAQ==",
		"n,a=user@example.com,\x01host=gw.example.com\x01port=587\x01auth=Bearer abc.def\x01\x01": "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9Z3cuZXhhbXBsZS5jb20BcG9ydD01ODcBYXV0aD1CZWFyZXIgYWJjLmRlZgEB",
		"n,,\x01auth=Bearer abc.def\x01\x01":                                                      "biwsAWF1dGg9QmVhcmVyIGFiYy5kZWYBAQ==",
	} {
		if got := b64(plain); got != encoded {
			t.Errorf("%q is %s, want %s", plain, got, encoded)
		}
	}
	p := open(t, func(p *post) { p.config.Mechanisms = []string{"XOAUTH2", "OAUTHBEARER"} })
	for _, response := range []string{
		"XOAUTH2 dXNlcj11c2VyQGV4YW1wbGUuY29tAWF1dGg9QmVhcmVyIGFiYy5kZWYBAQ==",
		"OAUTHBEARER bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9Z3cuZXhhbXBsZS5jb20BcG9ydD01ODcBYXV0aD1CZWFyZXIgYWJjLmRlZgEB",
		"OAUTHBEARER biwsAWF1dGg9QmVhcmVyIGFiYy5kZWYBAQ==",
	} {
		c := p.dial(t, "submissions")
		c.expect("220")
		c.ask("EHLO client.example", "250")
		c.ask("AUTH "+response, "235")
	}
}

func TestLongTokens(t *testing.T) {
	p := open(t, func(p *post) { p.config.Mechanisms = []string{"XOAUTH2", "OAUTHBEARER"} })
	token := "long." + strings.Repeat("x", 16<<10)
	for mechanism, response := range map[string]string{
		"XOAUTH2":     b64(fmt.Sprintf("user=printer\x01auth=Bearer %s\x01\x01", token)),
		"OAUTHBEARER": b64(fmt.Sprintf("n,a=printer,\x01auth=Bearer %s\x01\x01", token)),
	} {
		t.Run(mechanism+" in one step", func(t *testing.T) {
			c := p.dial(t, "submissions")
			c.expect("220")
			c.ask("EHLO client.example", "250")
			c.ask("AUTH "+mechanism+" "+response, "235")
		})
		t.Run(mechanism+" in two steps", func(t *testing.T) {
			c := p.dial(t, "submissions")
			c.expect("220")
			c.ask("EHLO client.example", "250")
			c.ask("AUTH "+mechanism, "334 ")
			c.ask(response, "235")
		})
	}
	for _, how := range []string{"XOAUTH2", "OAUTHBEARER"} {
		t.Run("a response of 100 KB to "+how+" ends the session", func(t *testing.T) {
			c := p.dial(t, "submissions")
			c.expect("220")
			c.ask("EHLO client.example", "250")
			c.ask("AUTH "+how, "334 ")
			c.send(strings.Repeat("QUFB", 25<<10) + "\r\nMAIL FROM:<scan@example.com>\r\n")
			c.expect("500 5.4.0 Too long line")
			c.ended()
		})
	}
}
