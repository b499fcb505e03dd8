package rewrite

import (
	"postern/relay/message"
)

// sender lets pass what the upstream takes: the return path, and every address
// in From and Sender. With anything else it does as otherwise says.
func (f *fitting) sender() error {
	if !f.cfg.Picky() && !f.asMailbox() {
		return nil
	}
	if !f.takes(f.m.From) {
		if err := f.stranger(f.m.From, "return path"); err != nil {
			return err
		}
		f.note(byOtherwise, "envelope", f.m.From.String(), f.cfg.Mailbox.String())
		f.m.From = f.cfg.Mailbox
	}
	several, err := f.author()
	if err != nil {
		return err
	}
	return f.senderField(several)
}

// asMailbox tells whether m is mail of our own, which has no return path, for a
// provider that wants one.
func (f *fitting) asMailbox() bool {
	return f.m.About != "" && f.cfg.NullRefused && !f.cfg.Mailbox.IsNull()
}

// takes tells whether the upstream takes m under that name.
func (f *fitting) takes(a message.Address) bool {
	if f.asMailbox() {
		return !a.IsNull() && (f.cfg.Senders.Match(a) || a.EqualFold(f.cfg.Mailbox))
	}
	return f.cfg.takes(a)
}

// author judges From, and tells whether several are named there in the end.
func (f *fitting) author() (several bool, err error) {
	i, found, err := f.mailboxes("From")
	if err != nil {
		return false, err
	}
	for _, m := range found {
		if f.takes(m.Address) {
			continue
		}
		if err := f.stranger(m.Address, "From"); err != nil {
			return false, err
		}
		from := f.header[i]
		f.put(byOtherwise, i, newFrom(from, f.cfg.Mailbox.String(), f.cfg.Mailbox, true))
		f.original(from)
		f.remove(byOtherwise, "Sender") // who it was sent by in the name of, or the same again
		return false, nil
	}
	return len(found) > 1, nil
}

// original puts the author that was replaced where answers find him, or where
// the configuration says.
func (f *fitting) original(from message.Field) {
	switch {
	case f.cfg.OriginalTo == xOriginalFrom:
		f.set(byOriginalTo, message.NewField("X-Original-From", unparsed(from)))
	case f.cfg.OriginalTo != none && f.header.Get("Reply-To") == "":
		f.set(byOriginalTo, message.NewField("Reply-To", unparsed(from)))
	}
}

// senderField judges Sender. One that is forced is only kept if there must be
// one: when From names several (RFC 5322, section 3.6.2).
func (f *fitting) senderField(needed bool) error {
	i, found, err := f.mailboxes("Sender")
	if err != nil {
		return err
	}
	for _, m := range found {
		if f.takes(m.Address) {
			continue
		}
		if err := f.stranger(m.Address, "Sender"); err != nil {
			return err
		}
		if needed {
			f.replace(byOtherwise, i, f.header[i].Only(m, f.cfg.Mailbox))
		} else {
			f.remove(byOtherwise, "Sender")
		}
		return nil
	}
	return nil
}

// mailboxes reads a field as strictly as policy does: what cannot be read for
// certain cannot be allowed.
func (f *fitting) mailboxes(name string) (int, []message.Mailbox, error) {
	for i, field := range f.header {
		if !field.Is(name) {
			continue
		}
		if _, err := message.ParseMailboxes(field.Value()); err != nil {
			return 0, nil, message.Refuse(550, "5.6.0", "the %s field cannot be read: %v", name, err)
		}
		found, _ := field.Mailboxes()
		return i, found, nil
	}
	return 0, nil, nil
}

// stranger is what becomes of mail under a name that the upstream does not
// take: nil if it is to be sent as the upstream's mailbox, as mail of our own
// always may: nobody is passed off as another.
func (f *fitting) stranger(a message.Address, where string) error {
	reply := message.Refuse(550, "5.7.1", "upstream %s does not send as <%.100s> (%s), only as %.200s; "+
		"send under one of these, or change senders or otherwise of the upstream", f.upstream, a, where, f.cfg.names())
	switch {
	case f.cfg.Otherwise == force, f.m.About != "" && !f.cfg.Mailbox.IsNull():
		return nil
	case f.cfg.Otherwise == next:
		return &Next{reply}
	}
	return reply
}
