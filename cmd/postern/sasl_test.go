//go:build linux

package main_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Clients that prove who they are without telling their password.
func TestOtherWaysToLogIn(t *testing.T) {
	scram := scramOf(t, password)
	device := issueDevice(t)
	relay := startRelay(t, "", sections{
		"upstreams": "[{name: postfix, preset: capture}]",
		"auth":      "{mechanisms: [LOGIN, SCRAM-SHA-256, EXTERNAL, CRAM-MD5]}",
		"tls": fmt.Sprintf(`{client_ca: %s, certificates: [{certificate: %s, key: %s}]}`,
			device.certificate, needKeys(t).rsaCertificate, needKeys(t).rsaKey),
		"accounts": fmt.Sprintf(`[{name: %s, scram: "%s", cram_secret: "%s", certificates: ["dns:printer.example.com"], senders: ["@example.com"]}]`,
			user, scram, password),
	})
	for _, s := range []struct {
		does, program, mechanism string
		command                  func(c submission) *exec.Cmd
	}{
		{"msmtp with SCRAM-SHA-256", "msmtp", "SCRAM-SHA-256", func(c submission) *exec.Cmd { return msmtp(c, "on", "scram-sha-256") }},
		{"msmtp with CRAM-MD5", "msmtp", "CRAM-MD5", func(c submission) *exec.Cmd { return msmtp(c, "on", "cram-md5") }},
		{"msmtp with a certificate", "msmtp", "EXTERNAL", func(c submission) *exec.Cmd { return device.show(msmtp(c, "on", "external")) }},
		{"swaks with CRAM-MD5", "swaks", "CRAM-MD5", func(c submission) *exec.Cmd { return swaks(c, "-tls", "CRAM-MD5") }},
		{"smtplib with CRAM-MD5, which it takes when it is offered", "python3", "CRAM-MD5", func(c submission) *exec.Cmd { return smtplib(c, "starttls") }},
		{"curl with CRAM-MD5", "curl", "CRAM-MD5", func(c submission) *exec.Cmd { return curl(c, "smtp", "CRAM-MD5") }},
	} {
		t.Run(s.does, func(t *testing.T) {
			needs(t, s.program)
			logins := fmt.Sprintf(`postern_auth_attempts_total{mechanism="%s",result="ok"}`, s.mechanism)
			before, accepted := relay.number(logins), relay.log.count("accepted")
			_, port, _ := net.SplitHostPort(relay.address.submission)
			l := newLetter("A page.\r\n")
			file := filepath.Join(workDir(t), "letter.eml")
			writeFile(t, file, string(l.data))
			mustRun(t, s.command(submission{host: "localhost", port: port, ca: needKeys(t).ca, file: file, letter: l}))
			if got := relay.number(logins) - before; got != 1 {
				t.Errorf("%v logins by %s were counted, want 1", got, s.mechanism)
			}
			if got := relay.log.count("accepted") - accepted; got != 1 {
				t.Errorf("%d messages were accepted, want 1", got)
			}
		})
	}
	if relay.log.contains(scram) {
		t.Error("the log shows the credential for SCRAM")
	}
}

func scramOf(t testing.TB, password string) string {
	t.Helper()
	cmd := exec.Command(stage.postern, "hash", "--scram")
	cmd.Stdin = strings.NewReader(password + "\n")
	return strings.TrimSpace(mustRun(t, cmd))
}

// device is a certificate that logs in.
type device struct{ certificate, key string }

func issueDevice(t testing.TB) device {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "Printer 3F"},
		DNSNames:     []string{"printer.example.com"},
		NotAfter:     time.Now().Add(time.Hour),
		IsCA:         true, BasicConstraintsValid: true, // its own authority
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := workDir(t)
	d := device{filepath.Join(dir, "device.crt"), filepath.Join(dir, "device.key")}
	writeFile(t, d.certificate, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	writeFile(t, d.key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	return d
}

// show has msmtp show the certificate.
func (d device) show(cmd *exec.Cmd) *exec.Cmd {
	cmd.Args = slices.Insert(cmd.Args, 1, "--tls-cert-file="+d.certificate, "--tls-key-file="+d.key)
	return cmd
}

// What may be said in an exchange that is not its proof.
func TestExchangesThatProveNothing(t *testing.T) {
	relay := startRelay(t, "", sections{
		"upstreams": "[{name: postfix, preset: capture}]",
		"auth":      "{mechanisms: [SCRAM-SHA-256, CRAM-MD5]}",
		"accounts":  fmt.Sprintf(`[{name: %s, scram: "%s", cram_secret: "%s", senders: ["@example.com"]}]`, user, scramOf(t, password), password),
	})
	roots := trust(t, needKeys(t).ca)
	const garbage = "n,,n=\x00\xff=,r="
	hello := "n,,n=" + user + ",r=abc"
	proof := "c=biws,r=NONCE,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	answer := user + " 00112233445566778899aabbccddeeff"
	for _, row := range []struct {
		of, mechanism string
		said          []string // in base64 but for *; NONCE is the server's
		want          int
	}{
		{"a cancelled hello", "SCRAM-SHA-256", []string{"*"}, 501},
		{"a cancelled proof", "SCRAM-SHA-256", []string{hello, "*"}, 501},
		{"a cancelled answer", "CRAM-MD5", []string{"*"}, 501},
		{"garbage for a hello", "SCRAM-SHA-256", []string{garbage}, 501},
		{"garbage for a proof", "SCRAM-SHA-256", []string{hello, garbage}, 501},
		{"garbage for an answer", "CRAM-MD5", []string{garbage}, 501},
		{"the proof at first", "SCRAM-SHA-256", []string{proof}, 501},
		{"the hello twice", "SCRAM-SHA-256", []string{hello, hello}, 501},
		{"a wrong proof", "SCRAM-SHA-256", []string{hello, proof}, 535},
		{"a wrong proof of nobody", "SCRAM-SHA-256", []string{"n,,n=nobody,r=abc", proof}, 535},
		{"a wrong answer", "CRAM-MD5", []string{answer}, 535},
		{"a wrong answer of nobody", "CRAM-MD5", []string{strings.Replace(answer, user, "nobody", 1)}, 535},
		{"a hello of 100 KB", "SCRAM-SHA-256", []string{hello + strings.Repeat("x", 100<<10)}, 0},
		{"an answer of 100 KB", "CRAM-MD5", []string{strings.Repeat("x", 100<<10)}, 0},
	} {
		t.Run(row.of, func(t *testing.T) {
			d, err := dialTLS(relay.address.submissions, roots)
			if err != nil {
				t.Fatal(err)
			}
			defer d.close()
			if err := d.hello(); err != nil {
				t.Fatal(err)
			}
			text, err := d.say("AUTH %s", row.mechanism)
			for i, said := range row.said {
				if err != nil {
					t.Fatalf("step %d: %v", i, err)
				}
				challenge, _ := base64.StdEncoding.DecodeString(text)
				nonce, _, _ := strings.Cut(strings.TrimPrefix(string(challenge), "r="), ",")
				if said != "*" {
					said = base64.StdEncoding.EncodeToString([]byte(strings.ReplaceAll(said, "NONCE", nonce)))
				}
				text, err = d.say("%s", said)
			}
			if got := code(err); got != row.want && row.want != 0 || got == 200 {
				t.Errorf("it ended with %v, want %d", err, row.want)
			}
			if _, err := d.say("MAIL FROM:<%s>", sender); err == nil {
				t.Error("and mail can be sent")
			}
		})
	}
}
