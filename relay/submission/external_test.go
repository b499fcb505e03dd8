package submission

import (
	"crypto/tls"
	"testing"
)

// shows lets clients show a certificate, and gives the change that makes one of
// them show the one with that name.
func shows(t *testing.T, p *post, name string) func(*tls.Config) {
	t.Helper()
	device := p.issue(t, t.TempDir(), name, ecdsaKey, name)
	pair, err := device.load()
	if err != nil {
		t.Fatal(err)
	}
	p.config.TLS.ClientCA = device.Certificate
	p.config.Mechanisms = []string{"PLAIN", "EXTERNAL"}
	if err := p.Reload(p.config); err != nil {
		t.Fatal(err)
	}
	return func(cfg *tls.Config) { cfg.Certificates = []tls.Certificate{*pair} }
}

func (p *post) dialWith(t *testing.T, certificate func(*tls.Config)) *wireClient {
	t.Helper()
	c := p.dial(t, "submission")
	c.expect("220")
	c.ask("EHLO device", "250")
	c.ask("STARTTLS", "220")
	c.startTLS(certificate)
	c.ask("EHLO device", "250-Hello device")
	return c
}

func TestExternal(t *testing.T) {
	p := open(t)
	device := shows(t, p, "device")
	t.Run("in the command, with nothing to say", func(t *testing.T) {
		c := p.dialWith(t, device)
		c.ask("AUTH EXTERNAL =", "235")
		c.envelope()
	})
	t.Run("in two steps, with the name it acts as", func(t *testing.T) {
		c := p.dialWith(t, device)
		c.ask("AUTH EXTERNAL", "334 ")
		c.ask(b64("device"), "235")
		c.envelope()
	})
	t.Run("in two steps, with nothing to say", func(t *testing.T) {
		c := p.dialWith(t, device)
		c.ask("AUTH EXTERNAL", "334 ")
		c.ask("", "235")
	})
	t.Run("it may not act as another", func(t *testing.T) {
		c := p.dialWith(t, device)
		c.ask("AUTH EXTERNAL "+b64("boss"), "535 5.7.8 no account has this certificate")
		c.ask("MAIL FROM:<scan@example.com>", "530")
	})
	t.Run("a name is UTF-8 without NUL", func(t *testing.T) {
		c := p.dialWith(t, device)
		c.ask("AUTH EXTERNAL "+b64("dev\xffice"), "501 5.5.2")
		c.ask("AUTH EXTERNAL "+b64("device\x00"), "501 5.5.2")
		c.ask("AUTH EXTERNAL =", "235")
	})
	t.Run("it can be cancelled", func(t *testing.T) {
		c := p.dialWith(t, device)
		c.ask("AUTH EXTERNAL", "334 ")
		c.ask("*", "501")
		c.ask("MAIL FROM:<scan@example.com>", "530")
	})
	t.Run("a session that is resumed has its certificate", func(t *testing.T) {
		cache := tls.NewLRUClientSessionCache(1)
		resume := func(cfg *tls.Config) {
			device(cfg)
			cfg.ClientSessionCache = cache
		}
		for range 2 {
			c := p.dialWith(t, resume)
			c.ask("AUTH EXTERNAL =", "235")
			c.ask("QUIT", "221")
		}
	})
	t.Run("it is offered beside the rest, and only with a certificate", func(t *testing.T) {
		c := p.dialWith(t, device)
		if got := c.ask("EHLO device", "250"); !hasLine(got, "250-AUTH PLAIN EXTERNAL") {
			t.Errorf("EHLO said %q", got)
		}
		c = p.dialWith(t, nil)
		if got := c.ask("EHLO device", "250"); !hasLine(got, "250-AUTH PLAIN") {
			t.Errorf("EHLO said %q", got)
		}
		c.ask("AUTH EXTERNAL =", "504 5.5.4 EXTERNAL is not offered")
		c.ask("AUTH PLAIN "+b64("\x00printer\x00canary-secret"), "235")
	})
	t.Run("a certificate of nobody we trust ends the handshake", func(t *testing.T) {
		stranger := p.issue(t, t.TempDir(), "stranger", rsaKey, "device")
		pair, err := stranger.load()
		if err != nil {
			t.Fatal(err)
		}
		c := p.dial(t, "submission")
		c.expect("220")
		c.ask("EHLO device", "250")
		c.ask("STARTTLS", "220")
		conn := tls.Client(c.conn, &tls.Config{RootCAs: p.roots, ServerName: "localhost", Certificates: []tls.Certificate{*pair},
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil }})
		conn.Handshake() // in TLS 1.3 the refusal comes after it
		c.conn = conn
		c.send("EHLO device\r\n")
		c.ended()
	})
}
