package message

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Field is one header field as it stands on the wire (RFC 5322, section 2.2):
// name, colon, value and folding, with its final CRLF. Its bytes never change.
type Field struct {
	raw  []byte
	name int // octets before the colon, trailing white space included
}

// NewField makes a field. The value may be folded with CRLF and white space;
// it must not hold another line end.
func NewField(name, value string) Field {
	return Field{raw: []byte(name + ": " + value + "\r\n"), name: len(name)}
}

// Name is the field name as written, without the white space some devices put
// before the colon.
func (f Field) Name() string { return strings.TrimRight(string(f.raw[:f.name]), " \t") }

// Is tells whether the field has that name, in any letter case.
func (f Field) Is(name string) bool { return strings.EqualFold(f.Name(), name) }

// Value is the unfolded value (RFC 5322, section 2.2.3) without surrounding
// white space. Encoded words are not decoded.
func (f Field) Value() string {
	v := strings.ReplaceAll(string(f.raw[f.name+1:]), "\r\n", "")
	return strings.Trim(v, " \t")
}

// Raw is the field's bytes. They must not be changed.
func (f Field) Raw() []byte { return f.raw }

// Header is the fields in order. A Header is never changed in place: what
// edits one returns another that shares the untouched fields.
type Header []Field

// Size is the octets of all fields.
func (h Header) Size() int64 {
	var n int64
	for _, f := range h {
		n += int64(len(f.raw))
	}
	return n
}

// Bytes is the header on the wire, without the blank line that ends it.
func (h Header) Bytes() []byte {
	b := make([]byte, 0, h.Size())
	for _, f := range h {
		b = append(b, f.raw...)
	}
	return b
}

// Reader reads the header and the blank line that ends it.
func (h Header) Reader() io.Reader {
	return bytes.NewReader(append(h.Bytes(), '\r', '\n'))
}

// IsASCII tells whether no octet is over 127.
func (h Header) IsASCII() bool {
	for _, f := range h {
		if !isASCII(f.raw) {
			return false
		}
	}
	return true
}

// All is every field of that name.
func (h Header) All(name string) []Field {
	var found []Field
	for _, f := range h {
		if f.Is(name) {
			found = append(found, f)
		}
	}
	return found
}

// Get is the value of the first field of that name, or "".
func (h Header) Get(name string) string {
	for _, f := range h {
		if f.Is(name) {
			return f.Value()
		}
	}
	return ""
}

// Prepend returns the header with the fields at its top.
func (h Header) Prepend(fields ...Field) Header {
	return append(append(make(Header, 0, len(h)+len(fields)), fields...), h...)
}

// Append returns the header with the fields at its end.
func (h Header) Append(fields ...Field) Header {
	return append(append(make(Header, 0, len(h)+len(fields)), h...), fields...)
}

// Remove returns the header without the fields of that name, and those.
func (h Header) Remove(name string) (kept Header, removed []Field) {
	for _, f := range h {
		if f.Is(name) {
			removed = append(removed, f)
		} else {
			kept = append(kept, f)
		}
	}
	return kept, removed
}

// Limits of a header: a To with 5,000 recipients takes 200 KB.
const (
	MaxHeaderSize   = 1 << 20
	MaxHeaderFields = 10_000
)

// Errors of ReadHeader; match them with errors.Is.
var (
	ErrHeaderTooLarge  = errors.New("the header is too large")
	ErrHeaderMalformed = errors.New("the header is malformed")
)

// ReadHeader reads fields up to and with the blank line that ends them; the
// body is what r holds then. A header that ends with the input, without a
// blank line, is complete. Lines must end in CRLF. Errors wrap
// ErrHeaderTooLarge or ErrHeaderMalformed, or are those of r.
func ReadHeader(r *bufio.Reader) (Header, error) {
	var h Header
	var raw []byte // the field being read
	size := 0
	for {
		line, err := readLine(r, MaxHeaderSize-size)
		if err != nil {
			return nil, err
		}
		size += len(line)
		if len(raw) > 0 && len(line) > 0 && (line[0] == ' ' || line[0] == '\t') { // folded
			raw = append(raw, line...)
			continue
		}
		if len(raw) > 0 { // and whole now
			f, err := parseField(raw)
			if err != nil {
				return nil, err
			}
			if h = append(h, f); len(h) > MaxHeaderFields {
				return nil, fmt.Errorf("%w: more than %d fields", ErrHeaderTooLarge, MaxHeaderFields)
			}
		}
		if len(line) == 0 || string(line) == "\r\n" {
			return h, nil
		}
		raw = line
	}
}

// readLine reads up to and with the next LF, in a slice of its own. At the end
// of the input the line is empty. It stops reading when the line is longer
// than limit.
func readLine(r *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > limit:
			return nil, fmt.Errorf("%w: more than %d octets", ErrHeaderTooLarge, MaxHeaderSize)
		case err == nil, errors.Is(err, io.EOF) && len(line) == 0:
			return line, nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return nil, fmt.Errorf("%w: its last line does not end in CRLF", ErrHeaderMalformed)
		default:
			return nil, err
		}
	}
}

// ParseHeader reads a header kept as bytes, with or without the blank line.
func ParseHeader(b []byte) (Header, error) {
	return ReadHeader(bufio.NewReader(bytes.NewReader(b)))
}

// parseField checks one whole field (RFC 5322, section 2.2: a name of
// printable ASCII without colon; white space before the colon is the obsolete
// form of section 4.5). NUL, bare CR and bare LF are refused anywhere.
func parseField(raw []byte) (Field, error) {
	colon := bytes.IndexByte(raw, ':')
	name := bytes.TrimRight(raw[:max(colon, 0)], " \t")
	bad := len(name) == 0
	for _, c := range name {
		bad = bad || c <= ' ' || c >= 0x7f
	}
	for i, c := range raw {
		bareLF := c == '\n' && (i == 0 || raw[i-1] != '\r')
		bareCR := c == '\r' && (i+1 == len(raw) || raw[i+1] != '\n')
		bad = bad || bareLF || bareCR || c == 0
	}
	if bad {
		line, _, _ := bytes.Cut(raw, []byte("\r\n"))
		return Field{}, fmt.Errorf("%w: the line %.60q is not a field", ErrHeaderMalformed, line)
	}
	return Field{raw: raw, name: colon}, nil
}
