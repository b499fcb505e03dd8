package submission

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// shown is the leaf a client gets.
func shown(t *testing.T, p *post, change func(*tls.Config)) (*x509.Certificate, error) {
	t.Helper()
	conn, err := net.Dial("tcp", p.Addresses()["submissions"].String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cfg := (&wireClient{post: p}).tlsConfig()
	change(cfg)
	client := tls.Client(conn, cfg)
	if err := client.Handshake(); err != nil {
		return nil, err
	}
	return client.ConnectionState().PeerCertificates[0], nil
}

func TestClientsGetACertificateTheyUnderstand(t *testing.T) {
	p := open(t, func(p *post) { // ECDSA first
		c := p.config.TLS.Certificates
		c[0], c[1] = c[1], c[0]
	})
	onlyRSA := func(cfg *tls.Config) {
		cfg.MaxVersion = tls.VersionTLS12
		cfg.CipherSuites = []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
	}
	for name, row := range map[string]struct {
		change func(*tls.Config)
		rsa    bool
	}{
		"a modern client gets the first":             {func(*tls.Config) {}, false},
		"an old client gets RSA":                     {onlyRSA, true},
		"an old client gets RSA under another name":  {func(c *tls.Config) { onlyRSA(c); c.ServerName = "10.1.2.3.example"; c.InsecureSkipVerify = true }, true},
		"an old client gets RSA without naming us":   {func(c *tls.Config) { onlyRSA(c); c.ServerName = ""; c.InsecureSkipVerify = true }, true},
		"a modern client gets the first by any name": {func(c *tls.Config) { c.ServerName = "other.example"; c.InsecureSkipVerify = true }, false},
	} {
		t.Run(name, func(t *testing.T) {
			leaf, err := shown(t, p, row.change)
			if err != nil {
				t.Fatal(err)
			}
			_, isRSA := leaf.PublicKey.(*rsa.PublicKey)
			if _, isECDSA := leaf.PublicKey.(*ecdsa.PublicKey); isRSA != row.rsa || isECDSA == row.rsa {
				t.Errorf("got a certificate with %T", leaf.PublicKey)
			}
		})
	}
}

func TestCertificatesAreReadAgainWhenTheirFilesChange(t *testing.T) {
	dir := t.TempDir()
	p := open(t, func(p *post) {
		p.config.TLS.Certificates = []Certificate{p.issue(t, dir, "only", ecdsaKey, "localhost")}
	})
	certs := p.doors[0].current.Load().profiles[0].tls.GetCertificate
	hello := &tls.ClientHelloInfo{SupportedVersions: []uint16{tls.VersionTLS13}}
	get := func() *tls.Certificate {
		c, err := certs(hello)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	session := p.ready(t)
	first := get()

	list, err := loadCertificates(p.config.TLS.Certificates, p.Server.metrics, p.Server.log)
	if err != nil {
		t.Fatal(err)
	}
	later := time.Now()
	again := func() *tls.Certificate {
		later = later.Add(checkEvery)
		return list.current(later)[0]
	}
	if again().Leaf.SerialNumber.Cmp(first.Leaf.SerialNumber) != 0 {
		t.Error("an unchanged certificate was replaced")
	}
	p.issue(t, dir, "only", ecdsaKey, "localhost")
	if list.current(later)[0].Leaf.SerialNumber.Cmp(first.Leaf.SerialNumber) != 0 {
		t.Error("the files were looked at twice within a second")
	}
	second := again()
	if second.Leaf.SerialNumber.Cmp(first.Leaf.SerialNumber) == 0 {
		t.Error("a changed certificate was not read")
	}

	if err := os.WriteFile(p.config.TLS.Certificates[0].Certificate, []byte("half written"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if again() != second {
			t.Error("a broken file replaced the certificate in use")
		}
	}
	if n := strings.Count(p.log.String(), "certificate kept"); n != 1 {
		t.Errorf("the broken file was logged %d times, want once", n)
	}
	p.issue(t, dir, "only", ecdsaKey, "localhost")
	if again() == second {
		t.Error("the mended file was not read")
	}
	session.ask("NOOP", "250")
}

func TestAHandshakeServesTheRenewedCertificate(t *testing.T) {
	dir := t.TempDir()
	p := open(t, func(p *post) {
		p.config.TLS.Certificates = []Certificate{p.issue(t, dir, "only", ecdsaKey, "localhost")}
	})
	session := p.ready(t)
	before, err := shown(t, p, func(*tls.Config) {})
	if err != nil {
		t.Fatal(err)
	}
	p.issue(t, dir, "only", ecdsaKey, "localhost")
	for deadline := time.Now().Add(time.Minute); ; {
		after, err := shown(t, p, func(*tls.Config) {})
		if err != nil {
			t.Fatal(err)
		}
		if after.SerialNumber.Cmp(before.SerialNumber) != 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the renewed certificate was not served within a minute")
		}
	}
	session.ask("NOOP", "250")
}

func TestAFailedStartTLSEndsTheConnection(t *testing.T) {
	for name, row := range map[string]struct {
		then func(c *wireClient)
		hint string
	}{
		"the client goes on in clear": {func(c *wireClient) { c.send("EHLO again\r\nMAIL FROM:<scan@example.com>\r\n") }, "not TLS"},
		"the client begins and goes away": {func(c *wireClient) {
			c.send("\x16\x03\x01\x00\x02xx")
			c.conn.(*net.TCPConn).CloseWrite()
		}, "not TLS"},
		"the client is too old": {func(c *wireClient) {
			cfg := c.tlsConfig()
			cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
			tls.Client(c.conn, cfg).Handshake()
		}, "at most TLS 1.1"},
		"the client does not trust us": {func(c *wireClient) {
			cfg := c.tlsConfig()
			cfg.RootCAs = x509.NewCertPool()
			tls.Client(c.conn, cfg).Handshake()
		}, "may not trust"},
		"the client goes away": {func(c *wireClient) { c.conn.(*net.TCPConn).CloseWrite() }, "not TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			p := open(t)
			c := p.dial(t, "submission")
			c.expect("220")
			c.ask("EHLO x", "250")
			c.ask("STARTTLS", "220")
			row.then(c)
			c.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
			rest, err := io.ReadAll(c.conn)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the connection stays open")
				c.conn.Close()
			}
			p.close(t)
			if strings.Contains(string(rest), "550") || strings.Contains(string(rest), "250") {
				t.Errorf("the session went on in clear: %q", rest)
			}
			if !strings.Contains(p.log.String(), row.hint) || strings.Count(p.log.String(), "tls failed") != 1 {
				t.Errorf("the log does not say %q once:\n%s", row.hint, p.log)
			}
			if n := testutil.ToFloat64(p.metrics.TLS.WithLabelValues("submission", "none", "failed")); n != 1 {
				t.Errorf("%v failed handshakes were counted", n)
			}
		})
	}
}

