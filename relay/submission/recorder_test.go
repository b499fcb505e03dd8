package submission

import (
	"crypto/tls"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"postern/relay/message"
)

// shelf is a Recorder of one address.
type shelf struct {
	address string

	mu    sync.Mutex
	from  []message.Client
	texts []string
}

func (s *shelf) Recording(client netip.Addr) bool { return client.String() == s.address }

func (s *shelf) Record(c message.Client, transcript []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.from, s.texts = append(s.from, c), append(s.texts, string(transcript))
}

// record plays a session and returns what is kept of it.
func record(t *testing.T, listener string, play func(c *wireClient)) (message.Client, string) {
	t.Helper()
	s := &shelf{address: "127.0.0.1"}
	p := open(t, forDevices, func(p *post) { p.config.Recorder = s })
	c := p.dial(t, listener)
	play(c)
	c.conn.Close()
	p.close(t)
	if len(s.texts) != 1 {
		t.Fatalf("%d transcripts were kept, want one", len(s.texts))
	}
	for _, secret := range []string{"canary", "secret body", b64("canary-secret"), b64("printer"), b64("\x00printer\x00canary-secret")} {
		if strings.Contains(strings.ToLower(s.texts[0]), strings.ToLower(secret)) {
			t.Errorf("%q is in the transcript:\n%s", secret, s.texts[0])
		}
	}
	return s.from[0], s.texts[0]
}

func TestASessionIsRecordedWithoutItsSecrets(t *testing.T) {
	from, text := record(t, "submission", func(c *wireClient) {
		c.expect("220")
		c.ask("EHLO printer", "250")
		c.ask("STARTTLS", "220")
		c.startTLS(func(cfg *tls.Config) { cfg.MaxVersion = 0x0303; cfg.CipherSuites = []uint16{0xc02f} })
		c.ask("EHLO printer", "250")
		c.ask("AUTH LOGIN", "334")
		c.ask(b64("printer"), "334")
		c.ask(b64("canary-secret"), "235")
		c.ask("MAIL FROM:<scan@example.com>", "250")
		c.ask("RCPT TO:<user@example.com>", "250")
		c.ask("DATA", "354")
		c.ask("Subject: x\r\n\r\nsecret body\r\nMAIL FROM:<secret@body>\r\n.", "250")
		c.ask("QUIT", "221")
	})
	if from.Account != "printer-3f" || from.Hello != "printer" || from.TLSVersion != "TLS 1.2" {
		t.Errorf("it is recorded as that of %+v", from)
	}
	offers := "S: 250-Hello printer\nS: 250-PIPELINING\nS: 250-8BITMIME\nS: 250-ENHANCEDSTATUSCODES\nS: 250-CHUNKING\n"
	rest := "S: 250-SMTPUTF8\nS: 250-DSN\nS: 250-SIZE 67108865\nS: 250 LIMITS RCPTMAX=10000\n"
	id := text[strings.Index(text, "queued as ")+len("queued as "):][:16]
	want := "S: 220 relay.example.com ESMTP Service Ready\nC: EHLO printer\n" + offers + "S: 250-STARTTLS\n" + rest +
		"C: STARTTLS\nS: 220 2.0.0 Ready to start TLS\n* TLS 1.2 with TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\n" +
		"C: EHLO printer\n" + offers + "S: 250-AUTH PLAIN LOGIN\n" + rest +
		"C: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: ***\nS: 334 UGFzc3dvcmQ6\nC: ***\nS: 235 2.0.0 Authentication succeeded\n" +
		"C: MAIL FROM:<scan@example.com>\nS: 250 2.0.0 Roger, accepting mail from <scan@example.com>\n" +
		"C: RCPT TO:<user@example.com>\nS: 250 2.0.0 I'll make sure <user@example.com> gets this\n" +
		"C: DATA\nS: 354 Go ahead. End your data with <CR><LF>.<CR><LF>\nC: <55 octets>\nS: 250 2.0.0 queued as " + id + "\nC: QUIT\nS: 221 2.0.0 Bye\n"
	if text != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
}

