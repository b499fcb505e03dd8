package submission

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"pgregory.net/rapid"
)

// tape is a connection whose client has said everything at once and listens.
type tape struct {
	in *strings.Reader

	mu     sync.Mutex
	out    bytes.Buffer
	once   sync.Once
	closed chan struct{}
}

func (t *tape) Read(b []byte) (int, error) { return t.in.Read(b) }

func (t *tape) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.out.Write(b)
}

func (t *tape) Close() error {
	t.once.Do(func() { close(t.closed) })
	return nil
}

func (t *tape) SetReadDeadline(time.Time) error {
	select {
	case <-t.closed:
		return net.ErrClosed
	default:
		return nil
	}
}

func (t *tape) SetDeadline(at time.Time) error   { return t.SetReadDeadline(at) }
func (t *tape) SetWriteDeadline(time.Time) error { return nil }
func (t *tape) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (t *tape) RemoteAddr() net.Addr             { return &net.TCPAddr{} }

// heard is what a backend of go-smtp hears.
type heard struct {
	mu    sync.Mutex
	words []string
}

func (h *heard) note(format string, args ...any) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.words = append(h.words, fmt.Sprintf(format, args...))
	return nil
}

type hearer struct {
	*heard
	conn *smtp.Conn
}

func (h hearer) Reset()        {}
func (h hearer) Logout() error { return nil }
func (h hearer) Mail(from string, o *smtp.MailOptions) error {
	as := ""
	if o.Auth != nil {
		as, o.Auth = "AUTH="+*o.Auth, nil
	}
	return h.note("%s MAIL %q %+v %s", h.conn.Hostname(), from, *o, as)
}
func (h hearer) Rcpt(to string, o *smtp.RcptOptions) error { return h.note("RCPT %q %+v", to, *o) }
func (h hearer) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	if err == nil {
		h.note("message %q", text)
	}
	return err
}
func (h hearer) AuthMechanisms() []string { return []string{"PLAIN"} }
func (h hearer) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, name, password string) error { return h.note("AUTH %q %q", name, password) }), nil
}

// listenTo has go-smtp hear what was said, through what wrap makes of the
// connection, and gives what it heard and replied.
func listenTo(said string, wrap func(*tape) net.Conn) (heardWords []string, replies string) {
	conn := &tape{in: strings.NewReader(said), closed: make(chan struct{})}
	h := &heard{}
	server := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) { return hearer{h, c}, nil }))
	server.MaxLineLength, server.ReadTimeout = maxLine, time.Hour
	server.AllowInsecureAuth, server.EnableSMTPUTF8, server.EnableDSN = true, true, true
	server.ErrorLog = log.New(io.Discard, "", 0)
	server.Serve(&once{conn: wrap(conn)})
	<-conn.closed
	h.mu.Lock()
	defer h.mu.Unlock()
	conn.mu.Lock()
	defer conn.mu.Unlock()
	return slices.Clone(h.words), parameterReply.ReplaceAllString(conn.out.String(), "5yz parameter\r")
}

func alone(t *tape) net.Conn { return t }

// through puts talk between, for a client of that profile.
func through(p Profile) func(*tape) net.Conn {
	return func(t *tape) net.Conn {
		client := newGuard(t, defaultTimeouts)
		client.profile = &profile{Profile: p}
		client.transcript = &transcript{}
		return &talk{Conn: t, guard: client, gen: &generation{listener: Listener{TLS: noTLS}}}
	}
}

// refusedSyntax is how go-smtp answers what it cannot read.
var refusedSyntax = regexp.MustCompile(`(?m)^(500|501|454|5yz)[ -]`)

// parameterReply is its answer to parameters; which of several it names is chance.
var parameterReply = regexp.MustCompile(`(?m)^5\d\d 5\.(5|3)\.4 .*$`)

