package rewrite

import (
	"fmt"
	"strings"

	"postern/relay/message"
)

// addressesInASCII is inASCII for fields of addresses.
func addressesInASCII(f message.Field) (message.Field, error) {
	var foreign error
	f, _ = f.Readdress(func(a message.Address) message.Address {
		plain, err := toASCII(a)
		if err != nil && foreign == nil {
			foreign = err
		}
		return plain
	})
	if foreign != nil || !message.Bytes(f.Raw()).EightBit() {
		return f, foreign
	}
	head, value := halves(f)
	found, ok := phrases(value)
	if !ok || f.Is("Received") {
		return f, errUnclear(fmt.Sprintf("the %s field is not plain ASCII and cannot be read", f.Name()))
	}
	return whole(head, join(found, len(head)))
}

// phrases cuts the value of a field of addresses, of which all addresses are
// ASCII. It is not ok if it cannot be read for certain.
func phrases(value string) ([]token, bool) {
	var found []token
	for value != "" {
		piece := strings.TrimLeft(value, space)
		t := token{space: value[:len(value)-len(piece)]}
		n := pieceEnd(piece)
		if n < 0 {
			return nil, false
		}
		t.raw, value = piece[:n], piece[n:]
		if message.Bytes(t.raw).EightBit() && !t.encode() {
			return nil, false
		}
		besideAt := len(found) > 0 && found[len(found)-1].raw == "@" && t.space == "" || strings.HasPrefix(value, "@")
		if t.text != "" && besideAt {
			return nil, false // of an address after all
		}
		found = append(found, t)
	}
	return found, true
}

// encode has a piece encoded: a word or quoted string as its text, a comment
// with its words.
func (t *token) encode() bool {
	switch t.raw[0] {
	case '(':
		inner := t.raw[1 : len(t.raw)-1]
		t.raw = "(" + join(tokens(inner), 1) + ")"
		return !strings.ContainsAny(inner, `()\`)
	case '"':
		var text strings.Builder
		inner := unfold(t.raw[1 : len(t.raw)-1])
		for i := 0; i < len(inner); i++ {
			if inner[i] == '\\' && i+1 < len(inner) {
				i++
			}
			text.WriteByte(inner[i])
		}
		t.text = text.String()
	case '[':
		return false
	default:
		t.text = t.raw
	}
	return true
}

// pieceEnd is where the piece ends that s begins with: a quoted string, a
// comment, a domain literal, a special character or a word (RFC 5322, section
// 3.2). It is -1 if nothing ends it.
func pieceEnd(s string) int {
	const special = `"([<>@,;:`
	if s == "" {
		return 0
	}
	closing, nests := byte(0), false
	switch s[0] {
	case '"':
		closing = '"'
	case '(':
		closing, nests = ')', true
	case '[':
		closing = ']'
	case '<', '>', '@', ',', ';', ':':
		return 1
	default:
		if n := strings.IndexAny(s, special+space); n >= 0 {
			return n
		}
		return len(s)
	}
	depth := 1
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case s[i] == closing:
			if depth--; depth == 0 {
				return i + 1
			}
		case nests && s[i] == '(':
			depth++
		}
	}
	return -1
}
