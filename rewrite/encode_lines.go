package rewrite

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"unicode/utf8"

	"postern/relay/message"
)

// segment is a line of a body, or a piece of a long one.
type segment struct {
	at          int64 // where it begins
	text        []byte
	first, last bool // it begins a line, it ends one
}

// segments reads a body whose lines end in CRLF.
type segments struct {
	r     *bufio.Reader
	at    int64
	ended bool // so was the line before
	cr    bool // the octet before was a CR
}

func newSegments(r io.Reader) *segments {
	return &segments{r: bufio.NewReaderSize(r, blockSize), ended: true}
}

const errBareLineEnd = errUnclear("its body holds a CR or LF alone")

// next is the next segment, good until the one after it is read, or io.EOF.
func (s *segments) next() (segment, error) {
	text, err := s.r.ReadSlice('\n')
	switch {
	case err != nil && !errors.Is(err, bufio.ErrBufferFull) && !errors.Is(err, io.EOF):
		return segment{}, err
	case len(text) == 0 && s.cr:
		return segment{}, errBareLineEnd
	case len(text) == 0:
		return segment{}, io.EOF
	}
	g := segment{at: s.at, text: text, first: s.ended, last: text[len(text)-1] == '\n'}
	if !s.sound(g) {
		return segment{}, errBareLineEnd
	}
	s.at += int64(len(text))
	s.ended, s.cr = g.last, text[len(text)-1] == '\r'
	return g, nil
}

// sound tells whether CR and LF stand together: readers disagree on whether
// one alone ends a line.
func (s *segments) sound(g segment) bool {
	if s.cr {
		return string(g.text) == "\n"
	}
	cr := bytes.IndexByte(g.text, '\r')
	if g.last {
		return cr >= 0 && cr == len(g.text)-2
	}
	return cr < 0 || cr == len(g.text)-1
}

// stretch is a run of octets of a body, and what is in it.
type stretch struct {
	from, to int64
	eightBit bool
	long     bool // a line of over 998 octets (RFC 5322, section 2.1.1)
	hyphen   bool // which is of no use in base64

	width int    // of the line so far
	bad   bool   // some of it is not UTF-8
	rest  []byte // of a character whose other octets are still to come
}

const maxLine = 998

// add takes note of a line, or a piece of one.
func (s *stretch) add(g segment) {
	if g.first {
		s.width = 0
	}
	line := bytes.TrimRight(g.text, "\r\n")
	s.width += len(line)
	s.long = s.long || s.width > maxLine
	s.hyphen = s.hyphen || bytes.IndexByte(line, '-') >= 0
	if message.Bytes(line).EightBit() {
		s.eightBit = true
	} else if len(s.rest) == 0 {
		return
	}
	s.utf8(g.text)
}

// utf8 looks at text, whose last character may be cut off.
func (s *stretch) utf8(text []byte) {
	if len(s.rest) > 0 {
		text = append(s.rest, text...)
	}
	whole := len(text)
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ {
		if last := text[len(text)-n:]; utf8.RuneStart(last[0]) {
			if !utf8.FullRune(last) {
				whole -= n
			}
			break
		}
	}
	s.bad = s.bad || !utf8.Valid(text[:whole])
	s.rest = bytes.Clone(text[whole:])
}

func (s *stretch) notUTF8() bool { return s.bad || len(s.rest) > 0 }
