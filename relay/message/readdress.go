package message

import (
	"bytes"
	"fmt"
	"strings"
)

// Mailbox is an address in a field, and where it stands in the octets of
// [Field.Raw].
type Mailbox struct {
	Address Address
	// Start and End bound the address itself: of "Ann <ann@example.com> (home)"
	// the octets ann@example.com.
	Start, End int
	// NameEnd is where the display name ends, which begins at First; First, if
	// there is none.
	NameEnd int
	// First and Last bound the whole mailbox, comments included.
	First, Last int
}

// maxPieces bounds one entry of a list, in words, comments and marks, so that a
// megabyte of them takes little memory.
const maxPieces = 1000

// Mailboxes finds the address of every mailbox in a field such as To, members
// of groups included, as it stands on the wire: folded, with comments, quoted
// strings, encoded words, octets outside ASCII and the obsolete forms of RFC
// 5322, section 4.4. It takes time in proportion to the field.
//
// It reads what [ParseMailboxes] refuses, so it says where addresses stand, not
// whom a message may claim to be from. What names no address, as in "To: all
// of you, ann@example.com", is left out, and the error says so beside those
// found. A field that could be cut into mailboxes in several ways, as one with
// a quote that is not closed, has none but the error.
func (f Field) Mailboxes() ([]Mailbox, error) {
	s := scanner{raw: f.raw, at: f.name + 1}
	var found []Mailbox
	var unread error
	var entry []piece
	angle := false // between < and >, where a comma separates nothing
	for {
		p, err := s.next()
		switch {
		case err != nil:
			return nil, err
		case p.kind == end && angle:
			return nil, errOpenAngle
		case p.kind == ':' && !angle: // what stood before it is the name of a group
			entry = entry[:0]
			continue
		case angle || p.kind != ',' && p.kind != ';' && p.kind != end:
			angle = p.kind == '<' || angle && p.kind != '>'
			if entry = append(entry, p); len(entry) > maxPieces {
				return nil, errTooMany
			}
			continue
		}
		if m, ok := s.mailbox(entry); ok {
			found = append(found, m)
		} else if len(entry) > 0 && unread == nil {
			unread = fmt.Errorf("%.40q is not an address", f.raw[entry[0].start:entry[len(entry)-1].end])
		}
		if entry = entry[:0]; p.kind == end {
			return found, unread
		}
	}
}

// mailbox reads one entry of a list.
func (s *scanner) mailbox(entry []piece) (Mailbox, bool) {
	var said []piece // without comments
	open := -1       // where the < is
	for _, p := range entry {
		if p.kind == '<' {
			if open >= 0 {
				return Mailbox{}, false
			}
			open = len(said)
		}
		if p.kind != '(' {
			said = append(said, p)
		}
	}
	if len(said) == 0 {
		return Mailbox{}, false
	}
	m := Mailbox{First: entry[0].start, Last: entry[len(entry)-1].end}
	m.NameEnd = m.First
	if open > 0 {
		m.NameEnd = said[open-1].end
	}
	spec := said[open+1:]
	if open >= 0 {
		if spec[len(spec)-1].kind != '>' {
			return Mailbox{}, false
		}
		spec = withoutRoute(spec[:len(spec)-1])
	}
	ok := s.address(&m, spec)
	return m, ok
}

// withoutRoute leaves out the source route of "<@a.example,@b.example:ann@example.com>".
func withoutRoute(spec []piece) []piece {
	if len(spec) > 0 && spec[0].kind == '@' {
		for i, p := range spec {
			if p.kind == ':' {
				return spec[i+1:]
			}
		}
	}
	return spec
}

// address reads the pieces of one address; comments and white space among them
// belong to it (RFC 5322, section 4.4).
func (s *scanner) address(m *Mailbox, spec []piece) bool {
	at := -1
	for i, p := range spec {
		if p.kind == '@' {
			at = i
			break
		}
	}
	if at < 1 || at == len(spec)-1 {
		return false
	}
	local, ok := s.dotted(spec[:at], quoted)
	if !ok {
		return false
	}
	domain, ok := s.dotted(spec[at+1:], literal)
	if !ok {
		return false
	}
	a, err := NewAddress(local, domain)
	m.Address, m.Start, m.End = a, spec[0].start, spec[len(spec)-1].end
	return err == nil
}

// dotted joins words, and pieces of the other kind, that dots keep together.
func (s *scanner) dotted(pieces []piece, other kind) (string, bool) {
	var text strings.Builder
	dot := true // one stands before the piece, or nothing does
	for _, p := range pieces {
		t := s.text(p)
		switch {
		case p.kind == word:
			dot = dot || t[0] == '.'
		case p.kind != other:
			return "", false
		}
		if !dot {
			return "", false
		}
		text.WriteString(t)
		dot = p.kind == word && t[len(t)-1] == '.'
	}
	return text.String(), true
}

// Readdress returns the field with to's answer in place of every address that
// [Field.Mailboxes] finds. All other octets stay as they are, folding too; and
// all do if nothing is replaced. The null Address as an answer replaces
// nothing. The error is that of Mailboxes; the field is sound all the same.
func (f Field) Readdress(to func(Address) Address) (Field, error) {
	found, err := f.Mailboxes()
	var b []byte
	kept := 0
	for _, m := range found {
		a := to(m.Address)
		if a == m.Address || a.IsNull() {
			continue
		}
		b = append(append(b, f.raw[kept:m.Start]...), a.String()...)
		kept = m.End
	}
	if kept == 0 {
		return f, err
	}
	return Field{raw: append(b, f.raw[kept:]...), name: f.name}, err
}

// Only returns the field with m, one of its mailboxes, as all it names, under
// the address a. Display name, comments and the white space around stay as they
// were written.
func (f Field) Only(m Mailbox, a Address) Field {
	blank := len(f.raw[f.name+1:]) - len(bytes.TrimLeft(f.raw[f.name+1:], " \t\r\n"))
	after := f.raw[m.Last:]
	if len(bytes.TrimSpace(after)) > 0 {
		after = []byte("\r\n")
	}
	return Field{name: f.name, raw: bytes.Join([][]byte{
		f.raw[:f.name+1+blank], f.raw[m.First:m.Start], []byte(a.String()), f.raw[m.End:m.Last], after}, nil)}
}
