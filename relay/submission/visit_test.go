package submission

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/relay/message"
)

func hasLine(reply, line string) bool { return strings.Contains("\n"+reply+"\n", "\n"+line+"\n") }

// visit plays one connection and gives what the Gateway is told of it.
func visitOf(t *testing.T, p *post, play func()) message.Visit {
	t.Helper()
	play()
	p.close(t)
	p.gateway.mu.Lock()
	defer p.gateway.mu.Unlock()
	if len(p.visits) != 1 {
		t.Fatalf("%d visits were told, want one", len(p.visits))
	}
	return p.visits[0]
}

func TestTheGatewayIsToldHowAVisitEnded(t *testing.T) {
	auth := func(c *wireClient, mechanism, response, reply string) {
		c.ask("EHLO printer", "250")
		c.ask("AUTH "+mechanism+" "+response, reply)
	}
	for _, row := range []struct {
		name     string
		listener string
		play     func(c *wireClient)
		account  string
		tls      bool
		messages int
		trouble  string // begins with; "" for none
		hint     string // holds
	}{
		{"all went well", "submissions", func(c *wireClient) {
			c.login()
			c.deliver()
			c.deliver()
			c.ask("QUIT", "221")
		}, "printer-3f", true, 2, "", ""},
		{"a look at what is offered", "submissions", func(c *wireClient) {
			c.ask("EHLO printer", "250")
			c.ask("QUIT", "221")
		}, "", true, 0, "", ""},
		{"no word", "submissions", func(c *wireClient) {}, "", true, 0, "", ""},
		{"no word in clear", "submission", func(c *wireClient) {}, "", false, 0, "", ""},
		{"a wrong password", "submissions", func(c *wireClient) {
			auth(c, "PLAIN", b64("\x00printer\x00wrong"), "535")
		}, "", true, 0, "AUTH PLAIN: 535 5.7.8 ", "user name or password typed into the device"},
		{"a wrong password three times", "submissions", func(c *wireClient) {
			c.ask("EHLO printer", "250")
			for _, reply := range []string{"535", "535", "421"} {
				c.ask("AUTH PLAIN "+b64("\x00printer\x00wrong"), reply)
			}
		}, "", true, 0, "AUTH PLAIN: 535 5.7.8 ", "user name or password typed into the device"},
		{"a mechanism that is not offered", "submissions", func(c *wireClient) {
			auth(c, "CRAM-MD5", "", "504")
		}, "", true, 0, "AUTH CRAM-MD5: 504 5.5.4 CRAM-MD5 is not offered; use PLAIN, LOGIN", "LOGIN or PLAIN"},
		{"a password in place of a mechanism", "submissions", func(c *wireClient) {
			auth(c, "canary-secret", "", "504")
		}, "", true, 0, "AUTH a mechanism of 13 octets: 504 5.5.4 a mechanism of 13 octets is not offered; use PLAIN, LOGIN", "LOGIN or PLAIN"},
		{"AUTH before TLS", "submission", func(c *wireClient) {
			auth(c, "PLAIN", b64("\x00printer\x00canary-secret"), "530")
			c.ask("QUIT", "221")
		}, "", false, 0, "AUTH PLAIN: 530 5.7.0 Must issue a STARTTLS", "set it to STARTTLS or TLS"},
		{"MAIL before TLS", "submission", func(c *wireClient) {
			c.ask("EHLO printer", "250")
			c.ask("MAIL FROM:<scan@example.com>", "530")
		}, "", false, 0, "MAIL: 530 5.7.0 Must issue a STARTTLS", "switch on STARTTLS"},
		{"MAIL before AUTH", "submissions", func(c *wireClient) {
			c.ask("EHLO printer", "250")
			c.ask("MAIL FROM:<scan@example.com>", "530")
		}, "", true, 0, "MAIL: 530 5.7.0 Authentication required", "switch on authentication"},
		{"a sender that is not its own", "submissions", func(c *wireClient) {
			c.login()
			c.ask("MAIL FROM:<boss@example.com>", "550")
		}, "printer-3f", true, 0, "MAIL: 550 5.7.1 ", "one of the account's senders"},
		{"a From that is not its own", "submissions", func(c *wireClient) {
			c.login()
			c.envelope()
			c.ask("DATA", "354")
			c.ask("Subject: refuse\r\n\r\n.", "550")
		}, "printer-3f", true, 0, "DATA: 550 5.7.1 ", "one of the account's senders"},
		{"a recipient that is refused", "submissions", func(c *wireClient) {
			c.login()
			c.ask("MAIL FROM:<scan@example.com>", "250")
			c.ask("RCPT TO:<nobody@example.com>", "550")
		}, "printer-3f", true, 0, "RCPT: 550 5.1.1 no such mailbox", ""},
		{"bare LF", "submissions", func(c *wireClient) {
			c.login()
			c.envelope()
			c.ask("DATA", "354")
			c.ask("Subject: hi\r\n\r\none\ntwo\r\n.", "550")
		}, "printer-3f", true, 0, "DATA: 550 5.6.0 line 3 ", "line_endings: repair"},
		{"a login that worked at last, and a message", "submissions", func(c *wireClient) {
			auth(c, "PLAIN", b64("\x00printer\x00wrong"), "535")
			c.login()
			c.deliver()
		}, "printer-3f", true, 1, "AUTH PLAIN: 535 ", "user name or password"},
		{"a device known by its address", "submissions", func(c *wireClient) {
			c.ask("EHLO trusted", "250")
			c.deliver()
		}, "scanner", true, 1, "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := open(t)
			v := visitOf(t, p, func() {
				c := p.dial(t, row.listener)
				c.expect("220")
				row.play(c)
				c.conn.Close()
			})
			if v.Account != row.account || v.Listener != row.listener || !v.Address.IsValid() || (v.TLSVersion == "TLS 1.3") != row.tls {
				t.Errorf("it was %+v", v.Client)
			}
			if v.Messages != row.messages || v.Began.IsZero() || v.Ended.Before(v.Began) {
				t.Errorf("it was %+v", v)
			}
			if !strings.HasPrefix(v.Trouble, row.trouble) || (row.trouble == "") != (v.Trouble == "") ||
				!strings.Contains(v.Hint, row.hint) || (row.hint == "") != (v.Hint == "") {
				t.Errorf("the trouble was %q, the hint %q; want %q, %q", v.Trouble, v.Hint, row.trouble, row.hint)
			}
			failed := row.trouble != "" && row.messages == 0
			if said := strings.Count(p.log.String(), `"msg":"session failed"`) == 1; said != failed {
				t.Errorf("the log says that the session failed: %v, want %v\n%s", said, failed, p.log)
			}
		})
	}
}

