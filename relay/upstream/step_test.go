package upstream_test

import (
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"postern/relay/message"
)

// A reply is of whom the one before leaves it to: where one too many came, a refusal
// may be another recipient's.
func TestRepliesOutOfStepFailNobody(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault func(step, line string) string
		want  string
	}{
		{"MAIL is answered twice, and one is unknown", func(step, line string) string {
			switch {
			case step == "MAIL":
				return "250 ok\n250 ok"
			case step == "RCPT" && strings.Contains(line, "b@"):
				return "550 5.1.1 unknown"
			}
			return ""
		}, "deferred deferred deferred"},
		{"MAIL is answered twice, and the last is unknown", func(step, line string) string {
			switch {
			case step == "MAIL":
				return "250 ok\n250 ok"
			case step == "RCPT" && strings.Contains(line, "c@"):
				return "550 5.1.1 unknown"
			}
			return ""
		}, "deferred deferred deferred"},
		{"DATA is answered with 250, and one is unknown", func(step, line string) string {
			switch {
			case step == "DATA":
				return "250 ok"
			case step == "RCPT" && strings.Contains(line, "b@"):
				return "550 5.1.1 unknown"
			}
			return ""
		}, "deferred deferred deferred"},
		{"a refusal of DATA comes with 354", func(step, line string) string {
			switch {
			case step == "DATA":
				return "554 no\n354 go on"
			}
			return ""
		}, "deferred deferred deferred"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			s.lump = true
			s.fault = c.fault
			set, _ := beside(t, smarthost(t, s.listen(t)))
			results, err := send(t, set, letter("x\r\n", "a@example.net", "b@example.net", "c@example.net"))
			if err != nil || outcomes(results) != c.want || len(s.got()) > 0 {
				t.Errorf("%v, %v", results, err)
			}
		})
	}
}

// TestAnAnswerBeforeTheDotIsNone reads the content only once the server has said
// that it took it.
func TestAnAnswerBeforeTheDotIsNone(t *testing.T) {
	s := newServer(t)
	var due atomic.Bool
	reading, said := make(chan struct{}), make(chan struct{})
	s.fault = func(step, _ string) string {
		if step != "BODY" {
			return ""
		}
		<-reading
		due.Store(true)
		return "250 2.0.0 queued as 1"
	}
	s.wrap = func(nc net.Conn) net.Conn { return &telling{nc, &due, said} }
	set, _ := beside(t, smarthost(t, s.listen(t)))
	m := letter("", "a@example.net")
	m.Body = waiting{message.Bytes("x\r\n"), reading, said}
	results, err := send(t, set, m)
	if err != nil || outcomes(results) != "deferred" {
		t.Errorf("%v, %v", results, err)
	}
}

// telling closes said after the first write once that is due.
type telling struct {
	net.Conn
	due  *atomic.Bool
	said chan struct{}
}

func (c *telling) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if c.due.CompareAndSwap(true, false) {
		close(c.said)
	}
	return n, err
}

// waiting is a body that is read once something was said; reading is closed when
// somebody tries.
type waiting struct {
	message.Bytes
	reading chan<- struct{}
	said    <-chan struct{}
}

func (b waiting) Open() (io.ReadCloser, error) {
	r, err := b.Bytes.Open()
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(blocked(b), r), r}, err
}

type blocked waiting

func (b blocked) Read([]byte) (int, error) {
	close(b.reading)
	<-b.said
	return 0, io.EOF
}
