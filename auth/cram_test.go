package auth

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
)

// cramLogin is the reply to a client of CRAM-MD5.
func cramLogin(t testing.TB, a *Accounts, name, secret string, from netip.Addr) int {
	t.Helper()
	c, err := a.Challenge(cramName, from)
	if err != nil {
		t.Fatal(err)
	}
	challenge, done, err := c.Next(nil)
	if done || err != nil {
		t.Fatalf("it began with %q, %v, %v", challenge, done, err)
	}
	_, done, err = c.Next([]byte(name + " " + hex.EncodeToString(cramDigest(secret, challenge))))
	if c.Name() != name {
		t.Errorf("the name is %q, want %q", c.Name(), name)
	}
	if err == nil && (!done || c.Identity().Account == "") {
		t.Errorf("it ended with %v, %+v", done, c.Identity())
	}
	return replyCode(t, err)
}

// The exchange of RFC 2195, section 2.
func TestCRAMVector(t *testing.T) {
	challenge := []byte("<1896.697170952@postoffice.reston.mci.net>")
	if got := hex.EncodeToString(cramDigest("tanstaaftanstaaf", challenge)); got != "b913a602c7eda7a495b4e6e7334d3890" {
		t.Errorf("the digest is %s", got)
	}
}

func TestCRAM(t *testing.T) {
	a := challengers(t)
	for _, row := range []struct {
		what         string
		name, secret string
		from         netip.Addr
		want         int
	}{
		{"the right secret", "user", "pencil", office, 235},
		{"the name in another letter case", "USER", "pencil", office, 235},
		{"a wrong secret", "user", "pen", office, 535},
		{"no secret", "user", "", office, 535},
		{"an account of other networks", "user", "pencil", stranger, 535},
		{"an account without a secret", "deaf", "", office, 535},
		{"nobody", "nobody", "", office, 535},
	} {
		t.Run(row.what, func(t *testing.T) {
			if got := cramLogin(t, a, row.name, row.secret, row.from); got != row.want {
				t.Errorf("it is %d, want %d", got, row.want)
			}
		})
	}
}

func TestCRAMThatIsNone(t *testing.T) {
	a := challengers(t)
	for what, said := range map[string]string{
		"nothing":                  "",
		"no digest":                "user",
		"no name":                  " 00112233445566778899aabbccddeeff",
		"a short digest":           "user 00112233",
		"a long digest":            "user 00112233445566778899aabbccddeeff00",
		"a digest that is not hex": "user zz112233445566778899aabbccddeeff",
		"a space behind":           "user 00112233445566778899aabbccddeeff ",
		"100 KB":                   strings.Repeat("x", 100<<10),
	} {
		c, err := a.Challenge(cramName, office)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.Next(nil); err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.Next([]byte(said)); replyCode(t, err) != 501 {
			t.Errorf("%s gave %v", what, err)
		}
	}
	c, err := a.Challenge(cramName, office)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Next([]byte("user 00112233445566778899aabbccddeeff")); replyCode(t, err) != 501 {
		t.Errorf("an answer before the challenge gave %v", err)
	}
}

// No two exchanges have a challenge in common, so no answer fits twice.
func TestCRAMReplay(t *testing.T) {
	a := challengers(t)
	seen := map[string]bool{}
	for range 1000 {
		c, err := a.Challenge(cramName, office)
		if err != nil {
			t.Fatal(err)
		}
		challenge, _, err := c.Next(nil)
		if err != nil || seen[string(challenge)] || challenge[0] != '<' || challenge[len(challenge)-1] != '>' {
			t.Fatalf("the challenge is %q, %v", challenge, err)
		}
		seen[string(challenge)] = true
	}
	heard, err := a.Challenge(cramName, office)
	if err != nil {
		t.Fatal(err)
	}
	challenge, _, _ := heard.Next(nil)
	answer := []byte("user " + hex.EncodeToString(cramDigest("pencil", challenge)))
	if _, _, err := heard.Next(answer); err != nil {
		t.Fatal(err)
	}
	replayed, err := a.Challenge(cramName, office)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := replayed.Next(nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := replayed.Next(answer); replyCode(t, err) != 535 {
		t.Errorf("the replay gave %v", err)
	}
}

func TestChallengesThatAreNotOffered(t *testing.T) {
	a := challengers(t)
	if _, err := a.Challenge("DIGEST-MD5", office); replyCode(t, err) != 504 {
		t.Errorf("an unknown mechanism gave %v", err)
	}
	nobody, err := New(DefaultConfig(), nil, a.log)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := nobody.Challenge(scramName, office); c != nil || replyCode(t, err) != 504 {
		t.Errorf("SCRAM without credentials gave %v", err)
	}
}
