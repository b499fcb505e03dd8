//go:build linux

package main_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A real Postfix that relays for whoever shows the right certificate takes our
// mail without a password, from the address we are to connect from.
func TestPostfixRelaysForOurCertificate(t *testing.T) {
	needs(t, "root", "postfix")
	dir, keys := workDir(t), needKeys(t)
	certificate, key, der := clientCertificate(t, dir)
	print := sha256.Sum256(der)
	var pairs []string
	for _, b := range print {
		pairs = append(pairs, strings.ToUpper(hex.EncodeToString([]byte{b})))
	}
	writeFile(t, filepath.Join(dir, "postfix", "clients"), strings.Join(pairs, ":")+" postern\n")
	mail := filepath.Join(dir, "postfix", "mail")
	mustMkdir(t, mail)
	mustRun(t, exec.Command("chown", "nobody", mail))
	p := startPostfix(t, filepath.Join(dir, "postfix"), `
myhostname = connector.example.com
virtual_mailbox_domains = mail.example.com
virtual_mailbox_base = `+mail+`
virtual_mailbox_maps = static:all/
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
smtpd_tls_security_level = encrypt
smtpd_tls_chain_files = `+keys.key+`, `+keys.certificate+`
smtpd_tls_req_ccert = yes
smtpd_tls_CAfile = `+certificate+`
smtpd_tls_fingerprint_digest = sha256
smtpd_tls_received_header = yes
relay_clientcerts = texthash:`+filepath.Join(dir, "postfix", "clients")+`
smtpd_client_restrictions = permit_tls_clientcerts, reject
smtpd_relay_restrictions = permit_tls_clientcerts, reject
`)
	defer p.stop()
	kept := &maildir{dir: filepath.Join(mail, "all")}

	connector := func(more string) sections {
		return sections{"upstreams": fmt.Sprintf(`[{name: postfix, address: "%s", ca: %s, min_tls: "1.3", source_address: 127.0.0.9%s}]`, p.address, keys.ca, more)}
	}
	r := startRelay(t, "", connector(fmt.Sprintf(", certificate: {certificate: %s, key: %s}", certificate, key)))
	l := newLetter("by certificate")
	mustSend(t, r, l)
	got := string(kept.await(t, l.id).file)
	for _, want := range []string{"[127.0.0.9]", "Client CN \"postern\"", "verified OK"} {
		if !strings.Contains(got, want) {
			t.Errorf("Postfix does not note %q:\n%s", want, got[:min(len(got), 1500)])
		}
	}

	stranger := startRelay(t, "", connector(""))
	mustSend(t, stranger, newLetter("by nobody"))
	await(t, "the log to say why", func() bool {
		return stranger.log.contains(`"upstream down"`)
	})
}

// clientCertificate makes one that is its own root, as PEM files.
func clientCertificate(t testing.TB, dir string) (certificate, key string, der []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "postern"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err = x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key = filepath.Join(dir, "client.crt"), filepath.Join(dir, "client.key")
	writeFile(t, certificate, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	writeFile(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})))
	return certificate, key, der
}

// Exim asks for LOGIN in two steps.
func TestEximTakesOurLogin(t *testing.T) {
	e := needExim(t)
	upstream := func(password string) sections {
		return sections{"upstreams": fmt.Sprintf(`[{name: postfix, address: %q, tls: none, username: %s, password: %s, lookahead: true, mechanisms: [LOGIN]}]`, e.address, upstreamUser, password)}
	}
	r := startRelay(t, "", upstream(upstreamPassword))
	for range 3 {
		l := newLetter("by LOGIN")
		mustSend(t, r, l)
		if got := string(e.await(t, l.id)); !strings.Contains(got, "with esmtpa ") {
			t.Errorf("Exim took it without a login:\n%s", got[:min(len(got), 1500)])
		}
	}
	wrong := startRelay(t, "", upstream("wrong"))
	mustSend(t, wrong, newLetter("by a wrong password"))
	await(t, "the log to say why", func() bool {
		return wrong.log.contains(`"phase":"auth"`) && wrong.log.contains("check its username and password")
	})
}