// What a client says at the wrong place may be a secret, too.
func TestWhatMayBeASecretIsNotRecorded(t *testing.T) {
	for name, said := range map[string]string{
		"AUTH PLAIN with a response":         "AUTH PLAIN " + b64("\x00printer\x00canary-secret") + "\r\n",
		"AUTH with a tab":                    "AUTH\tPLAIN\t" + b64("\x00printer\x00canary-secret") + "\r\n",
		"a response in place of a mechanism": "AUTH " + b64("\x00printer\x00canary-secret") + "\r\n",
		"a password in place of a mechanism": "AUTH canary-secret\r\n",
		"a password after AUTH was refused":  "AUTH DIGEST-MD5\r\n" + b64("printer") + "\r\n" + b64("canary-secret") + "\r\n",
		"a short password after that":        "AUTH DIGEST-MD5\r\nCANA RY\r\n",
		"AUTH that is mended":                " AUTH PLAIN " + b64("\x00printer\x00canary-secret") + " \r\n",
		"AUTH that is cut off":               "AUTH PLAIN " + b64("canary-secret"),
		"a response that is not base64":      "AUTH LOGIN\r\ncanary-secret\r\n",
		"a message after DATA was refused":   "DATA\r\nSubject: secret body\r\n\r\nsecret body\r\nDATA secret body\r\nNOOP secret body\r\n.\r\n",
		"a chunk":                            "BDAT 11 LAST\r\nsecret body",
		"a chunk behind a size that is none": "BDAT 11 secret body\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, text := record(t, "outdated", func(c *wireClient) {
				c.expect("220")
				c.ask("EHLO x", "250")
				c.send(said)
				c.conn.(interface{ CloseWrite() error }).CloseWrite()
				for c.reply() != "" {
				}
			})
			if !strings.HasPrefix(text, "S: 220 ") {
				t.Errorf("it begins with %.40q", text)
			}
		})
	}
}

func TestATranscriptTellsWhatWasUnderstoodAndWhyTLSFailed(t *testing.T) {
	_, text := record(t, "outdated", func(c *wireClient) {
		c.expect("220")
		c.ask("HELO", "250")
		c.ask("AUTH PLAIN "+b64("\x00printer\x00canary-secret"), "235")
		c.ask("MAIL FROM scan@example.com", "250")
	})
	if want := "C: MAIL FROM scan@example.com\n* understood as: MAIL FROM:scan@example.com\n"; !strings.Contains(text, want) || !strings.Contains(text, "C: AUTH PLAIN ***\n") {
		t.Errorf("it does not say %q:\n%s", want, text)
	}
	_, text = record(t, "submission", func(c *wireClient) {
		c.expect("220")
		c.ask("STARTTLS", "220")
		c.send("no TLS\r\n")
		c.reply()
	})
	if !strings.Contains(text, "* STARTTLS handshake failed: ") {
		t.Errorf("it does not say why:\n%s", text)
	}
}

func TestATranscriptIsBounded(t *testing.T) {
	_, text := record(t, "outdated", func(c *wireClient) {
		c.expect("220")
		for range 200 {
			c.ask("EHLO "+strings.Repeat("x", 1000), "250")
		}
	})
	if len(text) > maxTranscript || len(text) < maxTranscript-2000 || !strings.HasSuffix(text, "\n* the rest is left out\n") || strings.Count(text, "left out") != 1 {
		t.Errorf("it has %d octets and ends with %q", len(text), text[len(text)-60:])
	}
}

func TestOthersAreNotRecorded(t *testing.T) {
	s := &shelf{address: "192.0.2.7"}
	p := open(t, func(p *post) { p.config.Recorder = s })
	p.ready(t).ask("QUIT", "221")
	p.close(t)
	if len(s.texts) != 0 {
		t.Errorf("%q was recorded", s.texts)
	}
}