func TestWrongKindOfListener(t *testing.T) {
	t.Run("TLS at once where STARTTLS is due", func(t *testing.T) {
		p := open(t)
		conn, err := net.Dial("tcp", p.Addresses()["submission"].String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if tls.Client(conn, &tls.Config{ServerName: "localhost"}).Handshake() == nil {
			t.Error("TLS was spoken on the STARTTLS listener")
		}
		io.Copy(io.Discard, conn) // until the server has seen it
		p.close(t)
		if !strings.Contains(p.log.String(), "set the client to STARTTLS") {
			t.Errorf("the log gives no hint:\n%s", p.log)
		}
	})
	t.Run("SMTP in clear where TLS is due", func(t *testing.T) {
		p := open(t)
		conn, err := net.Dial("tcp", p.Addresses()["submissions"].String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.Write([]byte("EHLO x\r\n"))
		conn.Read(make([]byte, 100))
		p.close(t)
		if !strings.Contains(p.log.String(), "set it to TLS (SSL)") {
			t.Errorf("the log gives no hint:\n%s", p.log)
		}
	})
	t.Run("a client that waits for a greeting where TLS is due", func(t *testing.T) {
		p := open(t, func(p *post) { p.timeouts.handshake = 20 * time.Millisecond })
		conn, err := net.Dial("tcp", p.Addresses()["submissions"].String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.Read(make([]byte, 100))
		p.close(t)
		if !strings.Contains(p.log.String(), "waits for a greeting") {
			t.Errorf("the log gives no hint:\n%s", p.log)
		}
	})
	t.Run("a look whether the port is open is no failure", func(t *testing.T) {
		p := open(t)
		conn, err := net.Dial("tcp", p.Addresses()["submissions"].String())
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		for served := p.metrics.ConnectionsTotal.WithLabelValues("submissions", "served"); testutil.ToFloat64(served) == 0; {
		}
		p.close(t)
		if strings.Contains(p.log.String(), "tls failed") {
			t.Errorf("the log complains:\n%s", p.log)
		}
	})
}

func TestCertificateProblemsAreFoundAtStart(t *testing.T) {
	dir := t.TempDir()
	p := &post{roots: x509.NewCertPool()}
	good := p.issue(t, dir, "good", ecdsaKey, "localhost")
	other := p.issue(t, dir, "other", rsaKey, "localhost")
	for name, c := range map[string]Certificate{
		"no such file":      {Certificate: filepath.Join(dir, "missing.crt"), Key: good.Key},
		"key of another":    {Certificate: good.Certificate, Key: other.Key},
		"a key as the cert": {Certificate: good.Key, Key: good.Key},
	} {
		t.Run(name, func(t *testing.T) {
			var found string
			c.Check(func(key, format string, args ...any) { found = format })
			if found == "" {
				t.Error("Check found nothing")
			}
			if _, err := loadCertificates([]Certificate{good, c}, nil, nil); err == nil || !strings.Contains(err.Error(), c.Certificate) {
				t.Errorf("got %v, want an error that names %s", err, c.Certificate)
			}
		})
	}
}
