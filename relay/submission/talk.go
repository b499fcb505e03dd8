package submission

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/emersion/go-smtp"

	"postern/relay/message"
)

// talk is what go-smtp takes for the connection: the octets in clear, whether
// TLS lies below or not. It knows commands from contents and hands go-smtp one
// command at a time, so that it sees the reply to each before the next one is
// read. What it adds:
//
//   - STARTTLS. go-smtp never hears of it: its connection ends there, and
//     another one begins under TLS that knows nothing of what was said before.
//   - What a profile asks for: commands mended (mend.go), other keywords in the
//     reply to EHLO (offer.go).
//   - A transcript, if somebody wants it.
//
// Contents, of DATA up to CRLF . CRLF and of BDAT up to the size it names, pass
// as they are, and nothing in them is ever taken for a command.
type talk struct {
	net.Conn // the guard, or TLS over it
	guard    *guard
	gen      *generation
	tls      *tls.ConnectionState // nil in clear
	closed   sync.Once

	in      []byte // read, and not looked at
	out     []byte // looked at, and not handed over
	chunk   int64  // octets left of a BDAT
	content bool   // in DATA
	end     ending // of DATA
	octets  int64  // contents since the command

	verb     string // of the last command; "" before it
	reply    []byte // being written
	code     int    // of the last reply since; 0 before it
	greeted  bool
	starting bool // TLS, when go-smtp has let go
}

// client is who the other end is before it says anything.
func (t *talk) client() message.Client {
	c := t.gen.client(t.guard)
	if t.tls != nil {
		c.TLSVersion, c.TLSCipher = tls.VersionName(t.tls.Version), tls.CipherSuiteName(t.tls.CipherSuite)
	}
	return c
}

// Read hands over what go-smtp is to hear next.
func (t *talk) Read(b []byte) (int, error) {
	if t.verb == "DATA" && t.code == 354 {
		t.content, t.end, t.code = true, ending{}, 0
	}
	switch {
	case len(t.out) > 0:
		return t.hand(b), nil
	case t.chunk > 0:
		n, err := t.take(b[:min(int64(len(b)), t.chunk)])
		t.chunk -= int64(n)
		t.octets += int64(n)
		return n, err
	case t.content:
		n, err := t.take(b)
		if i := t.end.find(b[:n]); i >= 0 {
			t.content = false
			t.in = append(bytes.Clone(b[i:n]), t.in...)
			n = i
		}
		t.octets += int64(n)
		return n, err
	}
	if err := t.listen(b); err != nil {
		return 0, err
	}
	return t.hand(b), nil
}

// take reads contents, what is here already first.
func (t *talk) take(b []byte) (int, error) {
	if len(t.in) > 0 {
		n := copy(b, t.in)
		t.in = t.in[n:]
		return n, nil
	}
	return t.Conn.Read(b)
}

// hand hands over as much as fits.
func (t *talk) hand(b []byte) int {
	n := copy(b, t.out)
	if t.out = t.out[n:]; len(t.out) == 0 {
		t.out = nil // a session that waits needs no memory
	}
	return n
}

// listen reads one line into out. One that breaks off is not handed over.
func (t *talk) listen(b []byte) error {
	for {
		if i := bytes.IndexByte(t.in, '\n'); i >= 0 {
			line := t.in[:i+1]
			if t.in = t.in[i+1:]; len(t.in) == 0 {
				t.in = nil
			}
			return t.hear(line)
		}
		if len(t.in) >= maxLine {
			return smtp.ErrTooLongLine
		}
		n, err := t.Conn.Read(b)
		if t.in = append(t.in, b[:n]...); n == 0 && err != nil {
			return err
		}
	}
}

// hear decides what becomes of a line that is no contents.
func (t *talk) hear(line []byte) error {
	t.recordContents()
	if t.verb == "AUTH" && t.code == 334 {
		t.guard.transcript.secret()
		t.code = 0
		t.out = t.mended(line, mendResponse)
		return nil
	}
	t.guard.transcript.command(string(line))
	if t.isStartTLS(line) {
		return t.goAhead()
	}
	if t.out = t.mended(line, mend); !bytes.Equal(t.out, line) {
		t.guard.transcript.understood(string(t.out))
	}
	t.verb, t.code = verbOf(t.out), 0
	t.chunk = chunkSize(t.out)
	return nil
}

