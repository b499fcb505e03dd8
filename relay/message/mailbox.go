package message

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html/charset"
)

// maxMailboxes bounds the value ParseMailboxes reads, in octets.
const maxMailboxes = 16 << 10

// ParseMailboxes reads the unfolded value of a From or Sender field (RFC 5322,
// section 3.4) and returns the address of every mailbox in it, members of
// groups (RFC 6854) included; at least one.
//
// What it returns decides under which name a message may leave, and mail
// programs disagree on every odd form the RFC allows. So it reads less than
// the RFC and refuses whatever could be read as another author:
//
//   - no obsolete syntax: no empty list elements, no source routes, no white
//     space or comment inside an address or its angle brackets;
//   - a comment stands only after an address, as in "scan@example.com (Scan)",
//     and holds nothing that could open another;
//   - a local part is atoms and dots, even between quotes;
//   - a display name holds no angle brackets, and no escapes beside an @;
//   - encoded words (RFC 2047) must decode, hide no @ or angle bracket, and
//     never stand in an address;
//   - text outside ASCII is valid UTF-8.
func ParseMailboxes(value string) ([]Address, error) {
	switch {
	case len(value) > maxMailboxes:
		return nil, fmt.Errorf("it is longer than %d octets", maxMailboxes)
	case !utf8.ValidString(value):
		return nil, errors.New("it holds octets that are neither ASCII nor UTF-8")
	case strings.ContainsFunc(strings.ReplaceAll(value, "\t", " "), unicode.IsControl):
		return nil, errors.New("it holds a control character")
	}
	if err := checkEncodedWords(value); err != nil {
		return nil, err
	}
	lexemes, err := lex(value)
	if err != nil {
		return nil, err
	}
	p := mailboxParser{lexemes}
	found, err := p.list(end)
	if err == nil && len(found) == 0 {
		err = errors.New("it names no mailbox")
	}
	return found, err
}

// mailboxParser holds the lexemes not read yet; the last is always end.
type mailboxParser struct{ rest []lexeme }

func (p *mailboxParser) at(k kind) bool { return p.rest[0].kind == k }

func (p *mailboxParser) take() lexeme {
	l := p.rest[0]
	if l.kind != end {
		p.rest = p.rest[1:]
	}
	return l
}

// list reads mailboxes and groups with commas between them, up to and with
// the lexeme that closes the list: end, or the ; of a group.
func (p *mailboxParser) list(closing kind) ([]Address, error) {
	var found []Address
	for {
		some, err := p.entry(closing == end)
		if err != nil {
			return nil, err
		}
		found = append(found, some...)
		if p.at('(') {
			p.take()
		}
		switch l := p.take(); l.kind {
		case closing:
			return found, nil
		case ',':
		case '<':
			return nil, errors.New("the name before a < is an address; put it in quotes")
		case end:
			return nil, errors.New("a : begins a group that no ; ends; quote a name that holds a colon")
		default:
			return nil, fmt.Errorf("%.40q follows an address; a comma was due", l.text)
		}
	}
}

// entry reads one mailbox, or one group where groups may stand.
func (p *mailboxParser) entry(groups bool) ([]Address, error) {
	var name []lexeme
	for p.at(word) || p.at(quoted) {
		name = append(name, p.take())
	}
	switch {
	case p.at('@') && len(name) == 1:
		return p.address(name[0])
	case p.at('<'):
		p.take()
		local := p.take()
		found, err := p.address(local)
		if l := p.take(); err == nil && (local.spaced || l.kind != '>' || l.spaced) {
			return nil, errors.New("more than an address stands between < and >")
		}
		return found, err
	case p.at(':') && groups && len(name) > 0:
		p.take()
		if p.at(';') {
			p.take()
			return nil, nil
		}
		return p.list(';')
	case len(name) > 0:
		return nil, fmt.Errorf("%.40q is not an address; quote a name that holds a comma, colon or @", name[0].text)
	}
	return nil, errors.New("an address is missing")
}

// address reads the rest of an address after its local part, without white
// space in between.
func (p *mailboxParser) address(local lexeme) ([]Address, error) {
	if local.kind != word && local.kind != quoted {
		return nil, errors.New("an address is missing")
	}
	at, domain := p.take(), p.take()
	whole := at.kind == '@' && !at.spaced &&
		(domain.kind == word || domain.kind == literal) && !domain.spaced
	if !whole {
		return nil, fmt.Errorf("the address at %.40q is not of the form name@domain", local.text)
	}
	if strings.Contains(local.text, "=?") || !isPlainLocal(local.text) {
		return nil, fmt.Errorf("the address at %.40q has an unusual part before the @", local.text)
	}
	if local.kind == word && !isDotString(local.text) {
		return nil, fmt.Errorf("the address at %.40q has a dot in the wrong place", local.text)
	}
	a, err := NewAddress(local.text, domain.text)
	if err != nil {
		return nil, fmt.Errorf("the address at %.40q is none: %w", local.text, err)
	}
	return []Address{a}, nil
}

// isPlainLocal tells whether no reader can take s for more than a local part.
// Of what is not ASCII only letters, marks and digits pass: some readers turn
// a full-width @ into a plain one.
func isPlainLocal(s string) bool {
	for _, r := range s {
		plain := r == '.' || r < 0x80 && isAtext(byte(r)) || r >= 0x80 && unicode.In(r, unicode.L, unicode.M, unicode.N)
		if !plain {
			return false
		}
	}
	return true
}

// encodedWord finds more than RFC 2047 calls one, as lenient readers do: the
// text may hold spaces. checkEncodedWords refuses those that do not decode.
var encodedWord = regexp.MustCompile(`=\?[^?]+\?[^?]+\?[^?]*\?=`)

// checkEncodedWords refuses a value that a reader who decodes first and parses
// then would see another address in.
func checkEncodedWords(value string) error {
	if strings.Contains(encodedWord.ReplaceAllString(value, " "), "=?") {
		return errors.New("it holds a damaged encoded word")
	}
	decoder := mime.WordDecoder{CharsetReader: func(name string, r io.Reader) (io.Reader, error) {
		return charset.NewReaderLabel(name, r)
	}}
	for _, w := range encodedWord.FindAllString(value, -1) {
		text, err := decoder.Decode(w)
		switch {
		case err != nil || text == "":
			return fmt.Errorf("the encoded word %.40q is empty or cannot be decoded", w)
		case strings.ContainsAny(text, "@<>") || strings.ContainsFunc(text, unicode.IsControl):
			return fmt.Errorf("the encoded word %.40q hides an address; write an @ in a quoted name instead", w)
		}
	}
	return nil
}
