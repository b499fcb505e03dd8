package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/relay/dkim"
)

// dkimKey is made once, as it takes a while.
var dkimKey = sync.OnceValues(func() (dkim.Pair, error) { return dkim.Generate("example.com", "s2026", dkim.RSA) })

// withFiles puts a directory in which a certificate, its key, authorities and a
// DKIM key are to be found in the place of /etc/postern in text.
func withFiles(t testing.TB, text string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"relay.example.com"}, NotAfter: time.Now().Add(time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "dkim"), 0o700); err != nil {
		t.Fatal(err)
	}
	signing, err := dkimKey()
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "dkim", "s2026.pem"), signing.PEM, 0o600)
	}
	if err == nil {
		var file []byte
		file, err = json.Marshal(map[string]string{"type": "service_account", "client_email": "relay@project.iam.gserviceaccount.com", "private_key": string(signing.PEM)})
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, "google.json"), file, 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"tls.crt": {Type: "CERTIFICATE", Bytes: certificate},
		"tls.key": {Type: "PRIVATE KEY", Bytes: private},
		"ca.pem":  {Type: "CERTIFICATE", Bytes: certificate},

		"clients.pem": {Type: "CERTIFICATE", Bytes: certificate},
		"app.crt":     {Type: "CERTIFICATE", Bytes: certificate},
		"app.key":     {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return strings.ReplaceAll(text, "/etc/postern", filepath.ToSlash(dir))
}
