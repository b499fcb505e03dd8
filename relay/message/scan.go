package message

import (
	"errors"
	"strings"
)

// piece is a lexeme of an address field as it stands on the wire, folded as it
// may be: octets start to end of the field. Its kind is one of those of a
// lexeme.
type piece struct {
	kind       kind
	start, end int
}

// scanner cuts the octets of a field into pieces (RFC 5322, section 3.2), from
// at on. Unlike lex it takes what occurs: whatever has no meaning of its own
// is part of a word.
type scanner struct {
	raw []byte
	at  int
}

// Errors of a field: what comes after them could be read in several ways.
var (
	errOpenQuote   = errors.New("a quote is not closed")
	errOpenComment = errors.New("a ( is not closed")
	errOpenLiteral = errors.New("a [ is not closed")
	errOpenAngle   = errors.New("a < is not closed")
	errTooMany     = errors.New("an entry of it has more than 1000 words")
)

// next reads one piece; the last is of kind end.
func (s *scanner) next() (piece, error) {
	for s.at < len(s.raw) && isSpace(s.raw[s.at]) {
		s.at++
	}
	start := s.at
	if start == len(s.raw) {
		return piece{end, start, start}, nil
	}
	s.at++
	k, err := kind(s.raw[start]), error(nil)
	switch c := s.raw[start]; {
	case c == '"':
		err = s.skip('"', errOpenQuote)
	case c == '[':
		err = s.skip(']', errOpenLiteral)
	case c == '(':
		err = s.comment()
	case !isSpecial(c):
		k = word
		for s.at < len(s.raw) && !isSpecial(s.raw[s.at]) && !isSpace(s.raw[s.at]) {
			s.at++
		}
	}
	return piece{k, start, s.at}, err
}

// skip goes behind the next closing that no backslash stands before.
func (s *scanner) skip(closing byte, open error) error {
	for ; s.at < len(s.raw); s.at++ {
		switch s.raw[s.at] {
		case '\\':
			s.at++
		case closing:
			s.at++
			return nil
		}
	}
	return open
}

// comment goes behind the end of a comment, which may hold others.
func (s *scanner) comment() error {
	for depth := 1; s.at < len(s.raw); s.at++ {
		switch s.raw[s.at] {
		case '\\':
			s.at++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				s.at++
				return nil
			}
		}
	}
	return errOpenComment
}

// text is what a piece says: unfolded, a quoted string without quotes and
// escapes.
func (s *scanner) text(p piece) string {
	b := s.raw[p.start:p.end]
	if p.kind != quoted {
		return string(b)
	}
	var text strings.Builder
	for i := 1; i < len(b)-1; i++ {
		switch {
		case b[i] == '\\':
			i++
			text.WriteByte(b[i])
		case b[i] != '\r' && b[i] != '\n':
			text.WriteByte(b[i])
		}
	}
	return text.String()
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func isSpecial(c byte) bool { return strings.IndexByte(`<>@,;:"([`, c) >= 0 }
