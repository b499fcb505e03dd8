package auth

import (
	"slices"
	"strings"
	"testing"

	"github.com/go-crypt/crypt/algorithm"
)

// vectors were all made by other implementations:
//
//   - argon2id: libargon2 20171227, the reference in C, by its argon2id_hash_encoded
//   - sha-crypt and bcrypt: crypt(3) of libxcrypt 4.4; the $5$ and $6$ ones
//     without rounds also by "openssl passwd -5 -salt saltstring" and "-6"
//   - scrypt and pbkdf2: hashlib.scrypt and hashlib.pbkdf2_hmac of Python 3.11,
//     which are OpenSSL's
var vectors = []struct {
	name, password, hash string
	memory               int64
}{
	{"argon2id", "correct horse", "$argon2id$v=19$m=1024,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$tCGweEmNNiMdfjqoFl9ZKRl/bO0NJTtJMmax1Il43Gc", 1 << 20},
	{"argon2id with four lanes and a short key", "correct horse", "$argon2id$v=19$m=256,t=1,p=4$MDEyMzQ1Njc4OWFiY2RlZg$L9gF9kBp1qOhiNbGzNvs6A", 256 << 10},
	{"argon2id as in the test suite of the reference", "password", "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", 256 << 10},
	{"argon2id with a long key and a password not in ASCII", "pässword", "$argon2id$v=19$m=2048,t=3,p=2$MDEyMzQ1Njc4OWFiY2RlZg$Di2daYKtOMIfCxwWliglzJWvB/2rjILl2J0iO09Pjomug4hV683jxT8sfoqlbjiS2v3wcBbI0FsffKwbpmi58w", 2 << 20},
	{"bcrypt 2a", "correct horse", "$2a$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e", smallMemory},
	{"bcrypt 2b", "correct horse", "$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e", smallMemory},
	{"bcrypt 2y", "correct horse", "$2y$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2", smallMemory},
	{"scrypt", "correct horse", "$scrypt$ln=10,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg$6g3umF+uVrJsObaTZhIbbTlgrvOEFcCItdwSjtPF67M", 128 * (1024*8 + 16 + 8)},
	{"scrypt with three lanes", "correct horse", "$scrypt$ln=9,r=4,p=3$MDEyMzQ1Njc4OWFiY2RlZg$twIK3emzQIOY+ZU/T6toWtf6A8RfGSwGOWpOGP/7V+U4PWP6Y10FECU2+O/iD3f3IX5uzN5EwFyuvHVUhJa/lg", 128 * (512*4 + 8 + 12)},
	{"pbkdf2 with SHA-1", "correct horse", "$pbkdf2$1000$MDEyMzQ1Njc4OWFiY2RlZg$aUfE2vx5Q7zgbb0jx49AaNpXUQQ", smallMemory},
	{"pbkdf2 with SHA-256", "correct horse", "$pbkdf2-sha256$1000$MDEyMzQ1Njc4OWFiY2RlZg$cBg8D2DungRB9k76szThf5ehfyBz991ay6PT8Srwk4M", smallMemory},
	{"pbkdf2 with SHA-512", "correct horse", "$pbkdf2-sha512$1000$MDEyMzQ1Njc4OWFiY2RlZg$OM0FAoIqCVK1sWtxDiffVlBejtLa.ks4TP71JiecwuSZCG8iLbnlIEPOMoVX.i2B2wkSxjQ8CRGR9OkNGuIPMQ", smallMemory},
	{"sha-crypt with SHA-256", "correct horse", "$5$saltstring$vc6YOOogU4kWVvwga8e9zTFgKcy4tb5LaPxIiPJzqEC", smallMemory},
	{"sha-crypt with SHA-256 and rounds", "correct horse", "$5$rounds=1000$0123456789abcdef$nR1521U8IXcSFtheYoCuDMlX/ICPi621L7rO.MJ27x2", smallMemory},
	{"sha-crypt with SHA-512", "correct horse", "$6$saltstring$.r0X7ub5wGR2v4Xz7svCIozfnlorFh19V89t8KC9Umd81uGhFgsyTRNyzQDXDIm17fFcR9z3z7oBNdsyYBbtm/", smallMemory},
	{"sha-crypt with SHA-512 and rounds", "correct horse", "$6$rounds=10000$abcdefgh$4QtuTRriJ3drZ4BfaTQD7R63rJSGHaht/poPXhZcaUXiAO/1Sq1c5nQsZMCg6WsanGq8pAvH.4NpzJCbVZRjJ1", smallMemory},
	{"sha-crypt and a password not in ASCII", "pässword", "$6$saltstring$CSTM8ggie.dU5m6eoS07/LZ2D/r4hrX.jxMSo1fYZexnehwOFJu1o2u1p.BZSnrxIhERrHnuxI8ONbt/kSPvF0", smallMemory},
}

func TestHashesOfOtherImplementations(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			h, err := parseHash(v.hash)
			if err != nil {
				t.Fatal(err)
			}
			if h.memory != v.memory {
				t.Errorf("memory = %d, want %d", h.memory, v.memory)
			}
			if !h.Match(v.password) {
				t.Error("the password does not match")
			}
			for _, other := range []string{"", v.password + "x", v.password[1:], strings.ToUpper(v.password)} {
				if h.Match(other) {
					t.Errorf("%q matches too", other)
				}
			}
		})
	}
}

const (
	salt     = "$MDEyMzQ1Njc4OWFiY2RlZg"
	key32    = "$tCGweEmNNiMdfjqoFl9ZKRl/bO0NJTtJMmax1Il43Gc"
	secret43 = "nR1521U8IXcSFtheYoCuDMlX/ICPi621L7rO.MJ27x2"
	secret53 = "abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e"
)

