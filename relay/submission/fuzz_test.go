package submission

import (
	"crypto/tls"
	"io"
	"net"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"postern/relay/message"
)

var replyLine = regexp.MustCompile(`^[2345]\d\d[ -]`)

// FuzzSession says anything at all to a session. Whatever it is, every line we
// answer is a reply, who has not logged in has nothing accepted, what was
// accepted was told and can go on the wire again, and nothing is left behind.
func FuzzSession(f *testing.F) {
	for _, seed := range []string{
		"EHLO x\r\n", "HELO x\r\n", "NOOP\r\n", "RSET\r\n", "VRFY a\r\n", "HELP\r\n", "QUIT\r\n", "STARTTLS\r\n", "XCLIENT NAME=a\r\n",
		"AUTH LOGIN\r\ncHJpbnRlcg==\r\nY2FuYXJ5\r\n", "AUTH PLAIN =\r\n", "AUTH PLAIN\r\n*\r\n",
		"MAIL FROM:<a@b.c> SIZE=10 BODY=8BITMIME RET=FULL ENVID=x SMTPUTF8 AUTH=<>\r\n",
		"MAIL FROM:<>\r\nRCPT TO:<\"a b\"@[192.0.2.1]> NOTIFY=NEVER ORCPT=rfc822;a+40b\r\n",
		"MAIL FROM:<a@b.c>\r\nRCPT TO:<d@e.f>\r\nDATA\r\nSubject: x\r\n\r\n..\r\n.\r\nNOOP\r\n",
		"MAIL FROM:<a@b.c>\r\nRCPT TO:<d@e.f>\r\nDATA\r\nx\n.\r\n\r.\r\nMAIL FROM:<>\r\n.\r\n",
		"MAIL FROM:<a@b.c>\r\nRCPT TO:<d@e.f>\r\nBDAT 4\r\nA: b\r\nBDAT 4 LAST\r\n\r\n\r\nNOOP\r\n",
		"MAIL FROM:<a@b.c>\r\nRCPT TO:<d@e.f>\r\nBDAT 100 LAST\r\nA: b\r\n",
		"MAIL FROM:<a@b.c>\r\nRCPT TO:<d@e.f>\r\nBDAT 0\r\nRSET\r\nMAIL FROM:<>\r\n",
	} {
		f.Add(true, seed)
		f.Add(false, seed)
	}
	p := open(f)
	f.Fuzz(func(t *testing.T, login bool, said string) {
		before := len(p.accepted())
		replies := converse(t, p, login, said)
		queued := 0
		for line := range strings.Lines(replies) {
			if !replyLine.MatchString(line) || !strings.HasSuffix(line, "\r\n") {
				// EHLO and RCPT are echoed, with what control characters they hold
				if !strings.ContainsAny(said, "\r\x0b") {
					t.Errorf("%q is not a reply", line)
				}
			}
			if strings.HasPrefix(line, "250 2.0.0 queued as ") {
				queued++
			}
		}
		waitIdle(p)
		messages := p.accepted()[before:]
		if len(messages) != queued {
			t.Errorf("%d messages were accepted, %d were told so", len(messages), queued)
		}
		if !login && len(messages) != 0 && !strings.Contains(said, "AUTH") {
			t.Error("a message was accepted without AUTH")
		}
		for _, m := range messages {
			checkMessage(t, m)
		}
		if n := p.openSpools(); n != 0 {
			t.Errorf("%d spools are left", n)
		}
		if strings.Contains(p.log.String(), "submission.(*session)") {
			t.Errorf("a panic: %s", p.log)
		}
		p.forget()
	})
}

// converse says it all at once and reads what comes back until the end.
func converse(t *testing.T, p *post, login bool, said string) string {
	t.Helper()
	tcp, err := net.Dial("tcp", p.Addresses()["submissions"].String())
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	conn := tls.Client(tcp, (&wireClient{post: p}).tlsConfig())
	conn.SetDeadline(time.Now().Add(time.Minute))
	if login {
		said = "EHLO x\r\nAUTH PLAIN " + b64("\x00printer\x00canary-secret") + "\r\n" + said
	}
	go func() {
		io.WriteString(conn, said)
		conn.CloseWrite()
	}()
	replies, _ := io.ReadAll(conn)
	return string(replies)
}

// waitIdle waits until the server has let go of every client.
func waitIdle(p *post) {
	for {
		p.connections.mu.Lock()
		n := len(p.connections.open)
		p.connections.mu.Unlock()
		if n == 0 {
			return
		}
		runtime.Gosched()
	}
}

// forget keeps memory flat over millions of sessions.
func (p *post) forget() {
	p.gateway.mu.Lock()
	p.messages, p.logins = nil, nil
	p.gateway.mu.Unlock()
	p.log.mu.Lock()
	p.log.b.Reset()
	p.log.mu.Unlock()
}

func checkMessage(t *testing.T, m *message.Message) {
	t.Helper()
	for _, a := range append([]message.Recipient{{Address: m.From}}, m.To...) {
		if a.Address.IsNull() {
			continue
		}
		if again, err := message.ParseAddress(a.Address.String()); err != nil || again != a.Address {
			t.Errorf("%+v does not survive the wire: %v", a.Address, err)
		}
		if !isText(a.Address.String()) || !isText(a.Original) {
			t.Errorf("%+v holds control characters", a)
		}
	}
	text := whole(t, m)
	if rest := strings.ReplaceAll(text, "\r\n", ""); strings.ContainsAny(rest, "\r\n\x00") || !strings.HasSuffix(text, "\r\n") {
		t.Errorf("the message holds other line ends than CRLF: %q", text)
	}
	if plainASCII(m.Client.Hello) != m.Client.Hello {
		t.Errorf("the name %q is not printable", m.Client.Hello)
	}
}
