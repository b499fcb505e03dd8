package rewrite

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"
)

// maxWord is the length of an encoded word in octets, maxWordLine that of a
// line with one in it (RFC 2047, section 2).
const (
	maxWord     = 75
	maxWordLine = 76
)

// encodedWords writes text as encoded words (RFC 2047) that may stand in a
// phrase and in a comment too: in base64 if most of it could not be read
// otherwise. Text that is not UTF-8 is labelled unknown-8bit (RFC 1428).
func encodedWords(text string) []string {
	head, escaped := "=?utf-8?", 0
	if !utf8.ValidString(text) {
		head = "=?unknown-8bit?"
	}
	for _, c := range []byte(text) {
		escaped += btoi(!plainInWord(c))
	}
	encode := quotedWord
	if 3*escaped > 2*len(text) {
		encode = base64Word
	}
	var words []string
	for text != "" {
		word, n := encode(text, maxWord-len(head)-len("q??="))
		words = append(words, head+word+"?=")
		text = text[n:]
	}
	return words
}

// quotedWord is what fits of text, and how many octets of it do. It keeps
// characters whole.
func quotedWord(text string, room int) (string, int) {
	b := []byte("q?")
	room += len(b)
	n := 0
	for n < len(text) {
		_, size := utf8.DecodeRuneInString(text[n:])
		before := len(b)
		for _, c := range []byte(text[n : n+size]) {
			switch {
			case c == ' ':
				b = append(b, '_')
			case plainInWord(c):
				b = append(b, c)
			default:
				b = append(b, '=', hex[c>>4], hex[c&15])
			}
		}
		if len(b) > room {
			return string(b[:before]), n
		}
		n += size
	}
	return string(b), n
}

func base64Word(text string, room int) (string, int) {
	n := 0
	for n < len(text) {
		_, size := utf8.DecodeRuneInString(text[n:])
		if base64.StdEncoding.EncodedLen(n+size) > room {
			break
		}
		n += size
	}
	return "b?" + base64.StdEncoding.EncodeToString([]byte(text[:n])), n
}

// plainInWord tells which octets stand for themselves, or a space for "_", in
// the strictest place (RFC 2047, section 5 (3)).
func plainInWord(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte(" !*+-/", c) >= 0
}

// token is a piece of a field value: what stands before it, and either what it
// is, or the text that must be encoded.
type token struct {
	space string
	raw   string
	text  string // "" when it stays raw
}

// join writes tokens, those with text as encoded words. Between two words both
// encoded no reader sees the space, so it goes into the word. The first line
// is column octets long already.
func join(tokens []token, column int) string {
	f := folder{column: column}
	for i := 0; i < len(tokens); i++ {
		t := tokens[i]
		if t.text == "" {
			f.write(t.space, t.raw)
			continue
		}
		text, first := t.text, t.space
		if i > 0 && isEncodedWord(tokens[i-1].raw) {
			text = unfold(t.space) + text
		}
		for i+1 < len(tokens) && tokens[i+1].text != "" {
			i++
			text += unfold(tokens[i].space) + tokens[i].text
		}
		if i+1 < len(tokens) {
			next := &tokens[i+1]
			if isEncodedWord(next.raw) {
				text += unfold(next.space)
			}
			if next.space == "" {
				next.space = " "
			}
		}
		if first == "" && f.b.Len() > 0 {
			first = " "
		}
		for _, w := range encodedWords(text) {
			f.word(first, w)
			first = " "
		}
	}
	return f.b.String()
}

func unfold(s string) string { return strings.ReplaceAll(s, "\r\n", "") }

func isEncodedWord(s string) bool {
	return strings.HasPrefix(s, "=?") && strings.HasSuffix(s, "?=") && strings.Count(s, "?") == 4
}

// folder writes a field value and breaks lines with encoded words in them where
// they would get too long.
type folder struct {
	b      strings.Builder
	column int
}

func (f *folder) write(space, s string) {
	s = space + s
	f.b.WriteString(s)
	if n := strings.LastIndexByte(s, '\n'); n >= 0 {
		f.column = len(s) - n - 1
	} else {
		f.column += len(s)
	}
}

func (f *folder) word(space, w string) {
	if space != "" && !strings.Contains(space, "\n") && f.column+len(space)+len(w) > maxWordLine {
		space = "\r\n" + space
	}
	f.write(space, w)
}
