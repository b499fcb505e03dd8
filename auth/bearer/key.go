package bearer

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

const (
	// maxKeys is far above what issuers have: two or three.
	maxKeys = 100
	// RSA keys below the least bits are too weak (RFC 7518, section 3.3), above
	// the most they cost too much for who may be anybody.
	leastBits = 2048
	mostBits  = 8192
)

// key is a public key that an issuer signs tokens with.
type key = jose.JSONWebKey

// readKeys takes those of a key set that can verify a token; a set may hold
// others, also of kinds not known here (RFC 7517, section 5).
func readKeys(set []json.RawMessage) (keys []key) {
	for _, raw := range set[:min(len(set), maxKeys)] {
		var k key
		if k.UnmarshalJSON(raw) == nil && k.Valid() && k.IsPublic() && k.Use != "enc" && isStrong(k) {
			keys = append(keys, k)
		}
	}
	return keys
}

func isStrong(k key) bool {
	public, isRSA := k.Key.(*rsa.PublicKey)
	return !isRSA || leastBits <= public.N.BitLen() && public.N.BitLen() <= mostBits
}

// signed tells whether one of keys has the kid of t, and whether one that t may
// mean has signed it: without kid that is every key of its kind.
func signed(keys []key, t token) (known, good bool) {
	jws, err := jose.ParseSignedCompact(t.text, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(t.header.Algorithm)})
	if err != nil {
		return true, false
	}
	for _, k := range keys {
		if t.header.KeyID != "" && t.header.KeyID != k.KeyID {
			continue
		}
		known = known || t.header.KeyID != ""
		if !fits(t.header.Algorithm, k) {
			continue
		}
		if _, err := jws.Verify(k.Key); err == nil {
			return known, true
		}
	}
	return known, false
}

// fits tells whether an algorithm is one for that kind of key (RFC 8725, section
// 3.1), and for this one.
func fits(algorithm string, k key) bool {
	if k.Algorithm != "" && k.Algorithm != algorithm {
		return false
	}
	switch public := k.Key.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(algorithm, "RS") || strings.HasPrefix(algorithm, "PS")
	case *ecdsa.PublicKey:
		return algorithm == map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[public.Params().BitSize]
	case ed25519.PublicKey:
		return algorithm == "EdDSA"
	}
	return false
}
