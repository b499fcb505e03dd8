package auth

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/xdg-go/scram"

	"postern/relay/setting"
)

const (
	// scramWork is how often a client hashes; programs use SCRAM, and they take
	// a tenth of a second for that. The server does not work at all.
	scramWork = 100_000
	// minWork is what RFC 7677, section 4, asks for. With maxWork a client still
	// answers within minutes.
	minWork = 4096
	maxWork = 10_000_000

	scramSalt = 16 // octets of a new salt
	minSalt   = 8
)

var errNotSCRAM = errors.New(`is not a SCRAM credential, which looks like SCRAM-SHA-256$100000:salt$key:key; put the output of "postern hash --scram" here`)

// SCRAM makes the credential for a password, in the form of RFC 5803.
func SCRAM(password string) (string, error) { return newSCRAMCredential(password, scramWork) }

func newSCRAMCredential(password string, rounds int) (string, error) {
	if err := checkPassword(password); err != nil {
		return "", err
	}
	client, err := scram.SHA256.NewClient("", password, "")
	if err != nil {
		return "", fmt.Errorf("the password cannot be prepared as RFC 4013 asks: %w", err)
	}
	salt := make([]byte, scramSalt)
	rand.Read(salt) // never fails (crypto/rand)
	c, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: string(salt), Iters: rounds})
	if err != nil {
		return "", fmt.Errorf("scram: %w", err)
	}
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("%s$%d:%s$%s:%s", scramName, c.Iters, b64(salt), b64(c.StoredKey), b64(c.ServerKey)), nil
}

// parseSCRAM reads what SCRAM wrote. The error says nothing of the text.
func parseSCRAM(text string) (c scram.StoredCredentials, err error) {
	rest, ok := strings.CutPrefix(text, scramName+"$")
	head, keys, _ := strings.Cut(rest, "$")
	_, salt, _ := strings.Cut(head, ":")
	stored, server, _ := strings.Cut(keys, ":")
	decode := func(s string, atLeast, atMost int) []byte {
		b, err := base64.StdEncoding.DecodeString(s)
		ok = ok && err == nil && atLeast <= len(b) && len(b) <= atMost
		return b
	}
	c.Salt = string(decode(salt, minSalt, maxText))
	c.StoredKey = decode(stored, sha256.Size, sha256.Size)
	c.ServerKey = decode(server, sha256.Size, sha256.Size)
	n, _ := fmt.Sscanf(head, "%d:", &c.Iters)
	if !ok || n != 1 || len(text) > maxText || strings.ContainsFunc(text, notGraphic) {
		return scram.StoredCredentials{}, errNotSCRAM
	}
	if c.Iters < minWork || c.Iters > maxWork {
		return scram.StoredCredentials{}, fmt.Errorf("has %d rounds; they must be between %d and %d", c.Iters, minWork, maxWork)
	}
	return c, nil
}

func revealSCRAM(s setting.Secret) (scram.StoredCredentials, error) {
	text, err := s.Reveal()
	if err != nil {
		return scram.StoredCredentials{}, err
	}
	return parseSCRAM(text)
}

// scramStandIns make credentials for names that have none. A client must not
// see that, so each such name has its own, which stays the same as long as the
// accounts do, also after a restart, and has the salt's length and the rounds
// of one of theirs.
type scramStandIns struct {
	models []setting.Secret
	key    []byte // can be found out only by who knows all credentials
}

func newSCRAMStandIns(accounts []Account) scramStandIns {
	var s scramStandIns
	var keys [][]byte
	for _, a := range accounts {
		if c, err := revealSCRAM(a.SCRAM); err == nil {
			s.models = append(s.models, a.SCRAM)
			keys = append(keys, c.ServerKey)
		}
	}
	slices.SortFunc(keys, bytes.Compare)
	key := sha256.Sum256(bytes.Join(keys, nil))
	s.key = key[:]
	return s
}

// model is whose credential that of a name looks like.
func (s scramStandIns) model(name string) setting.Secret {
	return s.models[binary.BigEndian.Uint64(s.derive("model", name))%uint64(len(s.models))]
}

// like makes the stand-in of a name.
func (s scramStandIns) like(model scram.StoredCredentials, name string) scram.StoredCredentials {
	var salt []byte
	for i := 0; len(salt) < len(model.Salt); i++ {
		salt = append(salt, s.derive(fmt.Sprint("salt", i), name)...)
	}
	return scram.StoredCredentials{
		KeyFactors: scram.KeyFactors{Salt: string(salt[:len(model.Salt)]), Iters: model.Iters},
		StoredKey:  s.derive("stored", name),
		ServerKey:  s.derive("server", name),
	}
}

func (s scramStandIns) derive(what, name string) []byte {
	mac := hmac.New(sha256.New, s.key)
	fmt.Fprintf(mac, "%s %s", what, name) // a hash takes all (package hash)
	return mac.Sum(nil)
}
