package message

import (
	"errors"
	"fmt"
	"strings"
)

// kind is what a lexeme is: one of these, or the special character itself:
// ( for a whole comment, and < > @ , ; :
type kind byte

const (
	end     kind = 0
	word    kind = 'a' // atoms and dots
	quoted  kind = '"' // a quoted string; its text is without quotes and escapes
	literal kind = '[' // a domain literal with its brackets
)

// lexeme is one piece of an address list.
type lexeme struct {
	kind kind
	text string
	// spaced is set when white space stands before it.
	spaced bool
}

// lex cuts the value of an address field into lexemes (RFC 5322, section 3.2);
// the last is of kind end.
func lex(s string) ([]lexeme, error) {
	var found []lexeme
	for {
		rest := strings.TrimLeft(s, " \t")
		spaced := len(rest) < len(s)
		if s = rest; s == "" {
			return append(found, lexeme{kind: end, spaced: spaced}), nil
		}
		l, n, err := lexOne(s)
		if err != nil {
			return nil, err
		}
		l.spaced = spaced
		found, s = append(found, l), s[n:]
	}
}

// lexOne reads the lexeme s begins with and tells how many octets it takes.
func lexOne(s string) (lexeme, int, error) {
	switch c := s[0]; {
	case c == '.' || isAtext(c):
		n := 1
		for n < len(s) && (s[n] == '.' || isAtext(s[n])) {
			n++
		}
		return lexeme{kind: word, text: s[:n]}, n, nil
	case c == '"':
		return lexQuoted(s)
	case c == '(':
		return lexComment(s)
	case c == '[':
		n := strings.IndexByte(s, ']') + 1
		if n == 0 {
			return lexeme{}, 0, errors.New("a [ is not closed")
		}
		return lexeme{kind: literal, text: s[:n]}, n, nil
	case strings.IndexByte("<>@,;:", c) >= 0:
		return lexeme{kind: kind(c), text: s[:1]}, 1, nil
	default:
		return lexeme{}, 0, fmt.Errorf("%q may stand only in a quoted name", c)
	}
}

// lexQuoted reads a quoted string. Readers that stop at the first < or do not
// know escapes must not find an address in it.
func lexQuoted(s string) (lexeme, int, error) {
	var text strings.Builder
	escapes := false
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			escapes = true
			i++
			text.WriteByte(s[i])
		case s[i] == '"':
			t := text.String()
			if strings.ContainsAny(t, "<>") || escapes && strings.Contains(t, "@") {
				return lexeme{}, 0, fmt.Errorf("the name %.40q looks like another address", t)
			}
			return lexeme{kind: quoted, text: t}, i + 1, nil
		default:
			text.WriteByte(s[i])
		}
	}
	return lexeme{}, 0, errors.New("a quote is not closed")
}

// lexComment reads a comment that no reader can take for anything else.
func lexComment(s string) (lexeme, int, error) {
	n := strings.IndexByte(s, ')') + 1
	if n == 0 {
		return lexeme{}, 0, errors.New("a ( is not closed")
	}
	if strings.ContainsAny(s[1:n], `(@<>"\`) {
		return lexeme{}, 0, fmt.Errorf("the comment %.40q looks like another address", s[:n])
	}
	return lexeme{kind: '(', text: s[:n]}, n, nil
}
