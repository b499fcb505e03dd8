package auth

import (
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"github.com/xdg-go/stringprep"
)

// FuzzChallenge gives the servers of SCRAM-SHA-256 and CRAM-MD5 any octets for
// up to three responses, with the server's nonce or challenge wherever they
// say NONCE. Whatever they are, nothing but a proof lets anybody in, an exchange
// ends with a reply that counts, and nobody is named who was not.
func FuzzChallenge(f *testing.F) {
	zero := "c=biws,r=NONCE,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	for _, seed := range [][3]string{
		{"n,,n=user,r=abc", zero, ""},
		{"n,a=user,n=user,r=abc", "c=bixhPXVzZXIs,r=NONCE,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", ""},
		{"y,,n=nobody,r=", zero, zero},
		{"n,,n=a=2Cb=3Dc,r=abc,x=y", "c=biws,r=NONCE,x=y,p=", ""},
		{"p=tls-exporter,,n=user,r=abc", zero, ""},
		{"n,,m=1,n=user,r=abc", zero, ""},
		{"n,,n=us=er,r=\x00", "c=,r=,p=", ""},
		{"user 00112233445566778899aabbccddeeff", "", ""},
		{"user NONCE", "", ""}, {"\xff\xfe 00", " ", ""}, {"", "", ""}, {"n,,n=,r=", "c=biws,r=NONCE,p=AA==", "v"},
	} {
		f.Add(true, seed[0], seed[1], seed[2])
		f.Add(false, seed[0], seed[1], seed[2])
	}
	a := challengers(f)
	f.Fuzz(func(t *testing.T, bySCRAM bool, one, two, three string) {
		if len(one)+len(two)+len(three) > 4096 {
			return // a nonce in many places would be all there is
		}
		mechanism := cramName
		if bySCRAM {
			mechanism = scramName
		}
		c, err := a.Challenge(mechanism, office)
		if err != nil {
			t.Fatal(err)
		}
		nonce := ""
		if !bySCRAM {
			challenge, _, err := c.Next(nil)
			if err != nil {
				t.Fatal(err)
			}
			nonce = hex.EncodeToString(challenge)
		}
		var said []string
		for _, response := range []string{one, two, three} {
			response = strings.ReplaceAll(response, "NONCE", nonce)
			said = append(said, response)
			challenge, done, err := c.Next([]byte(response))
			if done && err == nil {
				t.Fatalf("it let in as %+v who said %q", c.Identity(), said)
			}
			if err != nil {
				if code := replyCode(t, err); code != 501 && code != 535 {
					t.Errorf("it ended with %v", err)
				}
				break
			}
			nonce, _, _ = strings.Cut(strings.TrimPrefix(string(challenge), "r="), ",")
		}
		if name := c.Name(); name != "" && !slices.Contains(namesIn(said), name) {
			t.Errorf("it names %q after %q", name, said)
		}
	})
}

// namesIn is every name that can be read in what a client has said, as it stands
// there and prepared as SCRAM does (RFC 5802, section 5.1).
func namesIn(said []string) (names []string) {
	decode := strings.NewReplacer("=3D", "=", "=2C", ",")
	for _, response := range said {
		if i := strings.LastIndexByte(response, ' '); i >= 0 {
			names = append(names, response[:i])
		}
		for part := range strings.SplitSeq(response, ",") {
			name, _ := strings.CutPrefix(part, "n=")
			names = append(names, decode.Replace(name))
		}
	}
	for _, name := range slices.Clone(names) {
		if prepared, err := stringprep.SASLprep.Prepare(name); err == nil {
			names = append(names, prepared)
		}
	}
	return names
}
