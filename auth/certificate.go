package auth

import (
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"postern/relay/message"
)

// CertificateName names certificates of clients, in one of these forms:
//
//	sha256:9F86D0...   the one whose DER form has this SHA-256, as printed by
//	                   openssl x509 -noout -fingerprint -sha256, colons or not
//	subject:CN=a,O=b   those of this subject, as printed by
//	                   openssl x509 -noout -subject -nameopt RFC2253; one with
//	                   rarer names than CN, O, OU, L, ST and C is better named
//	                   by its sha256
//	dns:a.example.com  those with this subject alternative name,
//	email:a@b.example  likewise,
//	uri:urn:uuid:...   likewise
//
// Who may issue certificates is said by tls.client_ca.
type CertificateName string

var errCertificateName = errors.New("is not a name of certificates; write sha256:FINGERPRINT, subject:NAME, dns:NAME, email:ADDRESS or uri:URI")

// UnmarshalText reads one of the forms and makes it that which is compared.
func (n *CertificateName) UnmarshalText(b []byte) error {
	kind, value, _ := strings.Cut(string(b), ":")
	switch {
	case value == "":
		return fmt.Errorf("%q %w", b, errCertificateName)
	case kind == "sha256":
		value = strings.ToLower(strings.ReplaceAll(value, ":", ""))
		if sum, err := hex.DecodeString(value); err != nil || len(sum) != sha256.Size {
			return fmt.Errorf("%q is not the SHA-256 of a certificate, 64 hexadecimal digits; openssl x509 -noout -fingerprint -sha256 prints it", b)
		}
	case kind == "dns" || kind == "email":
		value = strings.ToLower(value)
	case kind != "subject" && kind != "uri":
		return fmt.Errorf("%q %w", b, errCertificateName)
	}
	*n = CertificateName(kind + ":" + value)
	return nil
}

func (n CertificateName) MarshalText() ([]byte, error) { return []byte(n), nil }

// namesOf are all the names of a certificate.
func namesOf(c *x509.Certificate) []CertificateName {
	sum := sha256.Sum256(c.Raw)
	names := []CertificateName{
		CertificateName("sha256:" + hex.EncodeToString(sum[:])),
		CertificateName("subject:" + subjectOf(c)),
	}
	for _, name := range c.DNSNames {
		names = append(names, CertificateName("dns:"+strings.ToLower(name)))
	}
	for _, address := range c.EmailAddresses {
		names = append(names, CertificateName("email:"+strings.ToLower(address)))
	}
	for _, uri := range c.URIs {
		names = append(names, CertificateName("uri:"+uri.String()))
	}
	return names
}

// subjectOf is the whole subject in the order it was issued in; c.Subject keeps
// neither the order nor names that stand there twice.
func subjectOf(c *x509.Certificate) string {
	var all pkix.RDNSequence
	if _, err := asn1.Unmarshal(c.RawSubject, &all); err != nil {
		return "" // x509 has read it before
	}
	return all.String()
}

// Certificate tells which account the first certificate of the chain, shown at
// addr and verified by TLS, belongs to. The login name may be empty; else it
// must be one of the account's. The identity lives as long as the certificate.
func (a *Accounts) Certificate(chain []*x509.Certificate, name string, addr netip.Addr) (message.Identity, error) {
	leaf := chain[0]
	names := namesOf(leaf)
	var found []*account
	for _, n := range names {
		if acc := a.certificates[n]; acc != nil && acc.allows(addr) && !slices.Contains(found, acc) {
			found = append(found, acc)
		}
	}
	if name != "" {
		found = slices.DeleteFunc(found, func(acc *account) bool { return a.byName[fold(name)] != acc })
	}
	switch len(found) {
	case 1:
		return message.Identity{Account: found[0].name, Expires: leaf.NotAfter}, nil
	case 0:
		return message.Identity{}, fmt.Errorf("no account has the certificate %q, %s, for the name and address given: %w", leaf.Subject, names[0], noCertificate())
	default:
		return message.Identity{}, fmt.Errorf("the certificate %q, %s, is of accounts %q and %q; name it in one of them: %w",
			leaf.Subject, names[0], found[0].name, found[1].name, noCertificate())
	}
}

// noCertificate is the reply to a certificate that opens no account.
func noCertificate() error {
	return message.Refuse(535, "5.7.8", "The certificate is not one of an account that may log in from this address")
}
