package auth

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-crypt/crypt/algorithm"
	"github.com/go-crypt/crypt/algorithm/argon2"
	"github.com/go-crypt/crypt/algorithm/bcrypt"
	"github.com/go-crypt/crypt/algorithm/pbkdf2"
	"github.com/go-crypt/crypt/algorithm/scrypt"
	"github.com/go-crypt/crypt/algorithm/shacrypt"

	"postern/relay/setting"
)

// A hash is a stored password hash ready to be compared with.
type hash struct {
	matcher
	cost
}

// A matcher derives a key from a password, at full cost whatever the password
// is, and compares it with the stored one in constant time.
type matcher interface {
	Match(password string) bool
}

// cost is what one comparison takes.
type cost struct {
	memory  int64   // octets
	seconds float64 // of one core of a small server, roughly
}

const (
	// maxSeconds keeps a hash from asking for so much work that logging in
	// with it would stall everybody's logins.
	maxSeconds = 3
	// maxText is far above every accepted form, in octets.
	maxText = 512
	// smallMemory is above what bcrypt, pbkdf2 and sha-crypt take.
	smallMemory = 64 << 10
	// maxLanes bounds the goroutines one argon2id comparison starts.
	maxLanes = 64
)

// The errors say nothing of what was written: it may be a password, and part
// of a hash is still part of a hash.
var (
	errNotHash = errors.New(`is not a password hash: those begin with $. If it is the password itself, put the output of "postern hash" here instead`)
	errScheme  = errors.New("is in no form that is accepted: argon2id ($argon2id$), bcrypt ($2a$, $2b$, $2y$), scrypt ($scrypt$), " +
		"pbkdf2 ($pbkdf2$, $pbkdf2-sha256$, $pbkdf2-sha512$) and sha-crypt ($5$, $6$)")
	errMalformed = errors.New(`is damaged: it is cut short, or a part of it cannot be read. Copy it again, or make a new one with "postern hash"`)
	errCostly    = fmt.Errorf(`asks for more than about %d seconds of work at each login. Make a new one with "postern hash"`, maxSeconds)
)

// A scheme is one way of hashing passwords.
type scheme struct {
	decode func(string) (algorithm.Digest, error)
	// cost is false for parameters the scheme does not have, which the
	// library would take silently for others, or choke on.
	cost func(algorithm.Digest) (cost, bool)
	// minKey and maxKey bound the stored key in the form the library keeps:
	// a hash cut short by a slip of the mouse would match many passwords.
	minKey, maxKey int
}

// schemes are found by what stands between the first two $. Schemes that are
// broken, or that the library only nearly implements ($2x$, $y$, bcrypt-sha256
// version 1), are left out.
var schemes = map[string]scheme{
	"argon2id":      {argon2.DecodeVariant(argon2.VariantID), argon2Cost, 16, 64},
	"2a":            {bcrypt.DecodeVariant(bcrypt.VariantStandard), bcryptCost, 31, 31},
	"2b":            {bcrypt.DecodeVariant(bcrypt.VariantStandard), bcryptCost, 31, 31},
	"2y":            {bcrypt.DecodeVariant(bcrypt.VariantStandard), bcryptCost, 31, 31},
	"scrypt":        {scrypt.DecodeVariant(scrypt.VariantScrypt), scryptCost, 16, 64},
	"pbkdf2":        {pbkdf2.DecodeVariant(pbkdf2.VariantSHA1), pbkdf2Cost, 16, 64},
	"pbkdf2-sha256": {pbkdf2.DecodeVariant(pbkdf2.VariantSHA256), pbkdf2Cost, 16, 64},
	"pbkdf2-sha512": {pbkdf2.DecodeVariant(pbkdf2.VariantSHA512), pbkdf2Cost, 16, 64},
	"5":             {shacrypt.DecodeVariant(shacrypt.VariantSHA256), shaCost, 43, 43},
	"6":             {shacrypt.DecodeVariant(shacrypt.VariantSHA512), shaCost, 86, 86},
}

