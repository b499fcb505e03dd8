package rewrite_test

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"postern/relay/message"
	"postern/rewrite"
)

// Bodies that are meant to be misread, or to take a lot of memory: they go as
// they are or in whole parts that read as before, or not at all.
func TestHostileBodies(t *testing.T) {
	const mixed = "Content-Type: multipart/mixed; boundary=m\r\n\r\n"
	const ending = "\r\n--m\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n--m--\r\n"
	for _, tt := range []struct {
		name, text string
		sent       bool
	}{
		{"NUL octets", mixed + "--m\r\n\r\n\x00\x00\xff\x00" + ending, true},
		{"a line of a megabyte", mixed + "--m\r\n\r\n" + strings.Repeat("\xc3\xbc", 1<<19) + ending, true},
		{"a delimiter at the end of a megabyte", mixed + "--m\r\n\r\n" + strings.Repeat("x", 1<<20) + "--m" + ending, true},
		{"100,000 fields in a part", mixed + "--m\r\n" + strings.Repeat("X: y\r\n", 100_000) + "\r\nhello" + ending, true},
		{"100,000 fields beside 8-bit text", mixed + "--m\r\n" + strings.Repeat("X: y\r\n", 100_000) + "\r\n\xff" + ending, false},
		{"a header of 100 KB beside 8-bit text", mixed + "--m\r\n" + strings.Repeat("X: "+strings.Repeat("y", 1000)+"\r\n", 100) + "\r\n\xff" + ending, false},
		{"ten headers of 60 KB in 8 bits", mixed + strings.Repeat("--m\r\nX: "+strings.Repeat("\xc3\xbc", 30_000)+"\r\n\r\n\r\n", 10) + ending, false},
		{"a field of a megabyte in 8 bits", mixed + "--m\r\nX: " + strings.Repeat("\xff", 1<<20) + "\r\n\r\nhello" + ending, false},
		{"10,000 parts in ASCII", mixed + strings.Repeat("--m\r\n\r\nhello\r\n", 10_000) + ending, true},
		{"100,000 parts in 8 bits", mixed + strings.Repeat("--m\r\n\r\n\xff\r\n", 100_000) + ending, false},
		{"1,000 messages within messages", "Content-Type: message/rfc822\r\n\r\n" + strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 1000) + "\r\n\xff\r\n", false},
		{"headers without end in 8 bits", mixed + strings.Repeat("--m\r\nX: \xff"+strings.Repeat("y", 1000)+"\r\n\r\n\r\n", 10_000) + ending, false},
		{"a header that a delimiter ends", mixed + "--m\r\nX: y" + ending, true},
		{"a part that is only a line", mixed + "--m\r\nhello" + ending, true},
		{"a part that is only a line in 8 bits", mixed + "--m\r\n\xff" + ending, false},
		{"a header that begins with a folded line", mixed + "--m\r\n X: y\r\n\r\n\xff" + ending, false},
		{"no delimiter at all", mixed + "Gr\xc3\xbc\xc3\x9fe\r\n", false},
		{"no boundary", "Content-Type: multipart/mixed\r\n\r\n\xff\r\n", false},
		{"an empty boundary", "Content-Type: multipart/mixed; boundary=\"\"\r\n\r\n--\r\n\r\n\xff\r\n", false},
		{"two boundaries", "Content-Type: multipart/mixed; boundary=n; boundary=m\r\n" + ending, false},
		{"a boundary in pieces", "Content-Type: multipart/mixed; boundary*0=m\r\n" + ending, false},
		{"a boundary with a comment", "Content-Type: multipart/mixed; boundary=m(n)\r\n" + ending, false},
		{"a boundary that should be quoted", "Content-Type: multipart/mixed; boundary=----=_m\r\n\r\n------=_m\r\n\r\n\xff\r\n------=_m--\r\n", true},
		{"two types", "Content-Type: text/plain\r\nContent-Type: multipart/mixed; boundary=m\r\n" + ending, false},
		{"two encodings", "Content-Transfer-Encoding: 8bit\r\ncontent-transfer-encoding: base64\r\n\r\n\xff\r\n", false},
		{"a multipart in base64", "Content-Transfer-Encoding: base64\r\n" + mixed + ending, false},
		{"a delimiter with a long end", mixed + "--m\r\n\r\n\xff\r\n--m" + strings.Repeat(" ", 10_000) + ending, false},
		{"an inner boundary that closes the outer", mixed + "--m\r\nContent-Type: multipart/mixed; boundary=\"m--\"\r\n\r\n--m--\r\n\r\n\xff\r\n--m----" + ending, false},
		{"an inner multipart that the outer ends", mixed + "--m\r\nContent-Type: multipart/mixed; boundary=n\r\n\r\n--n\r\n\r\n\xff" + ending, true},
		{"a CR alone before a delimiter", mixed + "--m\r\n\r\n\xff\r--m" + ending, false},
		{"an LF alone before a delimiter", mixed + "--m\r\n\r\n\xff\n--m" + ending, false},
		{"a delimiter without its line", mixed + "--m\r\n\r\n\xff\r\n--m--", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := sevenBit(t, tt.text)
			if err != nil {
				checkUnfit(t, err)
			} else {
				checkFits(t, m, rewrite.Offer{})
				if want, err := leavesOf(tt.text); err == nil { // the other reader understands it
					checkSevenBit(t, m, tt.text, want)
				}
			}
			if (err == nil) != tt.sent {
				t.Errorf("sent: %t, %v", err == nil, err)
			}
		})
	}
}

