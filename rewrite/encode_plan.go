package rewrite

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"postern/relay/message"
)

// planner walks through the parts of a message (RFC 2046) and notes what must
// be written differently: one pass, in which nothing but the header of a part is
// ever in memory. What readers could disagree about it leaves alone.
type planner struct {
	sevenBit bool // no octet over 127 may be left
	short    bool // no line over 998 octets should be left
	noQuoted bool // no part in quoted-printable should be left, nor be made

	body  *segments
	open  []string // boundaries of the multiparts around, the outermost first
	depth int      // of parts within parts
	plan
}

// Bounds of what is worked on, far beyond what mail programs make.
const (
	maxDepth      = 50
	maxPartHeader = 64 << 10
)

// errUnclear says why a message cannot be encoded, for a person.
type errUnclear string

func (e errUnclear) Error() string { return string(e) }

// edge is what ends a stretch of the body: the delimiter of the multipart of
// that depth, an index into open, or the end of the body.
type edge struct {
	depth   int
	closing bool
}

const atEnd = -1

// entity is what has a header and a body of its own.
type entity struct {
	header message.Header
	at     int64 // of its header in the body; outside for that of the message
	// message is set for a whole message, whose header says that it is MIME.
	message bool
}

const outside = -1

// read makes the plan for a message.
func (p *planner) read(header message.Header, body message.Body) error {
	r, err := body.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	p.body, p.header = newSegments(r), header
	_, err = p.walk(entity{header: header, at: outside, message: true}, "text/plain")
	return err
}

// walk reads one part up to the edge that ends it. It is of type usual if it
// says nothing of itself.
func (p *planner) walk(q entity, usual string) (edge, error) {
	p.depth++
	defer func() { p.depth-- }()
	c := contentOf(q.header, usual)
	major, minor, _ := strings.Cut(c.media, "/")
	switch {
	case p.depth > maxDepth:
		return edge{}, errUnclear("its parts are nested too deeply")
	case c.unclear != "":
		return p.keep(c.unclear)
	case major == "multipart" && (minor == "signed" || minor == "encrypted"):
		return p.keep("a signed or encrypted part must not be changed")
	case major == "multipart" && c.identity():
		p.relabel(q, c)
		return p.multipart(c)
	case c.media == "message/rfc822" && c.identity():
		p.relabel(q, c)
		return p.part("text/plain", true)
	case major == "multipart" || major == "message" && minor != "global":
		return p.keep(fmt.Sprintf("a part of type %.60s cannot be encoded", c.media))
	}
	return p.leaf(q, c)
}

// multipart reads the parts of a multipart and what is around them.
func (p *planner) multipart(c content) (edge, error) {
	for _, b := range p.open {
		if b == c.boundary || b == c.boundary+"--" || b+"--" == c.boundary {
			return edge{}, errUnclear("a multipart has the boundary of another")
		}
	}
	const around = "the text around the parts of a multipart is not plain ASCII"
	usual := "text/plain"
	if c.media == "multipart/digest" {
		usual = "message/rfc822"
	}
	depth := len(p.open)
	p.open = append(p.open, c.boundary)
	e, err := p.keep(around)
	for err == nil && e == (edge{depth: depth}) {
		e, err = p.part(usual, false)
	}
	p.open = p.open[:depth]
	if err == nil && e.depth == depth { // closed
		e, err = p.keep(around)
	}
	return e, err
}

// part reads a header in the body and what belongs to it; whole is set for that
// of a message.
func (p *planner) part(usual string, whole bool) (edge, error) {
	const unreadable = "the header of a part cannot be read"
	q := entity{at: p.body.at, message: whole}
	block, e, err := p.block()
	if err != nil {
		return edge{}, err
	}
	q.header, err = message.ParseHeader(block)
	bad := err != nil || len(block) > maxPartHeader
	switch {
	case bad && p.sevenBit && message.Bytes(block).EightBit():
		return edge{}, errUnclear(unreadable)
	case bad && e == nil:
		return p.keep(unreadable)
	case bad:
		return *e, nil
	}
	if err := p.plain(q); err != nil {
		return edge{}, err
	}
	if e != nil {
		return *e, nil
	}
	return p.walk(q, usual)
}

