package oauth

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"postern/relay/setting"
)

// How long what we sign is good for: providers take up to ten minutes from
// clients, and an hour from service accounts. Before the present moment too, as
// clocks differ.
const (
	assertionLife = 5 * time.Minute
	assertionSkew = 30 * time.Second
)

// readPair reads a certificate and its key. Errors never repeat the key.
func readPair(certificate, key string) (tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return pair, err
	}
	if _, err := newSigner(pair.PrivateKey, nil); err != nil {
		return pair, fmt.Errorf("%s: %w", key, err)
	}
	if now := time.Now(); now.After(pair.Leaf.NotAfter) {
		return pair, fmt.Errorf("%s has expired on %s; make a new one and register it with the provider", certificate, pair.Leaf.NotAfter.Format(time.DateOnly))
	}
	return pair, nil
}

// endOfCertificate is when the first certificate of a PEM file expires.
func endOfCertificate(path string) (time.Time, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return time.Time{}, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return time.Time{}, fmt.Errorf("%s holds no certificate in PEM form", path)
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return time.Time{}, err
	}
	return certificate.NotAfter, nil
}

// clientAssertion is a JWT with which a client proves itself (RFC 7523, section
// 3), for one request to the token endpoint.
func clientAssertion(pair tls.Certificate, clientID, tokenURL string, now time.Time) (string, error) {
	thumbprint := sha256.Sum256(pair.Leaf.Raw)
	signer, err := newSigner(pair.PrivateKey, map[jose.HeaderKey]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(thumbprint[:])})
	if err != nil {
		return "", err
	}
	return sign(signer, clientID, clientID, tokenURL, "", now)
}

// serviceAccount is what matters of Google's key files.
type serviceAccount struct {
	email, keyID string
	key          *rsa.PrivateKey
}

// readServiceAccount reads a key file. Errors never repeat what was read.
func readServiceAccount(s setting.Secret) (serviceAccount, error) {
	text, err := s.Reveal()
	if err != nil {
		return serviceAccount{}, err
	}
	var file struct {
		Type  string `json:"type"`
		Email string `json:"client_email"`
		KeyID string `json:"private_key_id"`
		Key   string `json:"private_key"`
	}
	if json.Unmarshal([]byte(text), &file) != nil {
		return serviceAccount{}, errors.New("it is not the JSON of a key file; write where that is, such as file:/etc/postern/google.json")
	}
	if file.Type != "service_account" || file.Email == "" {
		return serviceAccount{}, errors.New("it is not the key of a service account; make one in the Google Cloud console: IAM, service accounts, keys")
	}
	block, _ := pem.Decode([]byte(file.Key))
	if block == nil {
		return serviceAccount{}, errors.New("its private_key is not in PEM form; download the key file anew")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, isRSA := parsed.(*rsa.PrivateKey)
	if err != nil || !isRSA {
		return serviceAccount{}, errors.New("its private_key cannot be read; download the key file anew")
	}
	return serviceAccount{email: file.Email, keyID: file.KeyID, key: key}, nil
}

// assertion is the JWT that asks for a token to act for subject (RFC 7523,
// section 2.1).
func (a serviceAccount) assertion(subject, tokenURL string, scopes []string, now time.Time) (string, error) {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: a.key},
		new(jose.SignerOptions).WithType("JWT").WithHeader("kid", a.keyID))
	if err != nil {
		return "", fmt.Errorf("service_account: %w", err)
	}
	return sign(signer, a.email, subject, tokenURL, strings.Join(scopes, " "), now)
}

// newSigner signs with PS256, or ES256 where the key is of that curve.
func newSigner(key any, header map[jose.HeaderKey]any) (jose.Signer, error) {
	o := new(jose.SignerOptions).WithType("JWT")
	for name, value := range header {
		o.WithHeader(name, value)
	}
	for _, algorithm := range []jose.SignatureAlgorithm{jose.PS256, jose.ES256} {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, o)
		if err != nil {
			continue
		}
		if _, err := signer.Sign(nil); err == nil { // an elliptic curve of another size shows only now
			return signer, nil
		}
	}
	return nil, errors.New("it is neither an RSA nor a P-256 key, so it cannot sign as providers want it")
}

// sign makes a JWT that nobody takes twice.
func sign(signer jose.Signer, issuer, subject, audience, scope string, now time.Time) (string, error) {
	claims := jwt.Claims{
		Issuer: issuer, Subject: subject, Audience: jwt.Audience{audience}, ID: rand.Text(),
		IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now.Add(-assertionSkew)), Expiry: jwt.NewNumericDate(now.Add(assertionLife)),
	}
	more := map[string]any{"aud": audience} // one string, which all take
	if scope != "" {
		more["scope"] = scope
		claims.IssuedAt = jwt.NewNumericDate(now.Add(-assertionSkew)) // Google takes none of the future
	}
	return jwt.Signed(signer).Claims(claims).Claims(more).Serialize()
}

// readRoots reads the authorities of a PEM file; nil for "".
func readRoots(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", path)
	}
	return pool, nil
}
