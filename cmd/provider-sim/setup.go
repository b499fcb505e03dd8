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
	"encoding/base64"
	"encoding/json"
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

	"postern/auth"
	"postern/cmd/provider-sim/identity"
	"postern/cmd/provider-sim/world"
)

// setup is what was made at the start, for the files and the greeting.
type setup struct {
	Dir       string
	Addresses map[string]string
	Data      world.Data
	Password  string // of the relay's accounts
	Hash      string
	Relay     string // where the relay is to listen
	Metrics   string
	// Usual: the people are those that the configuration knows.
	Usual bool
}

// Names of files in Dir.
const (
	configFile  = "config.yaml"
	caFile      = "ca.pem"
	serviceFile = "google-%s.json"
)

// write leaves in Dir the keys, and all that a relay needs to know of them.
func (s *setup) write(data world.Data) (keys identity.Keys, server tls.Certificate, err error) {
	usual, err := world.Parse(nil)
	if err != nil {
		return keys, server, err
	}
	s.Data, s.Usual = data, data.SamePeople(usual)
	if s.Dir, err = filepath.Abs(s.Dir); err != nil {
		return keys, server, err
	}
	if err := s.mayWrite(); err != nil {
		return keys, server, err
	}
	if server, err = s.writeCA(); err != nil {
		return keys, server, err
	}
	if keys.Signing, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		return keys, server, err
	}
	if keys.Apps, err = s.writeApps(); err != nil {
		return keys, server, err
	}
	if keys.ServiceAccounts, err = s.writeServiceAccounts(); err != nil {
		return keys, server, err
	}
	return keys, server, s.writeConfig()
}

// configMark is the first line of a configuration that may be replaced.
const configMark = `# Written by "provider-sim".`

// mayWrite refuses a directory that holds somebody's real set-up.
func (s *setup) mayWrite() error {
	path := filepath.Join(s.Dir, configFile)
	text, err := os.ReadFile(path)
	if err == nil && !strings.HasPrefix(string(text), configMark) {
		return fmt.Errorf("%s is not of a simulation and would be overwritten; choose another --dir", path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// writeCA makes an authority for this run, and a certificate of it.
func (s *setup) writeCA() (tls.Certificate, error) {
	ca := certificateOf("provider-sim private CA")
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return tls.Certificate{}, err
	}
	server := certificateOf("localhost")
	server.KeyUsage, server.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	server.DNSNames, server.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	der, err := x509.CreateCertificate(rand.Reader, server, ca, key.Public(), caKey)
	if err != nil {
		return tls.Certificate{}, err
	}
	err = errors.Join(s.writePEM(caFile, "CERTIFICATE", caDER, 0o644), s.writePair("server.crt", der, key))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

func certificateOf(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().AddDate(0, 1, 0),
	}
}

// writeApps makes the certificates that apps prove themselves with, and reads
// those that are there.
func (s *setup) writeApps() (map[string]*x509.Certificate, error) {
	certificates := map[string]*x509.Certificate{}
	for _, t := range s.Data.Microsoft.Tenants {
		for _, app := range t.Apps {
			if app.Certificate == "" {
				continue
			}
			cert, err := s.appCertificate(app)
			if err != nil {
				return nil, fmt.Errorf("the certificate of app %s: %w", app.ClientID, err)
			}
			certificates[app.ClientID] = cert
		}
	}
	return certificates, nil
}

func (s *setup) appCertificate(app world.App) (*x509.Certificate, error) {
	text, err := os.ReadFile(s.path(app.Certificate))
	if err == nil {
		block, _ := pem.Decode(text)
		if block == nil {
			return nil, errors.New("it is not PEM")
		}
		return x509.ParseCertificate(block.Bytes)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	t := certificateOf(app.ClientID)
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	if err := s.writePair(app.Certificate, der, key); err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// writeServiceAccounts makes keys in the form Google gives them out.
func (s *setup) writeServiceAccounts() (map[string]*rsa.PublicKey, error) {
	keys := map[string]*rsa.PublicKey{}
	for _, account := range s.Data.Google.ServiceAccounts {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return nil, err
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, err
		}
		text, err := json.MarshalIndent(map[string]string{
			"type": "service_account", "project_id": "project", "private_key_id": fmt.Sprintf("%x", time.Now().UnixNano()),
			"private_key":  string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
			"client_email": account.Email, "client_id": "100000000000000000001",
			"token_uri": "https://" + s.Addresses[world.GoogleLogin] + "/token",
		}, "", "  ")
		if err != nil {
			return nil, err
		}
		name, _, _ := strings.Cut(account.Email, "@")
		if err := os.WriteFile(s.path(fmt.Sprintf(serviceFile, name)), text, 0o600); err != nil {
			return nil, err
		}
		keys[account.Email] = &key.PublicKey
	}
	return keys, nil
}

// writeConfig makes a password and writes the relay's configuration; not for
// people of the user's own, who has one.
func (s *setup) writeConfig() (err error) {
	if s.Password, s.Hash, err = auth.Generate(); err != nil {
		return err
	}
	for _, free := range []struct {
		address *string
		port    int
	}{{&s.Relay, 2587}, {&s.Metrics, 9588}} {
		l, err := listen(free.port)
		if err != nil {
			return err
		}
		*free.address = l.Addr().String()
		l.Close()
	}
	token := make([]byte, 32)
	rand.Read(token) // never fails
	addresses, err := json.MarshalIndent(s.Addresses, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.path("addresses.json"), addresses, 0o644); err != nil || !s.Usual {
		return err
	}
	var text strings.Builder
	if err := config.Execute(&text, s); err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(s.path("password"), []byte(s.Password+"\n"), 0o600),
		os.WriteFile(s.path("token.key"), []byte(base64.StdEncoding.EncodeToString(token)+"\n"), 0o600),
		os.WriteFile(s.path(configFile), []byte(text.String()), 0o600),
	)
}

func (s *setup) path(name string) string { return filepath.Join(s.Dir, name) }

// writePair writes a certificate as name.crt and its key beside it.
func (s *setup) writePair(name string, der []byte, key crypto.Signer) error {
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		s.writePEM(strings.TrimSuffix(name, ".crt")+".key", "PRIVATE KEY", keyDER, 0o600),
		s.writePEM(name, "CERTIFICATE", der, 0o644))
}

func (s *setup) writePEM(name, kind string, der []byte, mode fs.FileMode) error {
	return os.WriteFile(s.path(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode)
}