// Long lines that cannot be encoded for certain stay in a message that could
// be carried with them.
func TestHostileLongLinesStay(t *testing.T) {
	const mixed = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n"
	const encoded = "--m\r\nContent-Transfer-Encoding: base64\r\n\r\n"
	long := strings.Repeat("A", 1000)
	for _, tt := range []struct{ name, text string }{
		{"base64 that would be cut before a boundary", mixed + encoded + strings.Repeat("A", 76) + "--m" + long + "\r\n--m--\r\n"},
		{"3,000 parts", mixed + strings.Repeat(encoded+long+"\r\n", 3000) + "--m--\r\n"},
		{"quoted-printable", "Content-Transfer-Encoding: quoted-printable\r\n\r\n" + long + "\r\n"},
		{"an unknown encoding", "Content-Transfer-Encoding: x-mine\r\n\r\n" + long + "\r\n"},
		{"a line that can be taken for a boundary", mixed + "--m\r\n\r\n" + long + "\r\n--more\r\n--m--\r\n"},
		{"around the parts", mixed + long + "\r\n--m\r\n\r\nhello\r\n--m--\r\n" + long},
	} {
		t.Run(tt.name, func(t *testing.T) {
			header, body, _ := strings.Cut(tt.text, "\r\n\r\n")
			m := submitted(t, header+"\r\n")
			m.Body = message.Bytes(body)
			m.Client.Repair.LongLines = true
			dressed, changes, err := rewrite.NewDressing("any", rewrite.Upstream{}).Dress(m, rewrite.Offer{EightBit: true})
			if err != nil || dressed != m {
				t.Errorf("changed: %v, %v", changes, err)
			}
		})
	}
}

// repeated is a body that is never in memory.
type repeated struct {
	line  string
	times int
	end   error // what reading ends with
}

func (b repeated) Size() int64    { return int64(len(b.line) * b.times) }
func (b repeated) EightBit() bool { return message.Bytes(b.line).EightBit() }

func (b repeated) Open() (io.ReadCloser, error) {
	return io.NopCloser(&repeatedReader{repeated: b}), nil
}

type repeatedReader struct {
	repeated
	rest string
}

func (r *repeatedReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		if r.times == 0 {
			return 0, r.end
		}
		r.times--
		r.rest = r.line
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// TestLargeBodiesStream dresses ten megabytes of text, and some of others.
func TestLargeBodiesStream(t *testing.T) {
	line := strings.Repeat(strings.Repeat("Stra\xc3\x9fe ", 9)+"\r\n", 1000)
	for header, times := range map[string]int{"": 140, "Content-Type: image/tiff\r\n": 20} {
		h, err := message.ParseHeader([]byte("From: a@example.com\r\n" + header))
		if err != nil {
			t.Fatal(err)
		}
		m := &message.Message{Header: h, Body: repeated{line: line, times: times, end: io.EOF}}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		dressed, _, err := rewrite.NewDressing("old", rewrite.Upstream{}).Dress(m, rewrite.Offer{})
		size := int64(0)
		if err == nil {
			var r io.ReadCloser
			if r, err = dressed.Body.Open(); err != nil {
				t.Fatal(err)
			}
			size, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, make([]byte, 1<<10))
			if err != nil || size != dressed.Body.Size() || size < m.Body.Size() {
				t.Errorf("%q: read %d octets of %d, %v", header, size, dressed.Body.Size(), err)
			}
		}
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 256<<10 {
			t.Errorf("%q: %d octets took %d of memory", header, m.Body.Size(), used)
		}
	}
}

// What is wrong with a stored body is told by whoever reads it, never hidden by
// what is made of it.
func TestDamageShows(t *testing.T) {
	damage := errors.Join(message.ErrDamaged, errors.New("a bad checksum"))
	for _, header := range []string{"From: a@example.com\r\n", "Content-Type: image/tiff\r\n"} {
		h, err := message.ParseHeader([]byte(header))
		if err != nil {
			t.Fatal(err)
		}
		body := repeated{line: "\xff\r\n", times: 10, end: damage}
		m := &message.Message{Header: h, Body: body}
		d := rewrite.NewDressing("old", rewrite.Upstream{})
		if _, _, err := d.Dress(m, rewrite.Offer{}); !errors.Is(err, message.ErrDamaged) {
			t.Errorf("dressing it: %v", err)
		}
		later := &body // sound when it is dressed, and not when it is sent
		later.end = io.EOF
		m.Body = later
		dressed, _, err := d.Dress(m, rewrite.Offer{})
		if err != nil {
			t.Fatal(err)
		}
		later.end = damage
		r, err := dressed.Open()
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if _, err := b.ReadFrom(r); !errors.Is(err, message.ErrDamaged) {
			t.Errorf("reading it: %v", err)
		}
	}
}
