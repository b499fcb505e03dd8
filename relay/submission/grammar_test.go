package submission

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"postern/relay/message"
)

// grammar reads what a client said as a plain grammar of SMTP does: commands are
// lines, contents are told by the command before them. It knows nothing of
// connections, of go-smtp or of us but what docs/security.md says, and finds
// which messages are accepted.
type grammar struct {
	rest     string
	greeted  bool // EHLO or HELO was said
	loggedIn bool
	mail     bool
	to       []string
	chunks   *strings.Builder // nil: no BDAT has begun
	errors   int              // lines that are no commands
	failures int              // of AUTH
	ended    bool
	unsure   bool // what comes next depends on who is faster

	accepted []string
}

// accepts is the messages in what was said; unsure, if there may be more.
func accepts(said string) (messages []string, unsure bool) {
	g := &grammar{rest: said}
	for !g.ended && !g.unsure {
		line, ok := g.line()
		if !ok {
			break
		}
		g.command(line)
	}
	return g.accepted, g.unsure
}

// line takes a line, which LF ends.
func (g *grammar) line() (line string, ok bool) {
	line, g.rest, ok = strings.Cut(g.rest, "\n")
	if len(line) >= maxLine {
		g.ended = true
		return "", false
	}
	return strings.TrimRight(line, "\r"), ok
}

// take takes octets; not all of them may be there.
func (g *grammar) take(n int) (octets string, all bool) {
	all = n <= len(g.rest)
	n = min(n, len(g.rest))
	octets, g.rest = g.rest[:n], g.rest[n:]
	return octets, all
}

var commandForm = regexp.MustCompile(`(?is)^([^ ]{4})(?:$| (.+)$)`)

func (g *grammar) command(line string) {
	if strings.HasPrefix(strings.ToUpper(line), "STARTTLS") {
		return // refused: there is TLS, or none
	}
	found := commandForm.FindStringSubmatch(line)
	if found == nil {
		g.mistaken()
		return
	}
	arg := strings.TrimSpace(found[2])
	switch verb := strings.ToUpper(found[1]); verb {
	case "EHLO", "HELO":
		if arg != "" {
			g.greeted = true
			g.reset()
		}
	case "AUTH":
		g.auth(arg)
	case "MAIL":
		g.mail = g.mail || g.greeted && g.loggedIn && g.chunks == nil && strings.EqualFold(arg, "FROM:<scan@example.com>")
	case "RCPT":
		if g.mail && g.chunks == nil && strings.EqualFold(arg, "TO:<user@example.com>") {
			g.to = append(g.to, arg)
		}
	case "DATA":
		if arg == "" && len(g.to) > 0 && g.chunks == nil {
			g.data()
		}
	case "BDAT":
		g.bdat(strings.Fields(arg))
	case "RSET":
		g.reset()
	case "QUIT":
		g.ended = true
	case "NOOP", "VRFY", "HELP", "EXPN":
	default:
		g.mistaken()
	}
}

// mistaken counts a line that is no command; the fourth ends the session.
func (g *grammar) mistaken() {
	g.errors++
	g.ended = g.errors == 4
}

// reset ends the transaction, and the session if a message was being sent.
func (g *grammar) reset() {
	if g.chunks != nil {
		g.ended = true
		g.unsure = g.chunks.Len() == 0
	}
	g.mail, g.to, g.chunks = false, nil, nil
}

func (g *grammar) auth(arg string) {
	mechanism, response, initial := strings.Cut(arg, " ")
	if !g.greeted || g.loggedIn || mechanism != "PLAIN" {
		return
	}
	if !initial {
		line, ok := g.line()
		if !ok || line == "*" {
			return
		}
		response = line
	}
	text, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(response, "="))
	switch {
	case err != nil:
	case string(text) == "\x00printer\x00canary-secret":
		g.loggedIn = true
	default:
		g.failures++
		g.ended = g.failures == maxFailures
	}
}

// data takes contents up to a line of a dot alone, and undoes the dots. A CR ends
// a line with an LF only if it does not belong to a CR before it; after a dot it
// is lost with it (docs/security.md).
func (g *grammar) data() {
	var text strings.Builder
	for {
		end := 0
		for end < len(g.rest) && !strings.HasPrefix(g.rest[end:], "\r\n") {
			if strings.HasPrefix(g.rest[end:], "\r\r") {
				end++
			}
			end++
		}
		if end >= len(g.rest) {
			g.ended = true
			return
		}
		line := g.rest[:end]
		g.rest = g.rest[end+2:]
		if line == "." {
			break
		}
		line = strings.TrimPrefix(strings.TrimPrefix(line, ".\r"), ".")
		text.WriteString(line + "\r\n")
	}
	g.message(text.String())
}

func (g *grammar) bdat(args []string) {
	if len(args) == 0 || len(args) > 2 || len(args) == 2 && !strings.EqualFold(args[1], "LAST") {
		return
	}
	size, err := strconv.ParseUint(args[0], 10, 32)
	if err != nil {
		return
	}
	octets, all := g.take(int(size))
	switch {
	case !all:
		g.ended = true
	case len(g.to) == 0:
	default:
		if g.chunks == nil {
			g.chunks = &strings.Builder{}
		}
		g.chunks.WriteString(octets)
		if len(args) == 2 {
			text := g.chunks.String()
			if text != "" && !strings.HasSuffix(text, "\n") {
				text += "\r\n"
			}
			g.message(text)
		}
	}
}

