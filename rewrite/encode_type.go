package rewrite

import (
	"cmp"
	"strings"

	"postern/relay/message"
)

// parameter is one of a Content-Type or Content-Disposition (RFC 2045, section
// 5.1).
type parameter struct {
	name     string // in lower case
	value    string // without quotes and escapes
	from, to int    // where it stands in the field's value, from name to end of value
}

// parameters reads a field value such as `text/plain; charset="utf-8"`. It
// takes values that should be quoted and are not, as devices write them, up to
// the next space or semicolon. It is not ok if readers could disagree.
func parameters(s string) (head string, found []parameter, ok bool) {
	head, _, _ = strings.Cut(s, ";")
	at := len(head)
	head = strings.ToLower(strings.Trim(head, space))
	if strings.ContainsAny(head, "()\"") {
		return "", nil, false
	}
	for {
		at += len(s[at:]) - len(strings.TrimLeft(s[at:], space+";"))
		if at == len(s) {
			return head, found, true
		}
		p, ok := readParameter(s, at)
		if !ok || p.to < len(s) && strings.IndexByte(space+";", s[p.to]) < 0 {
			return "", nil, false
		}
		found, at = append(found, p), p.to
	}
}

const space = " \t\r\n"

// readParameter reads the one that begins at s[at].
func readParameter(s string, at int) (parameter, bool) {
	name, value, ok := strings.Cut(s[at:], "=")
	if !ok || name == "" || strings.ContainsAny(name, space+";()\"<>@,[]?") {
		return parameter{}, false
	}
	p := parameter{name: strings.ToLower(name), from: at}
	at += len(name) + 1
	if !strings.HasPrefix(value, `"`) {
		if n := strings.IndexAny(value, space+";"); n >= 0 {
			value = value[:n]
		}
		p.value, p.to = value, at+len(value)
		return p, value != "" && !strings.ContainsAny(value, `()"\`)
	}
	var text strings.Builder
	for i := 1; i < len(value); i++ {
		switch c := value[i]; c {
		case '"':
			p.value, p.to = text.String(), at+i+1
			return p, true
		case '\\':
			if i++; i < len(value) {
				text.WriteByte(value[i])
			}
		case '\r', '\n': // of the folding
		default:
			text.WriteByte(c)
		}
	}
	return parameter{}, false
}

// content is what the header of a part says of what follows.
type content struct {
	media    string // such as "text/plain"
	boundary string // of a multipart
	encoding string // "7bit" if nothing is said
	// unclear is why readers may disagree about it; "" if they do not.
	unclear string
}

// contentOf reads the header of a part, of type usual if it says nothing.
func contentOf(h message.Header, usual string) content {
	c := content{media: usual, encoding: "7bit"}
	types, encodings := h.All("Content-Type"), h.All("Content-Transfer-Encoding")
	if len(types) > 1 || len(encodings) > 1 {
		return content{unclear: "the header of a part says twice what it holds"}
	}
	if len(encodings) == 1 {
		said := strings.ToLower(encodings[0].Value())
		if n := strings.IndexAny(said, space+";("); n >= 0 {
			said = said[:n]
		}
		c.encoding = cmp.Or(said, c.encoding)
	}
	if len(types) == 0 || types[0].Value() == "" {
		return c
	}
	media, params, ok := parameters(types[0].Value())
	if !ok {
		return content{unclear: "the Content-Type of a part cannot be read"}
	}
	c.media = media
	if !strings.HasPrefix(media, "multipart/") {
		return c
	}
	for _, p := range params {
		if !strings.HasPrefix(p.name, "boundary") {
			continue
		}
		if p.name != "boundary" || c.boundary != "" || !isBoundary(p.value) {
			return content{unclear: "the boundary of a multipart cannot be told for certain"}
		}
		c.boundary = p.value
	}
	if c.boundary == "" {
		c.unclear = "a multipart has no boundary"
	}
	return c
}

// isBoundary takes a little more than RFC 2046, section 5.1.1, allows.
func isBoundary(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return s != "" && len(s) <= maxBoundary && s[len(s)-1] != ' '
}

const maxBoundary = 200

// identity tells whether the octets of a part stand for themselves (RFC 2045,
// section 6.2).
func (c content) identity() bool {
	return c.encoding == "7bit" || c.encoding == "8bit" || c.encoding == "binary"
}