// deliver is one message from MAIL to the end.
func (c *wireClient) deliver() {
	c.t.Helper()
	c.envelope()
	c.ask("DATA", "354")
	c.ask("Subject: hi\r\n\r\n.", "250")
}

func TestAVisitThatDoesNotGetInIsToldToo(t *testing.T) {
	t.Run("a TLS handshake that fails", func(t *testing.T) {
		p := open(t)
		v := visitOf(t, p, func() {
			conn, err := net.Dial("tcp", p.Addresses()["submissions"].String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			tls.Client(conn, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}).Handshake()
		})
		if !strings.HasPrefix(v.Trouble, "TLS handshake failed") || !strings.Contains(v.Hint, "at most TLS 1.1") || v.TLSVersion != "" || v.Messages != 0 {
			t.Errorf("it was %+v", v)
		}
		if strings.Contains(p.log.String(), "session failed") {
			t.Errorf("the log tells it twice:\n%s", p.log)
		}
	})
	t.Run("a limit", func(t *testing.T) {
		p := open(t, func(p *post) { p.connections.limits.total = 0 })
		v := visitOf(t, p, func() {
			c := p.dial(t, "submission")
			c.expect("421")
		})
		if v.Trouble != "421 4.7.0 too many connections, please try again later" || v.Listener != "submission" {
			t.Errorf("it was %+v", v)
		}
	})
	t.Run("a look whether the port is open", func(t *testing.T) {
		p := open(t)
		v := visitOf(t, p, func() { p.knock() })
		if v.Trouble != "" || v.Hint != "" || v.Hello != "" || v.Account != "" || !v.Address.IsValid() {
			t.Errorf("it was %+v", v)
		}
	})
}

// A message that is on its way to the Gateway when the connection breaks counts.
func TestAVisitEndsAfterItsLastMessage(t *testing.T) {
	arrived, goOn := make(chan bool), make(chan bool)
	p := open(t, func(p *post) {
		p.accept = func(context.Context, *message.Message) error {
			close(arrived)
			<-goOn
			return nil
		}
	})
	v := visitOf(t, p, func() {
		c := p.ready(t)
		c.envelope()
		c.ask("DATA", "354")
		c.send("Subject: hi\r\n\r\n.\r\n")
		<-arrived
		c.conn.Close()
		close(goOn)
	})
	if v.Messages != 1 {
		t.Errorf("%d messages were told, want 1", v.Messages)
	}
}

func TestWhatHasExpiredMustBeProvedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, door := openPipes(t)
		p.expires = time.Now().Add(4 * time.Minute)
		c := door.dial(t, p)
		time.Sleep(4*time.Minute - 15*time.Second - time.Nanosecond)
		c.deliver()
		time.Sleep(15 * time.Second)
		c.envelope() // at the last moment, and it ends after that
		time.Sleep(time.Minute)
		c.ask("RCPT TO:<other@example.com>", "250")
		c.ask("DATA", "354")
		c.ask("Subject: late\r\n\r\n.", "250")
		c.send("MAIL FROM:<scan@example.com>\r\nRCPT TO:<user@example.com>\r\nRSET\r\nMAIL FROM:<scan@example.com>\r\n")
		c.expect("421 4.7.0 what you logged in with has expired; connect again and log in anew")
		c.ended()
		if n := len(p.accepted()); n != 2 {
			t.Errorf("%d messages were accepted, want 2", n)
		}
	})
}
