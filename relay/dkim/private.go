package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Algorithms, as the configuration names them (RFC 6376, RFC 8463). The hash is
// SHA-256 always (RFC 8301, section 3.1).
const (
	RSA     = "rsa"
	Ed25519 = "ed25519"
)

// Bits of an RSA key. Signatures of shorter ones count for nothing (RFC 8301,
// section 3.2), and beyond the upper bound a verifier may give up.
const (
	minBits  = 1024
	soundRSA = 2048
	maxBits  = 4096
)

// private is a key that signs.
type private struct {
	crypto.Signer
	algorithm string
	bits      int
	// domain and selector are whom the key says it was made for; "" when it
	// does not say.
	domain, selector string
}

// note is the line Generate writes above a key. Everybody else who reads PEM
// skips it.
const note = "DKIM key of %s, selector %s\n"

var noted = regexp.MustCompile(`(?m)^DKIM key of (\S+), selector (\S+)\s*$`)

// parsePrivate reads a key in PEM form, PKCS #1 or PKCS #8. Errors never repeat
// what was read.
func parsePrivate(text string) (private, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return private{}, errors.New("there is no key in PEM form in it; it begins with -----BEGIN")
	}
	parsed, err := parseBlock(block)
	if err != nil {
		return private{}, err
	}
	p := private{}
	switch key := parsed.(type) {
	case *rsa.PrivateKey:
		p.Signer, p.algorithm, p.bits = key, RSA, key.N.BitLen()
	case ed25519.PrivateKey:
		p.Signer, p.algorithm, p.bits = key, Ed25519, 256
	default:
		return private{}, errors.New("it is neither an RSA nor an Ed25519 key, the only kinds DKIM knows; \"postern dkim generate\" makes one")
	}
	if p.algorithm == RSA && (p.bits < minBits || p.bits > maxBits) {
		return private{}, fmt.Errorf("it is an RSA key of %d bits, whose signatures nobody need accept (RFC 8301); make one of %d", p.bits, soundRSA)
	}
	if m := noted.FindStringSubmatch(text); m != nil {
		p.domain, p.selector = m[1], m[2]
	}
	return p, nil
}

// parseBlock reads one block of PEM, or says what it is instead of a key.
func parseBlock(block *pem.Block) (any, error) {
	encrypted := strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") || block.Type == "ENCRYPTED PRIVATE KEY"
	var key any
	var err error
	switch {
	case encrypted:
		return nil, errors.New("it is encrypted; write it without a passphrase: openssl pkey -in KEY -out PLAIN")
	case block.Type == "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case block.Type == "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case block.Type == "EC PRIVATE KEY":
		return nil, nil
	default:
		return nil, fmt.Errorf("it holds a %s, not a private key", strings.ToLower(block.Type))
	}
	if err != nil {
		return nil, errors.New("it is damaged: what stands between BEGIN and END is no private key")
	}
	return key, nil
}
