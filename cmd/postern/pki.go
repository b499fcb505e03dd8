package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	caFile    = "ca.pem"
	caKeyFile = "ca.key"
	caYears   = 10
)

// certificates is what makeCertificates left in dir.
type certificates struct {
	dir   string
	newCA bool
	until time.Time
}

// makeCertificates issues an ECDSA and an RSA certificate for names, which may
// be IP addresses, from the CA in dir; one is made if there is none. All keys
// are RSA-2048 or P-256 and all signatures RSA with SHA-256: what old devices
// can verify.
func makeCertificates(dir string, names []string, now time.Time, life time.Duration) (certificates, error) {
	made := certificates{dir: dir, until: now.Add(life)}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return made, err
	}
	ca, err := readCA(dir)
	made.newCA = errors.Is(err, fs.ErrNotExist)
	if err != nil && !made.newCA {
		return made, err
	}
	for _, base := range []string{"server", "server-rsa"} {
		if err := ca.mayReplace(filepath.Join(dir, base+".crt")); err != nil {
			return made, err
		}
	}
	if made.newCA {
		if ca, err = newCA(dir, now); err != nil {
			return made, err
		}
	}
	ecdsaKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return made, err
	}
	if err := ca.issue(dir, "server", ecdsaKey, names, now, made.until); err != nil {
		return made, err
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return made, err
	}
	return made, ca.issue(dir, "server-rsa", rsaKey, names, now, made.until)
}

// authority is a CA that can sign.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// readCA reads the CA of dir; the error wraps fs.ErrNotExist when there is none.
func readCA(dir string) (ca authority, err error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, caFile), filepath.Join(dir, caKeyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return ca, err
	}
	if err != nil {
		return ca, fmt.Errorf("the CA in %s cannot be used: %w", dir, err)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || !pair.Leaf.IsCA {
		return ca, fmt.Errorf("%s is not a CA; choose another --dir", filepath.Join(dir, caFile))
	}
	return authority{pair.Leaf, key}, nil
}

func newCA(dir string, now time.Time) (authority, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return authority{}, err
	}
	serial, err := newSerial()
	if err != nil {
		return authority{}, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "Postern private CA " + now.Format(time.DateOnly)},
		NotBefore:             now.Add(-time.Hour), // a device's clock may be slow
		NotAfter:              now.AddDate(caYears, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return authority{}, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return authority{}, err
	}
	return authority{cert, key}, writePair(dir, caFile, caKeyFile, der, key)
}

// mayReplace refuses to overwrite a certificate that this CA, if there is one
// yet, did not issue.
func (ca authority) mayReplace(path string) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if block, _ := pem.Decode(text); block != nil && ca.cert != nil {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err == nil && cert.CheckSignatureFrom(ca.cert) == nil {
			return nil
		}
	}
	return fmt.Errorf("%s is not of the CA in %s and would be overwritten; choose another --dir", path, filepath.Dir(path))
}

// issue writes base.crt (the certificate) and base.key.
func (ca authority) issue(dir, base string, key crypto.Signer, names []string, now, until time.Time) error {
	serial, err := newSerial()
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: names[0]},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     until,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if _, isRSA := key.(*rsa.PrivateKey); isRSA {
		template.KeyUsage |= x509.KeyUsageKeyEncipherment // RSA key exchange of old devices
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return fmt.Errorf("certificate for %s: %w", joinNames(names), err)
	}
	return writePair(dir, base+".crt", base+".key", der, key)
}

func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
}

func writePair(dir, certName, keyName string, der []byte, key crypto.Signer) error {
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := writePEM(filepath.Join(dir, keyName), "PRIVATE KEY", keyDER, 0o600); err != nil {
		return err
	}
	return writePEM(filepath.Join(dir, certName), "CERTIFICATE", der, 0o644)
}

// writePEM replaces the file in one step, so that a running relay never reads
// half of it.
func writePEM(path, kind string, der []byte, mode fs.FileMode) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	err = errors.Join(tmp.Chmod(mode), pem.Encode(tmp, &pem.Block{Type: kind, Bytes: der}), tmp.Close())
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

func joinNames(names []string) string { return strings.Join(names, ", ") }
