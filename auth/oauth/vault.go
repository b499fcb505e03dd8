package oauth

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"postern/relay/setting"
)

const (
	// magic begins every file of the vault, and says how it is written.
	magic = "postern-token-1\n"
	// minKey is the shortest tokens.key taken, in characters.
	minKey  = 32
	keyFile = "tokens.key"
	maxFile = 64 << 10
)

// vault keeps refresh tokens in the data directory: tokens/UPSTREAM, each
// encrypted with AES-256-GCM and bound to its name, under a key derived from
// tokens.key (HKDF, RFC 5869).
type vault struct {
	dir string // the data directory
	key setting.Secret
}

// kept is a refresh token as a file holds it.
type kept struct {
	RefreshToken string `json:"refresh_token"`
	// ClientID and TokenURL are whom it was given to, and by whom.
	ClientID string `json:"client_id"`
	TokenURL string `json:"token_url"`
	// Seed is the SHA-256 of the configuration's refresh_token that it descends
	// from; "" when a person logged in.
	Seed  string    `json:"seed,omitempty"`
	Saved time.Time `json:"saved"`
}

// seedOf is the Seed of what descends from a refresh token.
func seedOf(first string) string {
	sum := sha256.Sum256([]byte(first))
	return hex.EncodeToString(sum[:])
}

// hinted is an error with what to do about it.
type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }

func hintOf(err error) string {
	var h hinted
	if errors.As(err, &h) {
		return h.hint
	}
	return "check that data_dir can be written"
}

func (v vault) path(upstream string) string { return filepath.Join(v.dir, "tokens", upstream) }

// load reads a token. The error is hinted when there is one that cannot be
// opened.
func (v vault) load(upstream string) (k kept, found bool, err error) {
	sealed, err := os.ReadFile(v.path(upstream))
	if errors.Is(err, fs.ErrNotExist) {
		return kept{}, false, nil
	}
	if err != nil {
		return kept{}, false, err
	}
	key, found, err := v.reveal()
	if err != nil {
		return kept{}, false, err
	}
	if found {
		if k, err := open(sealed, key, upstream); err == nil {
			return k, true, nil
		}
	}
	return kept{}, false, hinted{
		fmt.Errorf("%s cannot be opened with the key there is: it was written with another, or is damaged", v.path(upstream)),
		fmt.Sprintf("restore the tokens.key that it was written with; if that is lost, remove the file and run: postern login %s", upstream)}
}

// save replaces a token in one step, durably. One that cannot be opened is left
// as it is.
func (v vault) save(upstream string, k kept) error {
	if _, _, err := v.load(upstream); err != nil {
		return err
	}
	key, err := v.revealOrMake()
	if err != nil {
		return err
	}
	sealed, err := seal(k, key, upstream)
	if err != nil {
		return err
	}
	return writeDurably(v.path(upstream), sealed)
}

// reveal is the key; not found when none is configured and none was made yet.
func (v vault) reveal() (key string, found bool, err error) {
	if !v.key.IsZero() {
		key, err = v.key.Reveal()
		return key, err == nil, err
	}
	text, err := os.ReadFile(filepath.Join(v.dir, keyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err == nil && len(text) < minKey {
		err = hinted{fmt.Errorf("%s is too short to be a key", filepath.Join(v.dir, keyFile)), "restore it"}
	}
	return string(text), err == nil, err
}

// revealOrMake makes a key where none is configured and there is none yet.
func (v vault) revealOrMake() (string, error) {
	key, found, err := v.reveal()
	if err != nil || found {
		return key, err
	}
	random := make([]byte, 32)
	rand.Read(random)
	if err := createDurably(filepath.Join(v.dir, keyFile), []byte(base64.StdEncoding.EncodeToString(random))); err != nil {
		return "", err
	}
	key, _, err = v.reveal() // somebody else's, if that was quicker
	return key, err
}

// box is the cipher of a key.
func box(key string) (cipher.AEAD, error) {
	derived, err := hkdf.Key(sha256.New, []byte(key), nil, "postern refresh tokens", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// seal is the content of a file.
func seal(k kept, key, upstream string) ([]byte, error) {
	plain, err := json.Marshal(k)
	if err != nil {
		return nil, err
	}
	b, err := box(key)
	if err != nil {
		return nil, err
	}
	return b.Seal([]byte(magic), nil, plain, []byte(magic+upstream)), nil
}

// open reads the content of a file.
func open(sealed []byte, key, upstream string) (k kept, err error) {
	if len(sealed) < len(magic) || len(sealed) > maxFile || string(sealed[:len(magic)]) != magic {
		return kept{}, errors.New("it is no file of the vault")
	}
	b, err := box(key)
	if err != nil {
		return kept{}, err
	}
	plain, err := b.Open(nil, nil, sealed[len(magic):], []byte(magic+upstream))
	if err != nil {
		return kept{}, err
	}
	return k, json.Unmarshal(plain, &k)
}