// message accepts a message whose lines end in CRLF, and which has a header. One
// without a body gets the empty line that ends the header.
func (g *grammar) message(text string) {
	if !strings.Contains("\r\n"+text, "\r\n\r\n") {
		text += "\r\n"
	}
	bare := strings.ContainsAny(strings.ReplaceAll(text, "\r\n", ""), "\r\n\x00")
	if _, err := message.ReadHeader(bufio.NewReader(strings.NewReader(text))); err == nil && !bare {
		g.accepted = append(g.accepted, fmt.Sprintf("to %d: %q", len(g.to), text))
	}
	g.mail, g.to, g.chunks = false, nil, nil
}

// words are what clients say in tests of the grammar: by the book, nearly so, and
// what would do harm were it taken for something else.
var words = []string{
	"EHLO x\r\n", "HELO x\r\n", "EHLO\r\n", "NOOP\r\n", "NOOP x\n", "RSET\r\n", "QUIT\r\n", "STARTTLS\r\n", "STARTTLS x\r\n", "VRFY a\r\n", "\r\n", "?\r\n", "mail\r\n",
	"AUTH PLAIN\r\n", "*\r\n", "AUTH PLAIN " + b64("\x00printer\x00canary-secret") + "\r\n", "AUTH PLAIN AGEAYg==\r\n", b64("\x00printer\x00canary-secret") + "\r\n",
	"MAIL FROM:<scan@example.com>\r\n", "mail from:<scan@example.com>\n", "RCPT TO:<user@example.com>\r\n", "RCPT TO:<nobody@example.com>\r\n",
	"DATA\r\n", "DATA\n", "DATA x\r\n", "DATA\r\r\n", "Subject: a\r\n", "\r\n", "text\r\n", ".\r\n", "..\r\n", ".x\r\n", "\n.\n", "\r.\r", "\n.\r\n", "\r\n.\n", "\r\n.\r", "\x00", "\r", "\n",
	"BDAT 0\r\n", "BDAT 0 LAST\r\n", "BDAT 3\r\nabc", "BDAT 14\r\nSubject: a\r\n\r\n", "BDAT 14 LAST\r\nSubject: a\r\n\r\n", "BDAT 0014 last\r\nSubject: a\r\n\r\n",
	"BDAT 27\nMAIL FROM:<x@example.com>\r\n", "BDAT 6 LAST\r\nQUIT\r\n", "BDAT 5 LAST extra\r\n", "BDAT -5\r\n", "BDAT +5\r\n", "BDAT 0x5\r\n", "BDAT 99999999999999999999\r\n", "BDAT 4294967296\r\n", "BDAT 6 LASTLY\r\n", "BDAT\t6\r\n", "BDATA 6\r\n",
}

const (
	loginWords    = "EHLO x\r\nAUTH PLAIN "
	envelopeWords = "MAIL FROM:<scan@example.com>\r\nRCPT TO:<user@example.com>\r\n"
)

// Of anything a client says, in clear or under TLS and in whatever pieces it
// comes, exactly those messages are accepted that a plain grammar finds in it.
func TestOnlyWhatAGrammarAcceptsIsAccepted(t *testing.T) {
	p := open(t, fastKeys, listening(Listener{TLS: noTLS, PlaintextAuth: true, Networks: home}))
	rapid.Check(t, func(r *rapid.T) {
		said := ""
		if rapid.IntRange(0, 9).Draw(r, "logged in") > 0 {
			said = loginWords + b64("\x00printer\x00canary-secret") + "\r\n"
		}
		word := rapid.OneOf(rapid.SampledFrom(words), rapid.SampledFrom([]string{envelopeWords, envelopeWords + "DATA\r\nSubject: a\r\n", "\r\n.\r\n"}))
		said += strings.Join(rapid.SliceOfN(word, 1, 25).Draw(r, "said"), "")
		listener := rapid.SampledFrom([]string{"submissions", "special"}).Draw(r, "listener")
		var pieces []string
		for rest := said; rest != ""; {
			n := min(len(rest), rapid.SampledFrom([]int{1, 2, 3, 7, 20, 100, 1000}).Draw(r, "piece"))
			pieces, rest = append(pieces, rest[:n]), rest[n:]
		}
		want, unsure := accepts(said)
		replies, got := p.sayInPieces(t, listener, pieces)
		told := strings.Count(replies, "250 2.0.0 queued as ")
		if unsure {
			got = got[:min(len(want), len(got))]
		} else if told != len(want) {
			r.Errorf("%d were told that their message is queued, want %d:\n%s", told, len(want), replies)
		}
		if !slices.Equal(got, want) {
			r.Errorf("of %q\naccepted: %q\nwant:     %q", said, got, want)
		}
	})
}

// sayInPieces says it all, each piece a write of its own, and gives the replies and
// the messages that were accepted.
func (p *post) sayInPieces(t testing.TB, listener string, pieces []string) (replies string, accepted []string) {
	p.forget()
	tcp, err := net.Dial("tcp", p.Addresses()[listener].String())
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	var conn interface {
		net.Conn
		CloseWrite() error
	} = tcp.(*net.TCPConn)
	if listener == "submissions" {
		conn = tls.Client(tcp, (&wireClient{post: p}).tlsConfig())
	}
	conn.SetDeadline(time.Now().Add(time.Minute))
	go func() {
		for _, piece := range pieces {
			if _, err := io.WriteString(conn, piece); err != nil {
				return
			}
		}
		conn.CloseWrite()
	}()
	heard, _ := io.ReadAll(conn)
	conn.Close()
	waitIdle(p)
	for _, m := range p.accepted() {
		accepted = append(accepted, fmt.Sprintf("to %d: %q", len(m.To), whole(t, m)))
	}
	return string(heard), accepted
}