// block reads a header with the blank line that ends it. Is there none, the
// edge says what ended it. Of one that is too long it returns the beginning.
func (p *planner) block() ([]byte, *edge, error) {
	var block []byte
	for {
		s, err := p.body.next()
		if err == io.EOF {
			return block, &edge{depth: atEnd}, nil
		}
		if err != nil {
			return nil, nil, err
		}
		if e, found, err := p.delimiter(s); err != nil || found {
			return block, &e, err
		}
		blank := s.first && string(s.text) == "\r\n"
		if block = append(block, s.text...); blank || len(block) > maxPartHeader {
			return block, nil, nil
		}
	}
}

// plain notes what makes the header of a part ASCII.
func (p *planner) plain(q entity) error {
	if !p.sevenBit {
		return nil
	}
	for i, f := range q.header {
		if message.Bytes(f.Raw()).EightBit() {
			plain, err := inASCII(f)
			if err != nil {
				return err
			}
			p.replace(q, i, plain)
		}
	}
	return p.enough()
}

// keep reads what cannot be encoded, up to its edge. Should it be, why says
// why not.
func (p *planner) keep(why string) (edge, error) {
	s, e, err := p.stretch()
	if err == nil && p.sevenBit && s.eightBit {
		err = errUnclear(why)
	}
	return e, err
}

// leaf reads a part that has none within, and notes how it must be encoded.
func (p *planner) leaf(q entity, c content) (edge, error) {
	s, e, err := p.stretch()
	quoted := p.noQuoted && c.encoding == "quoted-printable" && !s.eightBit
	if err != nil || !(p.sevenBit && s.eightBit || p.short && s.long || quoted) {
		return e, err
	}
	as := inBase64
	switch {
	case quoted:
		as = recoded
	case c.identity() && !p.noQuoted && strings.HasPrefix(c.media, "text/"):
		as = printable
	case c.identity() && e.depth == atEnd:
		as = inBase64ln
	case c.identity():
	case c.encoding == "base64" && !s.eightBit && !s.hyphen:
		as = rewrapped
	case p.sevenBit && s.eightBit:
		return e, errUnclear(fmt.Sprintf("a part says that it is encoded as %.40q and yet holds 8-bit octets", c.encoding))
	default:
		return e, nil
	}
	if as != rewrapped {
		p.label(q, as, s)
	}
	p.splices = append(p.splices, splice{from: s.from, to: s.to, as: as})
	return e, p.enough()
}

// stretch reads up to the next edge. The line end before a delimiter belongs to
// it (RFC 2046, section 5.1.1).
func (p *planner) stretch() (stretch, edge, error) {
	found := stretch{from: p.body.at}
	for {
		s, err := p.body.next()
		if err == io.EOF {
			found.to = p.body.at
			return found, edge{depth: atEnd}, nil
		}
		if err != nil {
			return found, edge{}, err
		}
		if e, is, err := p.delimiter(s); err != nil || is {
			found.to = max(found.from, s.at-2)
			return found, e, err
		}
		found.add(s)
	}
}

// maxDelimiter is more than the longest delimiter line we take for one.
const maxDelimiter = maxBoundary + 50

// delimiter tells whether s is that of a multipart around. A line that begins
// like one and goes on is one to some readers only.
func (p *planner) delimiter(s segment) (edge, bool, error) {
	if !s.first || !bytes.HasPrefix(s.text, []byte("--")) || len(p.open) == 0 {
		return edge{}, false, nil
	}
	line := string(s.text[2:min(len(s.text), maxDelimiter)])
	similar := false
	for depth, b := range p.open {
		rest, ok := strings.CutPrefix(line, b)
		if !ok {
			continue
		}
		similar = true
		rest, closing := strings.CutPrefix(rest, "--")
		if len(s.text) < maxDelimiter && strings.Trim(rest, space) == "" {
			return edge{depth, closing}, true, nil
		}
	}
	if similar {
		return edge{}, false, errUnclear("a line of it can be taken for a boundary")
	}
	return edge{}, false, nil
}
