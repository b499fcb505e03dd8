//go:build linux

// Package slapdtest runs a real OpenLDAP server (slapd) for tests: a private
// one, with its own configuration, data and certificate, on the loopback
// interface. Whether slapd is installed is for the tests to look after.
package slapdtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Who may search, and where people are.
const (
	BindDN       = "cn=postern,dc=example,dc=com"
	BindPassword = "canary-directory-64b1f08d3c"
	Base         = "ou=people,dc=example,dc=com"
)

// configuration lets only BindDN search: whoever logs in sees nothing. The
// attribute is the one of Active Directory.
const configuration = `
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
attributetype ( 1.2.840.113556.1.2.210 NAME 'proxyAddresses' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
objectclass ( 1.2.840.113556.1.5.1 NAME 'mailbox' SUP top AUXILIARY MAY ( proxyAddresses ) )
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile DIR/pid
TLSCertificateFile DIR/crt.pem
TLSCertificateKeyFile DIR/key.pem
database mdb
maxsize 16777216
suffix "dc=example,dc=com"
directory DIR/data
access to attrs=userPassword by anonymous auth
access to * by dn.exact="cn=postern,dc=example,dc=com" read by anonymous auth
`

const firstEntries = `dn: dc=example,dc=com
objectClass: dcObject
objectClass: organization
o: example
dc: example

dn: cn=postern,dc=example,dc=com
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: postern
userPassword: ` + BindPassword + `

dn: ou=people,dc=example,dc=com
objectClass: organizationalUnit
ou: people

`

// Server is a directory that can be stopped and started again.
type Server struct {
	// URL is by TLS, Clear is not.
	URL, Clear string
	// CA is the file with the root of its certificate.
	CA string

	t    testing.TB
	dir  string
	stop func()
}

// Start runs a server that holds entries, in LDIF, below Base until the test
// ends.
func Start(t testing.TB, entries string) *Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "postern-slapd-") // short, as t.TempDir is not
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &Server{CA: filepath.Join(dir, "crt.pem"), t: t, dir: dir, stop: func() {}}
	makeCertificate(t, dir)
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.write("slapd.conf", strings.ReplaceAll(configuration, "DIR", dir))
	s.write("entries.ldif", firstEntries+entries)
	add := exec.Command(program(t), "-T", "add", "-f", filepath.Join(dir, "slapd.conf"), "-l", filepath.Join(dir, "entries.ldif"))
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", add, err, out)
	}
	for range 5 { // somebody else may be faster to take a free port
		s.URL, s.Clear = "ldaps://"+freeAddress(t), "ldap://"+freeAddress(t)
		if s.run() {
			t.Cleanup(s.Stop)
			return s
		}
	}
	t.Fatal("slapd does not start")
	return nil
}

// program is where Debian has slapd, which is not on everybody's PATH.
func program(t testing.TB) string {
	path, err := exec.LookPath("slapd")
	if err != nil {
		path = "/usr/sbin/slapd"
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// Stop ends the server; connections to it break, and new ones are refused.
func (s *Server) Stop() {
	s.stop()
	s.stop = func() {}
}

// Restart lets a stopped server be there again at the same addresses.
func (s *Server) Restart() {
	s.t.Helper()
	if !s.run() {
		s.t.Fatal("slapd does not come back")
	}
}

// run starts slapd, and tells whether it listens.
func (s *Server) run() bool {
	s.t.Helper()
	cmd := exec.Command(program(s.t), "-d", "0", "-f", filepath.Join(s.dir, "slapd.conf"), "-h", s.URL+"/ "+s.Clear+"/")
	var said strings.Builder
	cmd.Stderr = &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // should the tests die, it dies with them
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	s.stop = func() {
		cmd.Process.Kill()
		<-ended
	}
	for {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.Clear, "ldap://"))
		if err == nil {
			conn.Close()
			return true
		}
		select {
		case <-ended:
			s.t.Logf("slapd ended: %s", said.String())
			return false
		case <-time.After(20 * time.Millisecond):
		case <-s.t.Context().Done():
			return false
		}
	}
}

func (s *Server) write(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// makeCertificate leaves a certificate for 127.0.0.1, its own root, in dir.
func makeCertificate(t testing.TB, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "directory of a test"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"crt.pem": {Type: "CERTIFICATE", Bytes: certificate},
		"key.pem": {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
