package rewrite

import (
	"io"
	"mime"
	"net/mail"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html/charset"

	"postern/relay/message"
)

// Rules of repairs, as the history names them.
const (
	repairDate      = "repair.date"
	repairAddresses = "repair.addresses"
	repairLongLines = "repair.long_lines"
)

// repair mends what the client's profile has mended: dates that cannot be true,
// and addresses in From and Sender that only lenient readers understand.
func (r *Rewrite) repair(e *edit, m *message.Message, now time.Time) {
	for i, f := range e.header {
		switch {
		case m.Client.Repair.Date && f.Is("Date") && !credible(f.Value(), now):
			e.replace(repairDate, i, message.NewField(f.Name(), now.Format(time.RFC1123Z)))
		case m.Client.Repair.Addresses && (f.Is("From") || f.Is("Sender")):
			usual, _ := r.accounts[m.Client.Account].usual(m.Client)
			if value := mended(f.Value(), usual); value != f.Value() {
				e.replace(repairAddresses, i, message.NewField(f.Name(), value))
			}
		}
	}
}

// maxClockError is how wrong the clock of a device may be before its Date is
// replaced. It leaves in peace what waited in a client for some days.
const maxClockError = 7 * 24 * time.Hour

func credible(date string, now time.Time) bool {
	t, err := mail.ParseDate(date)
	return err == nil && now.Sub(t).Abs() <= maxClockError
}

// mended is an address value that can be read for certain: value itself if it
// can; else the one address in it with what else there is as its name; else
// instead. An empty value and one that nothing can be done for stay.
func mended(value, instead string) string {
	if _, err := message.ParseMailboxes(value); err == nil || value == "" {
		return value
	}
	if mailbox, ok := onlyMailbox(value); ok {
		return mailbox
	}
	if instead != "" {
		return instead
	}
	return value
}

// maxMended bounds what is read for an address, in octets, and so the line it
// is written in.
const maxMended = 500

// looksLikeAddress is wider than what an address is, so that none is missed.
var looksLikeAddress = regexp.MustCompile(`[^\s<>()\[\]",:;@\\]+@[^\s<>()\[\]",:;@\\]+`)

// halfAddress is what a source route leaves behind.
var halfAddress = regexp.MustCompile(`@\S`)

// onlyMailbox finds the one address that any reader may see in the value, and
// takes the rest for its name. Encoded words are read first: an address may
// hide there.
func onlyMailbox(value string) (string, bool) {
	if len(value) > maxMended || strings.ContainsFunc(strings.ReplaceAll(value, "\t", " "), unicode.IsControl) {
		return "", false
	}
	text := decoded(value)
	found := looksLikeAddress.FindAllString(text, -1)
	for i, s := range found {
		found[i] = strings.Trim(s, ".'")
	}
	if len(found) == 0 || slices.ContainsFunc(found, func(s string) bool { return !strings.EqualFold(s, found[0]) }) {
		return "", false
	}
	bare := "<" + found[0] + ">"
	if !isMailbox(bare) {
		return "", false
	}
	name := looksLikeAddress.ReplaceAllString(text, " ")
	name = strings.Map(func(r rune) rune {
		if strings.ContainsRune(`<>"\`, r) {
			return ' '
		}
		return r
	}, name)
	name = strings.Trim(strings.Join(strings.Fields(name), " "), " ,;:()[]'")
	if full := phrase(name) + " " + bare; name != "" && !halfAddress.MatchString(name) && isMailbox(full) {
		return full, true
	}
	return bare, true
}

// isMailbox tells whether value can be read for certain, as one mailbox.
func isMailbox(value string) bool {
	found, err := message.ParseMailboxes(value)
	return err == nil && len(found) == 1
}

// phrase writes a display name.
func phrase(name string) string {
	if message.Bytes(name).EightBit() {
		return strings.Join(encodedWords(name), " ")
	}
	if strings.ContainsFunc(name, func(r rune) bool { return strings.ContainsRune(`()<>[]:;@\,."`, r) }) {
		return `"` + name + `"`
	}
	return name
}

// decoded is a value with its encoded words read (RFC 2047), as far as that is
// possible, and what is not UTF-8 as spaces.
func decoded(value string) string {
	decoder := mime.WordDecoder{CharsetReader: func(name string, r io.Reader) (io.Reader, error) {
		return charset.NewReaderLabel(name, r)
	}}
	if text, err := decoder.DecodeHeader(value); err == nil {
		value = text
	}
	if !utf8.ValidString(value) {
		value = strings.ToValidUTF8(value, " ")
	}
	return value
}
