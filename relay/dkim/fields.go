package dkim

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"postern/relay/message"
)

// author is the domain that answers for a message: that of From. From may name
// several (RFC 5322, section 3.6.2); then the one of Sender, if it is among
// them, or else the first.
func author(h message.Header) (string, error) {
	from := h.All("From")
	if len(from) != 1 {
		return "", fmt.Errorf("it has %d From fields", len(from))
	}
	authors, err := message.ParseMailboxes(from[0].Value())
	if err != nil {
		return "", fmt.Errorf("its From cannot be read: %w", err)
	}
	chosen := authors[0]
	if sender, err := message.ParseMailboxes(h.Get("Sender")); err == nil {
		same := func(a message.Address) bool { return canonicalDomain(a.Domain) == canonicalDomain(sender[0].Domain) }
		if slices.ContainsFunc(authors, same) {
			chosen = sender[0]
		}
	}
	return canonicalDomain(chosen.Domain), nil
}

// Fields that are signed. Those that a reader goes by are oversigned: h= names
// them once more than they are there, so that adding another breaks the
// signature too. List fields are signed where they are (RFC 8058, section 4,
// wants it); mailing lists may add their own.
var (
	oversigned = []string{"From", "Sender", "Reply-To", "To", "Cc", "Subject", "Date", "Message-ID",
		"In-Reply-To", "References", "MIME-Version", "Content-Type", "Content-Transfer-Encoding"}
	listFields = []string{"List-Id", "List-Unsubscribe", "List-Unsubscribe-Post"}
	signed     = slices.Concat(oversigned, listFields)
)

// maxInstances bounds how often a field is named, so that h=, which the library
// writes on one line, stays below 998 octets. Each of these may be there once
// (RFC 5322, section 3.6); of those beyond, the lowest are signed.
const maxInstances = 3

// fieldsToSign is h= for that header.
func fieldsToSign(h message.Header, exclude []string) []string {
	count := map[string]int{}
	for _, f := range h {
		count[strings.ToLower(f.Name())]++
	}
	var names []string
	for i, name := range signed {
		if slices.ContainsFunc(exclude, func(e string) bool { return strings.EqualFold(e, name) }) {
			continue
		}
		n := min(count[strings.ToLower(name)], maxInstances)
		if i < len(oversigned) {
			n++
		}
		names = append(names, slices.Repeat([]string{name}, n)...)
	}
	return names
}

// header is as much of h as the key signs, and the blank line. Relaxed, it is
// unfolded already (RFC 6376, section 3.4.2): for the library each folding costs
// a copy of the whole field.
func (k signer) header(h message.Header, names []string) ([]byte, error) {
	relaxed := strings.HasPrefix(k.Canonicalization, "relaxed/")
	var b []byte
	for _, f := range h {
		if !slices.ContainsFunc(names, f.Is) {
			continue
		}
		raw := f.Raw()
		if relaxed {
			raw = append(bytes.ReplaceAll(raw, crlf, nil), crlf...)
		}
		b = append(b, raw...)
	}
	if bytes.Count(b, crlf) > maxLines {
		return nil, errLines
	}
	return append(b, crlf...), nil
}

var crlf = []byte("\r\n")
