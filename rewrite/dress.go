package rewrite

import (
	"errors"
	"unicode/utf8"

	"postern/relay/message"
)

// Offer is what an upstream carries.
type Offer struct {
	// EightBit is 8-bit content (8BITMIME, RFC 6152), UTF8 addresses and headers in
	// UTF-8 (SMTPUTF8, RFC 6531).
	EightBit, UTF8 bool
	// NoEnvelope: it is told the recipients by To, Cc and Bcc alone.
	NoEnvelope bool
	// NoQuotedPrintable: it damages parts in quoted-printable, not those in base64.
	NoQuotedPrintable bool
}

// Dressing makes of a message what one upstream is given. It is safe for
// concurrent use.
type Dressing struct {
	upstream string
	cfg      Upstream
}

// NewDressing makes the Dressing for the upstream of that name.
func NewDressing(upstream string, cfg Upstream) Dressing {
	return Dressing{upstream: upstream, cfg: cfg}
}

// Rules of a Dressing, as the history names them: what the upstream does not
// offer, or the key of its configuration.
const (
	bySMTPUTF8   = "smtputf8"
	by8BitMIME   = "8bitmime"
	byOtherwise  = "otherwise"
	byOriginalTo = "original_to"
	byEnvelope   = "envelope_headers"
	byNoQuoted   = "quoted_printable"
)

// DressingRules are all rules that may stand in a Change made by Dress.
var DressingRules = []string{bySMTPUTF8, by8BitMIME, byOtherwise, byOriginalTo, byEnvelope, byNoQuoted, repairLongLines}

// Next is the error for a message that is not for this upstream: another one
// of the route may be asked. Where there is none, Reply is the answer.
type Next struct{ Reply *message.Reply }

func (n *Next) Error() string { return n.Reply.Error() }
func (n *Next) Unwrap() error { return n.Reply }

// Dress returns m as the upstream is to get it that offers so much, and what
// was changed:
//
//  1. the sender, if the upstream does not take it, as otherwise says;
//  2. header and envelope become ASCII where they go without SMTPUTF8;
//  3. To, Cc and Bcc name the recipients, where the upstream reads them there;
//  4. the body becomes 7-bit where it goes without 8BITMIME, parts in
//     quoted-printable become base64 where that does harm, and long lines are
//     encoded if the client's profile says so.
//
// If nothing has to be changed it returns m itself; m never changes. The
// recipients stay as many and in their order; one whose address cannot be
// written in ASCII stays as it is, unless none can.
//
// The error is a *message.Reply to fail the message with, a *[Next], or comes
// from reading the body. All depends on m, the configuration and the offer
// alone, so that each attempt sends the same.
func (d Dressing) Dress(m *message.Message, offer Offer) (*message.Message, []message.Change, error) {
	dressed := *m
	f := fitting{Dressing: d, offer: offer, m: &dressed, edit: edit{header: m.Header}}
	for _, step := range []func() error{f.sender, f.ascii, f.recipients, f.body} {
		if err := step(); err != nil {
			return nil, nil, err
		}
	}
	if len(f.changes) == 0 {
		return m, nil, nil
	}
	dressed.Header = f.header
	return &dressed, f.changes, nil
}

// fitting is one message being dressed. Its header is that of the edit until
// all is done.
type fitting struct {
	Dressing
	offer Offer
	m     *message.Message
	edit
}

// elsewhere is the error for what this upstream cannot be given.
func elsewhere(code int, enhanced, format string, args ...any) error {
	return &Next{message.Refuse(code, enhanced, format, args...)}
}

// ascii takes header and envelope out of UTF-8 where the message goes without
// SMTPUTF8: the upstream does not have it, or the client did not ask for it.
func (f *fitting) ascii() error {
	asked := f.m.NeedsSMTPUTF8()
	if asked && f.offer.UTF8 {
		return nil
	}
	if err := f.envelopeInASCII(); err != nil {
		return err
	}
	for i, field := range f.header {
		if !message.Bytes(field.Raw()).EightBit() {
			continue
		}
		plain, err := f.plain(field, asked)
		if err != nil {
			return err
		}
		f.replace(bySMTPUTF8, i, plain)
	}
	if asked && f.m.SMTPUTF8 && !f.header.IsASCII() { // but not UTF-8 either
		f.m.SMTPUTF8 = false
		f.note(bySMTPUTF8, "envelope", "SMTPUTF8", "")
	}
	return nil
}

