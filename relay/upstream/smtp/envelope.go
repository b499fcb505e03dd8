package smtp

import (
	"fmt"
	"strconv"
	"strings"

	"postern/relay/message"
)

// mailCommand is MAIL with the parameters the server offers: SIZE (RFC 1870),
// BODY (RFC 6152), SMTPUTF8 (RFC 6531), RET and ENVID (RFC 3461).
func mailCommand(m *message.Message, ext extensions) string {
	var b strings.Builder
	fmt.Fprintf(&b, "MAIL FROM:<%s>", m.From)
	if ext.has("SIZE") {
		b.WriteString(" SIZE=" + strconv.FormatInt(m.Size(), 10))
	}
	if ext.has("8BITMIME") && (m.NeedsEightBit() || m.BodyType == "8BITMIME") {
		b.WriteString(" BODY=8BITMIME")
	}
	if ext.has("SMTPUTF8") && m.NeedsSMTPUTF8() {
		b.WriteString(" SMTPUTF8")
	}
	if ext.has("DSN") {
		if m.Return != "" {
			b.WriteString(" RET=" + m.Return)
		}
		if m.EnvelopeID != "" {
			b.WriteString(" ENVID=" + xtext(m.EnvelopeID))
		}
	}
	return b.String()
}

// rcptCommand is RCPT with NOTIFY and ORCPT (RFC 3461) if the server offers DSN.
func rcptCommand(r message.Recipient, ext extensions) string {
	var b strings.Builder
	fmt.Fprintf(&b, "RCPT TO:<%s>", r.Address)
	if ext.has("DSN") {
		if len(r.Notify) > 0 {
			b.WriteString(" NOTIFY=" + strings.Join(r.Notify, ","))
		}
		if r.Original != "" {
			b.WriteString(" ORCPT=" + r.OriginalType + ";" + originalAddress(r.OriginalType, r.Original))
		}
	}
	return b.String()
}

// originalAddress encodes the address of ORCPT as its type asks: xtext, or for
// "utf-8" the utf-8-addr-xtext of RFC 6533, section 3.
func originalAddress(kind, address string) string {
	if !strings.EqualFold(kind, "utf-8") {
		return xtext(address)
	}
	var b strings.Builder
	for _, r := range address {
		if r <= ' ' || r >= 0x7f || r == '+' || r == '=' || r == '\\' {
			fmt.Fprintf(&b, `\x{%X}`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// xtext is the encoding of RFC 3461, section 4.
func xtext(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || c == '+' || c == '=' {
			fmt.Fprintf(&b, "+%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