func TestHashesRefused(t *testing.T) {
	for _, test := range []struct {
		name, hash string
		want       error
	}{
		{"a password is not a hash", "correct horse", errNotHash},
		{"nothing is not a hash", "", errNotHash},
		{"a scheme in braces is not ours", "{CRYPT}$5$saltstring$vc6YOOogU4kWVvwga8e9zTFgKcy4tb5LaPxIiPJzqEC", errNotHash},
		{"a password that begins with a dollar is in no form", "$ecret", errScheme},
		{"one dollar is in no form", "$", errScheme},
		{"MD5 crypt is broken", "$1$saltstri$abcdefghijklmnopqrstuv", errScheme},
		{"argon2i is weak with few passes", "$argon2i$v=19$m=1024,t=2,p=1" + salt + key32, errScheme},
		{"bcrypt 2x is a bug kept alive", "$2x$04$" + secret53, errScheme},
		{"argon2id of the old version", "$argon2id$v=16$m=1024,t=2,p=1" + salt + key32, errMalformed},
		{"argon2id without a key", "$argon2id$v=19$m=1024,t=2,p=1" + salt, errMalformed},
		{"argon2id with an empty key", "$argon2id$v=19$m=1024,t=2,p=1" + salt + "$", errMalformed},
		{"a key cut short would match many passwords", "$argon2id$v=19$m=1024,t=2,p=1" + salt + "$tCGw", errMalformed},
		{"argon2id with lanes by the thousand", "$argon2id$v=19$m=65536,t=2,p=4096" + salt + key32, errMalformed},
		{"argon2id with more passes than time", "$argon2id$v=19$m=65536,t=4294967295,p=1" + salt + key32, errCostly},
		{"argon2id with all memory there is", "$argon2id$v=19$m=4294967295,t=1,p=1" + salt + key32, errCostly},
		{"the last of two costs is the one that counts", "$argon2id$v=19$m=8,t=1,t=4294967295,m=65536,p=1" + salt + key32, errCostly},
		{"bcrypt cut short", "$2b$04$" + secret53[1:], errMalformed},
		{"bcrypt with a cost the library would raise", "$2b$03$" + secret53, errMalformed},
		{"bcrypt with a negative cost", "$2b$-4$" + secret53, errMalformed},
		{"bcrypt with too high a cost", "$2b$16$" + secret53, errCostly},
		{"bcrypt with a cost beyond bcrypt", "$2b$64$" + secret53, errMalformed},
		{"scrypt with a block size of zero", "$scrypt$ln=10,r=0,p=1" + salt + key32, errMalformed},
		{"scrypt with no lanes", "$scrypt$ln=10,r=8,p=0" + salt + key32, errMalformed},
		{"scrypt with a negative cost", "$scrypt$ln=-1,r=8,p=1" + salt + key32, errMalformed},
		{"scrypt with an endless cost", "$scrypt$ln=64,r=8,p=1" + salt + key32, errMalformed},
		{"scrypt with too high a cost", "$scrypt$ln=24,r=8,p=1" + salt + key32, errCostly},
		{"pbkdf2 without iterations", "$pbkdf2-sha256$0" + salt + key32, errMalformed},
		{"pbkdf2 with negative iterations", "$pbkdf2-sha256$-1000" + salt + key32, errMalformed},
		{"pbkdf2 with too many iterations", "$pbkdf2-sha256$1000000000$MDEyMzQ1Njc4OWFiY2RlZg$cBg8D2DungRB9k76szThf5ehfyBz991ay6PT8Srwk4M", errCostly},
		{"sha-crypt cut short", "$5$saltstring$" + secret43[1:], errMalformed},
		{"sha-crypt with another's key length", "$6$saltstring$" + secret43, errMalformed},
		{"sha-crypt with fewer rounds than it has", "$5$rounds=999$saltstring$" + secret43, errMalformed},
		{"sha-crypt with rounds that are none", "$5$rounds=$saltstring$" + secret43, errMalformed},
		{"sha-crypt with too many rounds", "$5$rounds=999999999$saltstring$" + secret43, errCostly},
		{"sha-crypt with a salt crypt(3) would cut", "$5$saltstringsaltstring$" + secret43, errMalformed},
		{"a text longer than any hash", "$argon2id$v=19$m=1024,t=2,p=1$" + strings.Repeat("A", maxText) + key32, errMalformed},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := parseHash(test.hash); err != test.want {
				t.Errorf("got  %v\nwant %v", err, test.want)
			}
		})
	}
}

// FuzzParseHash: whatever is accepted can be compared with without a panic or
// an error, and the sentences for what is not are fixed, so tell nothing of it.
func FuzzParseHash(f *testing.F) {
	for _, v := range vectors {
		f.Add(v.hash)
	}
	f.Add("$scrypt$ln=0,r=-1,p=0" + salt + key32)
	f.Add("$argon2id$v=19$p=0,t=0,m=0" + salt + key32)
	f.Add("$2b$$")
	f.Fuzz(func(t *testing.T, text string) {
		h, err := parseHash(text)
		if err != nil {
			if !slices.Contains([]error{errNotHash, errScheme, errMalformed, errCostly}, err) {
				t.Errorf("%q: %v may tell what was written", text, err)
			}
			return
		}
		if h.memory <= 0 || h.seconds <= 0 {
			t.Errorf("%q costs %+v", text, h.cost)
		}
		if h.seconds > 0.01 || h.memory > 1<<20 {
			return
		}
		if _, err := h.matcher.(algorithm.Digest).MatchAdvanced("password"); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	})
}
