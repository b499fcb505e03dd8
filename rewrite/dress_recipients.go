package rewrite

import (
	"regexp"
	"strings"

	"postern/relay/message"
)

// Where To and Cc go that name others than the recipients.
const (
	asideTo = "X-Header-To"
	asideCc = "X-Header-Cc"
)

// recipients makes To, Cc and Bcc name exactly the recipients of the envelope,
// for an upstream that sends to all they name. A field that names nobody else
// stays as it is. Any other is put aside, and the recipients among its mailboxes
// are named anew. Recipients in neither To nor Cc get a Bcc.
func (f *fitting) recipients() error {
	if !f.cfg.EnvelopeHeaders && !f.offer.NoEnvelope {
		return nil
	}
	named := roster{}
	for _, r := range f.m.To {
		if f.offer.UTF8 || r.Address.IsASCII() { // the others fail alone
			named[fold(r.Address)] = false
		}
	}
	f.remove(byEnvelope, "Bcc")
	f.only(named, "To", asideTo)
	f.only(named, "Cc", asideCc)
	if len(f.header.All("To")) == 0 && len(f.header.All("Cc")) == 0 {
		f.add(byEnvelope, message.NewField("To", "undisclosed-recipients:;"))
	}
	var hidden []string
	for _, r := range f.m.To {
		key := fold(r.Address)
		if done, ok := named[key]; ok && !done {
			named[key] = true
			hidden = append(hidden, r.Address.String())
		}
	}
	if len(hidden) > 0 {
		f.add(byEnvelope, message.NewField("Bcc", strings.Join(hidden, ",\r\n\t")))
	}
	return nil
}

// roster is the recipients by fold, true for those who have been named.
type roster map[string]bool

// only leaves no others than recipients in the fields of that name.
func (f *fitting) only(named roster, name, aside string) {
	var others []message.Field
	for i := 0; i < len(f.header); i++ {
		field := f.header[i]
		if !field.Is(name) || closed(field) && named.nobodyElse(field) {
			continue
		}
		others = append(others, message.NewField(aside, unparsed(field)))
		if kept := named.among(field); len(kept) > 0 {
			f.replace(byEnvelope, i, message.NewField(field.Name(), strings.Join(kept, ",\r\n\t")))
		} else {
			f.drop(byEnvelope, i)
			i--
		}
	}
	for _, o := range others {
		f.add(byEnvelope, o)
	}
}

// closed tells whether the colon of a field stands right behind its name. Some
// readers do not know a field otherwise (RFC 5322, section 4.5).
func closed(f message.Field) bool {
	return len(f.Raw()) > len(f.Name()) && f.Raw()[len(f.Name())] == ':'
}

var emptyGroup = regexp.MustCompile(`^[A-Za-z0-9 -]+:\s*;$`)

// nobodyElse tells whether a field, read as strictly as From so that nobody
// reads more in it, names recipients only, and strikes those off.
func (r roster) nobodyElse(field message.Field) bool {
	found, err := message.ParseMailboxes(field.Value())
	if err != nil {
		return emptyGroup.MatchString(field.Value())
	}
	for _, a := range found {
		if _, ok := r[fold(a)]; !ok {
			return false
		}
	}
	for _, a := range found {
		r[fold(a)] = true
	}
	return true
}

// among is the mailboxes of a field that are recipients not named before, with
// what belongs to each if nobody could read more in it.
func (r roster) among(field message.Field) []string {
	var kept []string
	boxes, _ := field.Mailboxes()
	for _, box := range boxes {
		key := fold(box.Address)
		if done, ok := r[key]; !ok || done {
			continue
		}
		r[key] = true
		text := unfold(string(field.Raw()[box.First:box.Last]))
		if found, err := message.ParseMailboxes(text); err != nil || len(found) != 1 || fold(found[0]) != key {
			text = "<" + box.Address.String() + ">"
		}
		kept = append(kept, text)
	}
	return kept
}