// parseHash reads a hash in PHC or crypt(3) form. What it accepts can be
// compared with any password without failing.
func parseHash(text string) (hash, error) {
	if !strings.HasPrefix(text, "$") {
		return hash{}, errNotHash
	}
	name, _, _ := strings.Cut(text[1:], "$")
	s, ok := schemes[name]
	if !ok {
		return hash{}, errScheme
	}
	if len(text) > maxText || strings.ContainsFunc(text, notGraphic) {
		return hash{}, errMalformed // base64 decoders skip line ends, and a salt comes out short
	}
	digest, err := s.decode(text)
	if err != nil || len(digest.Key()) < s.minKey || len(digest.Key()) > s.maxKey {
		return hash{}, errMalformed // the library's error quotes the hash
	}
	c, ok := s.cost(digest)
	switch {
	case !ok:
		return hash{}, errMalformed
	case c.seconds > maxSeconds:
		return hash{}, errCostly
	}
	return hash{digest, c}, nil
}

// notGraphic tells whether r is other than what hashes are written in.
func notGraphic(r rune) bool { return r <= ' ' || r >= 0x7f }

// parseWithin is parseHash for a pool of that many octets.
func parseWithin(text string, memory int64) (hash, error) {
	h, err := parseHash(text)
	if err == nil && h.memory > memory {
		return hash{}, fmt.Errorf(`needs %s of memory at each login, more than auth.memory, %s. Raise that, or make a new one with "postern hash"`,
			setting.Size(h.memory), setting.Size(memory))
	}
	return h, err
}

// The costs are read back from the library's own spelling of the digest, so
// they are those it will really use, whatever was left out or written twice.
// The time factors were measured on one core of a rented server.

func argon2Cost(d algorithm.Digest) (cost, bool) {
	var kib, passes, lanes uint64 // the library keeps 32 bits of each
	n, _ := fmt.Sscanf(d.Encode(), "$argon2id$v=19$m=%d,t=%d,p=%d$", &kib, &passes, &lanes)
	if n != 3 || passes < 1 || lanes < 1 || lanes > maxLanes {
		return cost{}, false
	}
	kib = max(kib, 8*lanes) // RFC 9106, section 3.1
	return cost{memory: int64(kib) << 10, seconds: 1.2e-6 * float64(kib) * float64(passes)}, true
}

func bcryptCost(d algorithm.Digest) (cost, bool) {
	var log uint64
	n, _ := fmt.Sscanf(d.Encode(), "$2b$%d$", &log)
	if n != 1 || log < 4 || log > 31 {
		return cost{}, false
	}
	return cost{memory: smallMemory, seconds: 75e-6 * float64(uint64(1)<<log)}, true
}

func scryptCost(d algorithm.Digest) (cost, bool) {
	var log, r, p uint64
	n, _ := fmt.Sscanf(d.Encode(), "$scrypt$ln=%d,r=%d,p=%d$", &log, &r, &p)
	if n != 3 || log < 1 || log > 30 || r < 1 || r > 1<<10 || p < 1 || p > 1<<10 {
		return cost{}, false
	}
	blocks := r << log
	return cost{memory: int64(128 * (blocks + 2*r + r*p)), seconds: 0.35e-6 * float64(blocks) * float64(p)}, true
}

func pbkdf2Cost(d algorithm.Digest) (cost, bool) {
	var iterations uint64
	_, rest, _ := strings.Cut(d.Encode()[1:], "$")
	n, _ := fmt.Sscanf(rest, "%d$", &iterations)
	if n != 1 || iterations < 1 {
		return cost{}, false
	}
	return cost{memory: smallMemory, seconds: 0.7e-6 * float64(iterations)}, true
}

// shaCost refuses what crypt(3) reads differently from the library: fewer than
// 1,000 rounds, and salts of more than 16 octets.
func shaCost(d algorithm.Digest) (cost, bool) {
	rounds := uint64(shacrypt.IterationsDefaultOmitted)
	if _, rest, _ := strings.Cut(d.Encode()[1:], "$"); strings.HasPrefix(rest, "rounds=") {
		if n, _ := fmt.Sscanf(rest, "rounds=%d$", &rounds); n != 1 {
			return cost{}, false
		}
	}
	if rounds < shacrypt.IterationsMin || len(d.Salt()) > shacrypt.SaltLengthMax {
		return cost{}, false
	}
	return cost{memory: smallMemory, seconds: 0.55e-6 * float64(rounds)}, true
}