// plain is a field in ASCII; or as it is if that cannot be, and it may travel
// all the same. What is not UTF-8 is in a charset nobody named, and had better
// stay.
func (f *fitting) plain(field message.Field, asked bool) (message.Field, error) {
	isUTF8 := utf8.Valid(field.Raw())
	travels := f.offer.EightBit && !(asked && isUTF8)
	if travels && !isUTF8 {
		return field, nil
	}
	plain, err := inASCII(field)
	switch {
	case err == nil:
		return plain, nil
	case travels:
		return field, nil
	case errors.As(err, new(errLocal)):
		return field, elsewhere(550, "5.6.7", "upstream %s does not offer SMTPUTF8, and in the %.60s field %v", f.upstream, field.Name(), err)
	}
	return field, elsewhere(554, "5.6.3", "upstream %s takes plain ASCII only, and this message cannot be encoded: %v", f.upstream, err)
}

// envelopeInASCII writes the domains of sender and recipients in A-labels.
func (f *fitting) envelopeInASCII() error {
	if f.m.From.IsASCII() {
		return f.recipientsInASCII()
	}
	plain, err := toASCII(f.m.From)
	if err != nil {
		return f.withoutUTF8(err)
	}
	f.note(bySMTPUTF8, "envelope", f.m.From.String(), plain.String())
	f.m.From = plain
	return f.recipientsInASCII()
}

func (f *fitting) recipientsInASCII() error {
	var before, after []message.Address
	var failed error
	to := make([]message.Recipient, len(f.m.To))
	able := 0
	for i, r := range f.m.To {
		plain, err := toASCII(r.Address)
		if err != nil && failed == nil {
			failed = err
		}
		if err == nil {
			able++
		}
		if plain != r.Address {
			before, after = append(before, r.Address), append(after, plain)
		}
		r.Address = plain
		to[i] = r
	}
	if able == 0 && failed != nil {
		return f.withoutUTF8(failed)
	}
	if len(after) > 0 {
		f.m.To = to
		f.note(bySMTPUTF8, "envelope", addresses(before), addresses(after))
	}
	return nil
}

func (f *fitting) withoutUTF8(err error) error {
	return elsewhere(550, "5.6.7", "upstream %s does not offer SMTPUTF8, and %v", f.upstream, err)
}

// body encodes the parts of the body that the upstream cannot carry, or would
// damage, and those with lines too long for anybody if the client is known to make them.
func (f *fitting) body() error {
	rule := by8BitMIME
	p := planner{sevenBit: !f.offer.EightBit && f.m.Body.EightBit(), short: f.m.Client.Repair.LongLines, noQuoted: f.offer.NoQuotedPrintable}
	switch {
	case p.sevenBit:
	case p.noQuoted:
		rule = byNoQuoted
	case p.short:
		rule = repairLongLines
	default:
		return nil
	}
	err := p.read(f.header, f.m.Body)
	switch unclear := isUnclear(err); {
	case unclear && !p.sevenBit:
		return nil // it stays as it is, then
	case unclear:
		return elsewhere(554, "5.6.3", "upstream %s does not offer 8BITMIME, and this message cannot be encoded: %v", f.upstream, err)
	case err != nil || len(p.splices) == 0:
		return err
	}
	made, err := newTranscoded(f.m.Body, p.inOrder())
	if err != nil {
		return err
	}
	f.m.Body = made
	for i, field := range p.header {
		if i < len(f.header) {
			f.replace(rule, i, field)
		} else {
			f.header = f.header.Append(field)
			f.note(rule, field.Name(), "", field.Value())
		}
	}
	f.note(rule, "body", "", p.done())
	return nil
}

// isUnclear tells whether err says that a message cannot be encoded.
func isUnclear(err error) bool {
	return errors.As(err, new(errUnclear)) || errors.As(err, new(errLocal))
}
