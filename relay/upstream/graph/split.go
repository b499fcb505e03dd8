package graph

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"strings"

	"postern/relay/message"
)

// part is one entity of a message (RFC 2045, section 2.4), and where its content
// stands in the body.
type part struct {
	header   message.Header
	media    string // such as "text/plain"
	charset  string // "" if none is named
	encoding string // "7bit" if none is named
	parts    []*part
	from, to int64
}

// Bounds of what is taken apart, beyond what mail programs make: Exchange takes
// no more attachments either.
const (
	maxDepth      = 5
	maxParts      = 250
	maxPartHeader = 64 << 10
)

// unfit says why a message cannot be sent as a draft, for a person.
type unfit string

func (u unfit) Error() string { return string(u) }

// splitter takes a body apart in one pass, in which nothing but the header of a
// part is ever in memory. What readers could disagree about is unfit.
type splitter struct {
	lines *lines
	open  []string // boundaries of the multiparts around, the outermost first
	count int
}

// edge is what ends a part: the delimiter of the multipart of that depth, an
// index into open, or the end of the body.
type edge struct {
	depth   int
	closing bool
}

const atEnd = -1

// split takes m apart. Errors are an unfit, or come from reading the body.
func split(m *message.Message) (*part, error) {
	body, err := m.Body.Open()
	if err != nil {
		return nil, err
	}
	defer body.Close()
	s := &splitter{lines: newLines(body)}
	root, _, err := s.entity(m.Header)
	return root, err
}

// entity reads one part, whose header is known, up to the edge that ends it.
func (s *splitter) entity(header message.Header) (*part, edge, error) {
	if s.count++; s.count > maxParts || len(s.open) > maxDepth {
		return nil, edge{}, unfit(fmt.Sprintf("it has more than %d parts, or they are nested too deeply", maxParts))
	}
	p, boundary, err := newPart(header)
	if err != nil {
		return nil, edge{}, err
	}
	if boundary == "" {
		e, err := s.leaf(p)
		return p, e, err
	}
	for _, b := range s.open {
		if strings.HasPrefix(b, boundary) || strings.HasPrefix(boundary, b) {
			return nil, edge{}, unfit("a multipart has the boundary of another")
		}
	}
	e, err := s.multipart(p, boundary)
	return p, e, err
}

// multipart reads the parts of p. What stands before and behind them is for
// readers without MIME.
func (s *splitter) multipart(p *part, boundary string) (edge, error) {
	depth := len(s.open)
	s.open = append(s.open, boundary)
	e, err := s.leaf(&part{})
	for err == nil && e == (edge{depth: depth}) {
		var header message.Header
		var child *part
		if header, err = s.header(); err == nil {
			child, e, err = s.entity(header)
			p.parts = append(p.parts, child)
		}
	}
	s.open = s.open[:depth]
	if err == nil && e.depth == depth { // closed
		return s.leaf(&part{})
	}
	if err == nil {
		err = unfit("a multipart has no end")
	}
	return e, err
}

// header reads that of a part, with the blank line behind it.
func (s *splitter) header() (message.Header, error) {
	const none = unfit("the header of a part cannot be read")
	var block []byte
	for {
		l, err := s.lines.next()
		if errors.Is(err, io.EOF) {
			return nil, none
		}
		if err != nil {
			return nil, err
		}
		if _, found, err := s.delimiter(l); err != nil {
			return nil, err
		} else if found {
			return nil, none
		}
		if block = append(block, l.text...); len(block) > maxPartHeader {
			return nil, none
		}
		if l.first && string(l.text) == "\r\n" {
			break
		}
	}
	header, err := message.ParseHeader(block)
	if err != nil {
		return nil, none
	}
	return header, nil
}

// leaf reads up to the next edge. The line end before a delimiter belongs to it
// (RFC 2046, section 5.1.1).
func (s *splitter) leaf(p *part) (edge, error) {
	p.from = s.lines.at
	for {
		l, err := s.lines.next()
		if errors.Is(err, io.EOF) {
			p.to = s.lines.at
			return edge{depth: atEnd}, nil
		}
		if err != nil {
			return edge{}, err
		}
		if e, found, err := s.delimiter(l); err != nil || found {
			p.to = max(p.from, l.at-2)
			return e, err
		}
	}
}

// delimiter tells whether l is that of a multipart around. A line that begins
// like one and goes on is one to some readers only.
func (s *splitter) delimiter(l piece) (edge, bool, error) {
	if !l.first || !bytes.HasPrefix(l.text, []byte("--")) {
		return edge{}, false, nil
	}
	for depth, b := range s.open {
		rest, ok := bytes.CutPrefix(l.text[2:], []byte(b))
		if !ok {
			continue
		}
		rest, closing := bytes.CutPrefix(rest, []byte("--"))
		if len(bytes.TrimRight(rest, " \t\r\n")) > 0 {
			return edge{}, false, unfit("a line of it can be taken for a boundary")
		}
		return edge{depth, closing}, true, nil
	}
	return edge{}, false, nil
}

// newPart reads what the header of a part says of it. A boundary is returned for
// a multipart alone.
func newPart(header message.Header) (p *part, boundary string, err error) {
	p = &part{header: header, media: "text/plain", encoding: "7bit"}
	if len(header.All("Content-Type")) > 1 || len(header.All("Content-Transfer-Encoding")) > 1 {
		return nil, "", unfit("the header of a part says twice what it holds")
	}
	if e := strings.ToLower(header.Get("Content-Transfer-Encoding")); e != "" {
		p.encoding = e
	}
	value := header.Get("Content-Type")
	if value == "" {
		return p, "", nil
	}
	media, params, err := mime.ParseMediaType(value)
	if media == "" || err != nil && strings.HasPrefix(media, "multipart/") {
		return nil, "", unfit(fmt.Sprintf("the Content-Type %.60q cannot be read", value))
	}
	p.media, p.charset = media, params["charset"]
	if !strings.HasPrefix(media, "multipart/") {
		return p, "", nil
	}
	if boundary = params["boundary"]; boundary == "" || len(boundary) > 200 || strings.TrimRight(boundary, " ") != boundary {
		return nil, "", unfit("a multipart has no proper boundary")
	}
	return p, boundary, nil
}

// wanted is whether the part asks to be shown, or to be kept as a file.
func (p *part) wanted() (disposition, name string) {
	value := p.header.Get("Content-Disposition")
	disposition, _, _ = strings.Cut(strings.ToLower(value), ";")
	name = parameter(value, "filename")
	if name == "" {
		name = parameter(p.header.Get("Content-Type"), "name")
	}
	return strings.TrimSpace(disposition), name
}

// parameter is that of a field of MIME, also one without the quotes it needs, as
// devices write it, or in encoded words (RFC 2047).
func parameter(value, name string) string {
	_, params, err := mime.ParseMediaType(value)
	text := params[name]
	if err != nil {
		for p := range strings.SplitSeq(value, ";") {
			if key, v, ok := strings.Cut(p, "="); ok && strings.EqualFold(strings.TrimSpace(key), name) {
				text = strings.Trim(strings.TrimSpace(v), `"`)
			}
		}
	}
	return decodeWords(text)
}
