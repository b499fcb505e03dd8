package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strings"
)

// Pair is a new key: what is kept and what is published.
type Pair struct {
	// PEM is the private key, PKCS #8, below a line that says whose it is.
	PEM []byte
	// Record is the text of the TXT record.
	Record string
}

// Generate makes a key for a domain and selector: RSA of 2048 bits or Ed25519.
func Generate(domain, selector, algorithm string) (Pair, error) {
	var key crypto.Signer
	var err error
	switch algorithm {
	case RSA:
		key, err = rsa.GenerateKey(rand.Reader, soundRSA)
	case Ed25519:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		err = fmt.Errorf("%q is not an algorithm of DKIM; write %s or %s", algorithm, RSA, Ed25519)
	}
	if err != nil {
		return Pair{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, err
	}
	text := fmt.Appendf(nil, note, domain, selector)
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...)
	record, err := recordOf(key.Public())
	return Pair{PEM: text, Record: record}, err
}

// recordOf is the text that publishes a key (RFC 6376, section 3.6.1; RFC 8463,
// section 4.2).
func recordOf(public crypto.PublicKey) (string, error) {
	kind, octets := Ed25519, []byte(nil)
	switch key := public.(type) {
	case ed25519.PublicKey:
		octets = key
	default:
		var err error
		if octets, err = x509.MarshalPKIXPublicKey(key); err != nil {
			return "", err
		}
		kind = RSA
	}
	return "v=DKIM1; k=" + kind + "; p=" + base64.StdEncoding.EncodeToString(octets), nil
}

// RecordName is where the record of a selector stands in DNS.
func RecordName(domain, selector string) string {
	return strings.ToLower(selector) + "._domainkey." + canonicalDomain(domain)
}

// maxString is how much a string of a TXT record holds; a record is one string
// or more (RFC 1035, section 3.3).
const maxString = 255

// ZoneLine is a record as a line of a zone file, in as many strings as it takes.
func ZoneLine(name, record string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s. IN TXT (", name)
	for len(record) > 0 {
		n := min(len(record), maxString)
		fmt.Fprintf(&b, " %q", record[:n])
		record = record[n:]
	}
	b.WriteString(" )")
	return b.String()
}