// checkTalk compares what go-smtp hears alone with what it hears through talk.
func checkTalk(t interface{ Errorf(string, ...any) }, said string) {
	if !strings.HasSuffix(said, "\n") {
		said += "\r\n" // a line that breaks off is not handed over
	}
	_, behind, chunked := strings.Cut(strings.ToUpper(said), "BDAT")
	if len(said) >= maxLine || chunked && regexp.MustCompile(`RSET|HELO|EHLO`).MatchString(behind) {
		return // there go-smtp races with itself
	}
	words, replies := listenTo(said, alone)
	for name, p := range map[string]Profile{"no profile": {}, "a lenient profile": {LenientSyntax: true}} {
		if p.LenientSyntax && refusedSyntax.MatchString(replies) {
			continue
		}
		gotWords, gotReplies := listenTo(said, through(p))
		if !slices.Equal(gotWords, words) || gotReplies != replies {
			t.Errorf("with %s, of %q\ngo-smtp hears %q and says %q,\nalone it hears %q and says %q", name, said, gotWords, gotReplies, words, replies)
		}
	}
}

// Whatever a client says, go-smtp hears and answers the same through talk as
// without it; and so it does through a lenient one, if it understood everything
// without.
func TestNothingIsMendedThatIsUnderstood(t *testing.T) {
	pieces := []string{
		"EHLO x", "HELO x", "HELO", "EHLO ", "NOOP", "NOOP x", "NOOP ", "QUIT", "QUIT ", "VRFY a", "STARTTLS", "STARTTLSx", "", " ", "X", "AUTH PLAIN",
		"AUTH PLAIN AGEAYg==", "AUTH PLAIN AGEAYg== ", "AGEAYg==", " AGEAYg==", "*", "=",
		"MAIL FROM:<a@b>", "mail from: a@b", "MAIL FROM:<a@b> SIZE=1 x=y", "MAIL FROM:<>", "MAIL FROM:", "MAIL FROM a@b", "MAIL FROM:<a@b", "MAIL FROM:\t<a@b>\tBODY=7BIT",
		`MAIL FROM:<"a b"@c>`, `MAIL FROM:<"a\">"@c> ENVID=x`, `MAIL FROM:"A" <a@b>`, "MAIL FROM:<@c:a@b>", "MAIL FROM:<a@b@>", "MAIL FROM:a@b>", "MAIL FROM:<a@b>AUTH=<>",
		"RCPT TO:<d@e>", "RCPT TO: d@e", "RCPT TO:<d@e>;", "RCPT TO:<>", "RCPT TO:<d@e> NOTIFY=NEVER", "RCPT TO:<d>", "RCPT  TO:<d@e>", "rcpt to:<d@e> ORCPT=rfc822;a",
		"DATA", "DATA ", "DATA x", ".", "..", ".a", "a\r", "\r.", ".\r", "a\r\r", "\n.", ".\n", "text", "MAIL FROM:<x@y>",
		"BDAT 3", "BDAT 3 LAST", "BDAT 5 last", "BDAT 0 LAST", "BDAT 0", "BDAT x", "BDAT -1", "BDAT 3 LAST x", "BDAT  2", "BDAT\t2", "BDAT 99999999999", "BDATA 3", "ab", "abc",
	}
	rapid.Check(t, func(t *rapid.T) {
		said := ""
		if rapid.Bool().Draw(t, "ready") {
			said = "EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"
		}
		for _, piece := range rapid.SliceOfN(rapid.SampledFrom(pieces), 1, 12).Draw(t, "said") {
			said += piece + rapid.SampledFrom([]string{"\r\n", "\r\n", "\r\n", "\n", ""}).Draw(t, "end")
		}
		checkTalk(t, said)
	})
}

