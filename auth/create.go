package auth

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/go-crypt/crypt/algorithm/argon2"
	"github.com/go-crypt/crypt/algorithm/shacrypt"
)

// The parameters of our own hashes, argon2id with 19 MiB, two passes and one
// lane, are those OWASP's Password Storage Cheat Sheet asks for at least.
const (
	ownMemory = ownKiB << 10 // octets
	ownKiB    = 19 << 10
	ownPasses = 2
	ownLanes  = 1
)

// maxPassword is in octets. RFC 4616, section 2, asks for 255 at least; a bound
// is needed because the work of sha-crypt grows with the square of the length.
const maxPassword = 255

// Hash makes the hash of a password that a person chose, in PHC form.
func Hash(password string) (string, error) {
	if err := checkPassword(password); err != nil {
		return "", err
	}
	hasher, err := argon2.New(argon2.WithVariantID(), argon2.WithM(ownKiB), argon2.WithT(ownPasses), argon2.WithP(ownLanes))
	if err != nil {
		return "", fmt.Errorf("argon2id: %w", err)
	}
	digest, err := hasher.Hash(password)
	if err != nil {
		return "", fmt.Errorf("argon2id: %w", err)
	}
	return digest.Encode(), nil
}

// checkPassword refuses what cannot be a password.
func checkPassword(password string) error {
	switch {
	case password == "":
		return errors.New("the password is empty")
	case len(password) > maxPassword:
		return fmt.Errorf("the password is longer than %d octets", maxPassword)
	case strings.ContainsRune(password, 0):
		return errors.New("the password holds a NUL, which cannot be sent with AUTH PLAIN (RFC 4616)")
	}
	return nil
}

// The 31 lower-case letters and digits that no display or printout makes look
// like another: no 0 o, no 1 l i. A random one is worth 4.95 bits, so 26 of
// them 128. They are not grouped: many devices limit the field to 32
// characters, and some refuse anything but letters and digits.
const (
	deviceAlphabet = "23456789abcdefghjkmnpqrstuvwxyz"
	deviceLength   = 26
)

// deviceRounds is the least sha-crypt has, a fifth of a millisecond. Slow
// hashes make up for passwords that can be guessed. One of 128 random bits
// cannot: at 10^12 tries a second, finding it takes 10^18 years even if each
// round cost nothing. What slowness would do is let a fleet of devices that
// all come back after a power cut queue for their logins.
const deviceRounds = shacrypt.IterationsMin

// Generate makes a password of 128 random bits that is easy to type on a
// device, and its hash: sha-crypt, which crypt(3) and other servers read too.
func Generate() (password, hash string, err error) {
	password = devicePassword()
	hasher, err := shacrypt.New(shacrypt.WithSHA256(), shacrypt.WithRounds(deviceRounds))
	if err != nil {
		return "", "", fmt.Errorf("sha-crypt: %w", err)
	}
	digest, err := hasher.Hash(password)
	if err != nil {
		return "", "", fmt.Errorf("sha-crypt: %w", err)
	}
	return password, digest.Encode(), nil
}

// devicePassword draws 5 bits for each character, again when they name none,
// so that all are equally likely.
func devicePassword() string {
	b := make([]byte, 0, deviceLength)
	for len(b) < deviceLength {
		var draw [1]byte
		rand.Read(draw[:]) // never fails (crypto/rand)
		if i := int(draw[0] & 31); i < len(deviceAlphabet) {
			b = append(b, deviceAlphabet[i])
		}
	}
	return string(b)
}

// blankHash costs what one made by Hash does and is the hash of no password
// anybody knows.
func blankHash() string {
	var salt [16]byte
	var key [32]byte
	rand.Read(salt[:])
	rand.Read(key[:])
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", ownKiB, ownPasses, ownLanes, b64(salt[:]), b64(key[:]))
}
