package rewrite

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"postern/relay/message"
)

// errLocal says that an address cannot be written in ASCII: what is before its
// @ is only its own host's to change (RFC 6531, section 3.2).
type errLocal struct{ address message.Address }

func (e errLocal) Error() string {
	return fmt.Sprintf("the address %+q is not plain ASCII before its @", e.address.String())
}

// domains writes domains in A-labels as those do who look them up (RFC 5891),
// with underscores, which occur.
var domains = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.CheckJoiners(true), idna.StrictDomainName(false))

// toASCII is the same mailbox with its domain in A-labels.
func toASCII(a message.Address) (message.Address, error) {
	if !message.Bytes(a.Local).EightBit() && !message.Bytes(a.Domain).EightBit() {
		return a, nil
	}
	if message.Bytes(a.Local).EightBit() {
		return a, errLocal{a}
	}
	domain, err := domains.ToASCII(a.Domain)
	if err != nil {
		return a, errUnclear(fmt.Sprintf("the domain of the address %+q cannot be written in ASCII", a.String()))
	}
	plain, err := message.NewAddress(a.Local, domain)
	if err != nil {
		return a, errUnclear(fmt.Sprintf("the address %+q is too long in ASCII", a.String()))
	}
	return plain, nil
}

// Fields whose value is not mere text.
var (
	addressFields = []string{"From", "Sender", "Reply-To", "To", "Cc", "Bcc", "Return-Path", "Received", "Delivered-To",
		"Disposition-Notification-To", "Return-Receipt-To", "Errors-To", "X-Original-From", asideTo, asideCc,
		"Resent-From", "Resent-Sender", "Resent-To", "Resent-Cc", "Resent-Bcc", "Resent-Reply-To"}
	parameterFields = []string{"Content-Type", "Content-Disposition"}
	exactFields     = []string{"Message-ID", "In-Reply-To", "References", "Resent-Message-ID", "Content-ID", "Date", "Resent-Date",
		"MIME-Version", "Content-Transfer-Encoding", "DKIM-Signature", "Authentication-Results",
		"ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results"}
)

func isOneOf(f message.Field, names []string) bool { return slices.ContainsFunc(names, f.Is) }

// inASCII writes a field without octets over 127: the domains of addresses in
// A-labels, words as encoded words (RFC 2047), parameters by RFC 2231. Whatever
// was ASCII stays octet by octet. The error is an errLocal or errUnclear.
func inASCII(f message.Field) (message.Field, error) {
	switch {
	case isOneOf(f, addressFields):
		return addressesInASCII(f)
	case isOneOf(f, parameterFields):
		return parametersInASCII(f)
	case isOneOf(f, exactFields):
		return f, errUnclear(fmt.Sprintf("the %s field is not plain ASCII and cannot be encoded", f.Name()))
	}
	head, value := halves(f)
	return whole(head, join(tokens(value), len(head)))
}

// halves cuts a field behind its colon; the final CRLF belongs to neither.
func halves(f message.Field) (head, value string) {
	raw := string(bytes.TrimSuffix(f.Raw(), []byte("\r\n")))
	n := strings.IndexByte(raw, ':') + 1
	return raw[:n], raw[n:]
}

// whole is the field of those halves.
func whole(head, value string) (message.Field, error) {
	h, err := message.ParseHeader([]byte(head + value + "\r\n"))
	if err != nil || len(h) != 1 {
		return message.Field{}, errUnclear(fmt.Sprintf("the field %.60q cannot be encoded", head))
	}
	return h[0], nil
}

// tokens cuts text at white space. Those that are not ASCII are to be encoded,
// and those that could be taken for the beginning of an encoded word.
func tokens(value string) []token {
	var found []token
	for value != "" {
		word := strings.TrimLeft(value, space)
		t := token{space: value[:len(value)-len(word)]}
		n := len(word)
		if i := strings.IndexAny(word, space); i >= 0 {
			n = i
		}
		t.raw, value = word[:n], word[n:]
		if message.Bytes(t.raw).EightBit() || strings.Contains(t.raw, "=?") && !isEncodedWord(t.raw) {
			t.text = t.raw
		}
		found = append(found, t)
	}
	return found
}

// parametersInASCII is inASCII for fields with parameters.
func parametersInASCII(f message.Field) (message.Field, error) {
	head, value := halves(f)
	_, found, ok := parameters(value)
	var b strings.Builder
	at := 0
	for _, p := range found {
		if !message.Bytes(value[p.from:p.to]).EightBit() {
			continue
		}
		ok = ok && !strings.Contains(p.name, "*")
		b.WriteString(value[at:p.from])
		b.WriteString(extended(p))
		at = p.to
	}
	b.WriteString(value[at:])
	if !ok || message.Bytes(b.String()).EightBit() {
		return f, errUnclear(fmt.Sprintf("the %s field of a part is not plain ASCII and cannot be read", f.Name()))
	}
	return whole(head, b.String())
}

// extended is a parameter in the form of RFC 2231, in as many pieces as it
// takes to keep lines short.
func extended(p parameter) string {
	charset := "utf-8"
	if !utf8.ValidString(p.value) {
		charset = "unknown-8bit"
	}
	const room = 60
	var pieces []string
	piece := charset + "''"
	for _, c := range []byte(p.value) {
		if len(piece) > room {
			pieces, piece = append(pieces, piece), ""
		}
		if plainInWord(c) && strings.IndexByte(" */", c) < 0 || c == '.' || c == '_' {
			piece += string(c)
		} else {
			piece += fmt.Sprintf("%%%02X", c)
		}
	}
	if len(pieces) == 0 {
		return p.name + "*=" + piece
	}
	var b strings.Builder
	for i, s := range append(pieces, piece) {
		if i > 0 {
			b.WriteString(";\r\n\t")
		}
		fmt.Fprintf(&b, "%s*%d*=%s", p.name, i, s)
	}
	return b.String()
}