// recordContents notes how much of a message has come since the last command.
func (t *talk) recordContents() {
	if t.octets > 0 {
		t.guard.transcript.contents(t.octets)
		t.octets = 0
	}
}

// mended is the line as it should be, for clients that need it.
func (t *talk) mended(line []byte, mend func(string) string) []byte {
	if !t.guard.profile.LenientSyntax {
		return line
	}
	was := strings.TrimRight(string(line), "\r\n")
	if is := mend(was); is != was {
		return []byte(is + "\r\n")
	}
	return line
}

// isStartTLS tells whether the line is a STARTTLS that can be carried out;
// go-smtp refuses it otherwise. In a transaction it cannot.
func (t *talk) isStartTLS(line []byte) bool {
	return t.offersTLS() && !t.guard.isBusy() && strings.EqualFold(strings.TrimSpace(string(line)), "STARTTLS")
}

// offersTLS tells whether STARTTLS is possible.
func (t *talk) offersTLS() bool {
	return t.tls == nil && t.gen.listener.TLS != noTLS
}

// goAhead answers STARTTLS. go-smtp believes that the connection has ended; the
// talk under TLS is another one, so that what the client has sent behind the
// command, in clear and by whomever, is gone (RFC 3207, section 4.2).
func (t *talk) goAhead() error {
	t.starting = true
	if _, err := t.say([]byte("220 2.0.0 Ready to start TLS\r\n")); err != nil {
		return err
	}
	return io.EOF
}

// Write takes lines of replies, and lets each reply go as a whole.
func (t *talk) Write(b []byte) (int, error) {
	t.reply = append(t.reply, b...)
	last := t.reply[bytes.LastIndexByte(bytes.TrimSuffix(t.reply, []byte("\n")), '\n')+1:]
	if !bytes.HasSuffix(last, []byte("\n")) || len(last) > 3 && last[3] == '-' {
		return len(b), nil
	}
	reply := t.reply
	t.reply = nil
	t.code, _ = strconv.Atoi(string(last[:min(3, len(last))]))
	if !t.greeted {
		if t.greeted = true; t.tls != nil && t.guard.opening.spoken {
			return len(b), nil // it was greeted before STARTTLS
		}
	}
	if t.verb == "EHLO" && t.code == 250 {
		reply = t.offer(reply)
	}
	if _, err := t.say(reply); err != nil {
		return 0, err
	}
	return len(b), nil
}

// say lets a reply go.
func (t *talk) say(reply []byte) (int, error) {
	t.recordContents()
	t.guard.transcript.reply(string(reply))
	return t.Conn.Write(reply)
}

// Close is called when go-smtp is done.
func (t *talk) Close() error {
	t.closed.Do(func() {
		if t.starting {
			go t.gen.secure(t.guard)
			return
		}
		t.Conn.Close()
	})
	return nil
}

// verbOf is the verb of a command as go-smtp reads it.
func verbOf(line []byte) string { return strings.ToUpper(string(line[:min(4, len(line))])) }

// chunkSize is how many octets follow a BDAT: go-smtp reads them if it
// understands the command, even when it refuses it.
func chunkSize(line []byte) int64 {
	if len(line) < 5 || verbOf(line) != "BDAT" || line[4] != ' ' {
		return 0
	}
	args := strings.Fields(string(line[5:]))
	if len(args) == 0 || len(args) > 2 || len(args) == 2 && !strings.EqualFold(args[1], "LAST") {
		return 0
	}
	size, err := strconv.ParseUint(args[0], 10, 32)
	if err != nil {
		return 0
	}
	return int64(size)
}

// ending finds CRLF . CRLF in the contents of DATA as go-smtp does, which begins
// at the beginning of a line.
type ending struct{ at place }

type place int

const (
	lineStart place = iota
	afterDot        // a dot that begins a line
	afterDotCR
	afterCR
	inLine
)

// find returns the index behind the end, or -1.
func (e *ending) find(b []byte) int {
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch {
		case e.at == lineStart && c == '.':
			e.at = afterDot
		case e.at == lineStart && c == '\r', e.at == inLine && c == '\r':
			e.at = afterCR
		case e.at == afterDot && c == '\r':
			e.at = afterDotCR
		case e.at == afterDotCR && c == '\n':
			return i + 1
		case e.at == afterCR && c == '\n':
			e.at = lineStart
		default:
			e.at = inLine
			next := bytes.IndexByte(b[i+1:], '\r')
			if next < 0 {
				return -1
			}
			i += next
		}
	}
	return -1
}