// FuzzTalk is the same for anything at all.
func FuzzTalk(f *testing.F) {
	for _, seed := range []string{
		"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nSubject: x\r\n\r\n..\r\n.\r\nQUIT\r\n",
		"HELO x\r\nMAIL FROM: a@b\r\nRCPT TO:<c@d>\r\nBDAT 5\r\nMAIL BDAT 2 LAST\r\n\r\nNOOP\r\n",
		"EHLO x\r\nAUTH PLAIN\r\nAGEAYg==\r\nMAIL FROM:<\"a\\\"b\"@c> SIZE=1 BODY=8BITMIME\r\n",
		"EHLO \r\nHELO\r\nDATA \r\nMAIL FROM <a@b>\r\nRCPT TO:\"A B\" <c@d>;\r\nMAIL FROM:<a@b> x=y\r\n",
		"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n\n.\n\r\n.\rQUIT\r\n.\r\r\n.\r\nNOOP\r\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, said string) { checkTalk(t, said) })
}

func TestCommandsAreMended(t *testing.T) {
	for _, row := range []struct{ name, line, want string }{
		{"no name in HELO", "HELO", "HELO unknown"},
		{"no name in EHLO, but a space", "EHLO ", "EHLO unknown"},
		{"a space behind a command", "DATA ", "DATA"},
		{"a space before a command", " quit", "quit"},
		{"a tab", "NOOP\t", "NOOP"},
		{"no brackets", "MAIL FROM: scan@example.com", "MAIL FROM: scan@example.com"}, // go-smtp reads it
		{"no colon", "MAIL FROM scan@example.com", "MAIL FROM:scan@example.com"},
		{"no colon before brackets", "MAIL FROM <scan@example.com>", "MAIL FROM:<scan@example.com>"},
		{"a colon with a space before it", "RCPT TO : <a@example.com>", "RCPT TO:<a@example.com>"},
		{"one bracket", "MAIL FROM:<scan@example.com", "MAIL FROM:<scan@example.com>"},
		{"one bracket and a parameter", "MAIL FROM:<scan@example.com SIZE=10", "MAIL FROM:<scan@example.com> SIZE=10"},
		{"an unknown parameter", "MAIL FROM:<scan@example.com> COLOR=blue SIZE=10", "MAIL FROM:<scan@example.com> SIZE=10"},
		{"text behind", "MAIL FROM:<scan@example.com> from the scanner", "MAIL FROM:<scan@example.com>"},
		{"a semicolon behind", "RCPT TO:<a@example.com>;", "RCPT TO:<a@example.com>"},
		{"a name", `RCPT TO:"A B" <a@example.com>`, "RCPT TO:<a@example.com>"},
		{"a name and no quotes", "MAIL FROM: Scanner 3F <scan@example.com>", "MAIL FROM:<scan@example.com>"},
		{"quotes for brackets", `MAIL FROM:'scan@example.com'`, `MAIL FROM:'scan@example.com'`}, // ' may stand in an address
		{"no sender at all", "MAIL FROM:", "MAIL FROM:<>"},
		{"no recipient at all", "RCPT TO:", "RCPT TO:"},
		{"a sender without a domain", "MAIL FROM:<scanner>", "MAIL FROM:<scanner>"},
		{"a parameter behind a quoted address stays outside", `MAIL FROM:<"a> SIZE=1"@example.com> x`, `MAIL FROM:<"a> SIZE=1"@example.com>`},
		{"what is no command", "GET / HTTP/1.1", "GET / HTTP/1.1"},
		{"nothing", "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := mend(row.line); got != row.want {
				t.Errorf("%q is mended to %q, want %q", row.line, got, row.want)
			}
			if got := mend(mend(row.line)); got != mend(row.line) {
				t.Errorf("%q is mended again to %q", mend(row.line), got)
			}
		})
	}
}

// Where DATA ends is where go-smtp ends it, in whatever pieces it comes.
func TestTheEndOfContentsIsFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOf(rapid.SampledFrom([]rune("\r\n.a"))).Draw(t, "text") + "\r\n.\r\n"
		want := -1
		for i := range len(text) + 1 {
			body, _ := listenTo("EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n"+text[:i], alone)
			if len(body) == 3 {
				want = i
				break
			}
		}
		var e ending
		got, at := -1, 0
		for at < len(text) && got < 0 {
			n := rapid.IntRange(1, len(text)-at).Draw(t, "piece")
			if i := e.find([]byte(text[at : at+n])); i >= 0 {
				got = at + i
			}
			at += n
		}
		if got != want {
			t.Fatalf("%q ends at %d, go-smtp ends it at %d", text, got, want)
		}
	})
}
