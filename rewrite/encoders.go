package rewrite

import "encoding/base64"

// encoder makes one run of octets into another.
type encoder interface {
	// encode appends to out what the next octets make.
	encode(out, next []byte) []byte
	// end appends what is still due.
	end(out []byte) []byte
}

// replacement is an encoder that knows better.
type replacement struct{ text string }

func (r *replacement) encode(out, _ []byte) []byte { return out }
func (r *replacement) end(out []byte) []byte       { return append(out, r.text...) }

// maxEncodedLine is the length of a line of either encoding, in octets without
// its end (RFC 2045, sections 6.7 and 6.8).
const maxEncodedLine = 76

// printableEncoder writes quoted-printable. CRLF stays a line end; a CR or LF
// alone is encoded, as is white space before a line end. So is a hyphen that
// begins a line: whatever the line breaks it brings in, no line begins with "--",
// which could end a part of a multipart.
type printableEncoder struct {
	column int
	held   byte // a space, tab or CR of which it depends on the next octet what it is
}

func (e *printableEncoder) encode(out, next []byte) []byte {
	for _, c := range next {
		if e.held == '\r' && c == '\n' {
			out = append(out, '\r', '\n')
			e.held, e.column = 0, 0
			continue
		}
		out = e.release(out, c == '\r')
		if c == ' ' || c == '\t' || c == '\r' {
			e.held = c
		} else {
			out = e.put(out, c, c < '!' || c > '~' || c == '=')
		}
	}
	return out
}

func (e *printableEncoder) end(out []byte) []byte { return e.release(out, true) }

// release writes the octet held. White space at the end of a line is encoded.
func (e *printableEncoder) release(out []byte, atEnd bool) []byte {
	c := e.held
	if e.held = 0; c == 0 {
		return out
	}
	return e.put(out, c, c == '\r' || atEnd)
}

// put writes one octet, behind a soft line break where it would not fit.
func (e *printableEncoder) put(out []byte, c byte, escape bool) []byte {
	if width := 1 + 2*btoi(escape); e.column+width > maxEncodedLine-1 {
		out = append(out, "=\r\n"...)
		e.column = 0
	}
	if escape || c == '-' && e.column == 0 {
		e.column += 3
		return append(out, '=', hex[c>>4], hex[c&15])
	}
	e.column++
	return append(out, c)
}

const hex = "0123456789ABCDEF"

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// base64Encoder writes lines of base64.
type base64Encoder struct {
	ended bool   // the last line has an end too
	line  []byte // of octets not written yet
	begun bool
}

// octetsPerLine make a line of base64.
const octetsPerLine = maxEncodedLine / 4 * 3

func (e *base64Encoder) encode(out, next []byte) []byte {
	for len(next) > 0 {
		if len(e.line) == octetsPerLine {
			out = e.flush(out)
		}
		n := min(octetsPerLine-len(e.line), len(next))
		e.line, next = append(e.line, next[:n]...), next[n:]
	}
	return out
}

func (e *base64Encoder) flush(out []byte) []byte {
	if e.begun {
		out = append(out, '\r', '\n')
	}
	out = base64.StdEncoding.AppendEncode(out, e.line)
	e.line, e.begun = e.line[:0], true
	return out
}

func (e *base64Encoder) end(out []byte) []byte {
	out = e.flush(out)
	if e.ended {
		out = append(out, '\r', '\n')
	}
	return out
}

// wrapper cuts lines, which means nothing in base64.
type wrapper struct{ column int }

func (w *wrapper) encode(out, next []byte) []byte {
	for _, c := range next {
		switch {
		case c == '\r' || c == '\n':
			w.column = 0
		case w.column == maxEncodedLine:
			out = append(out, '\r', '\n')
			w.column = 1
		default:
			w.column++
		}
		out = append(out, c)
	}
	return out
}

func (w *wrapper) end(out []byte) []byte { return out }
