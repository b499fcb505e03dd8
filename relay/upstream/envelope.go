package upstream

import (
	"fmt"
	"strconv"
	"strings"

	"postern/relay/message"
)

// carriage is what must be said before anything is sent: the recipients, by
// index, whom the server cannot serve with this message.
func carriage(m *message.Message, ext extensions) map[int]message.Result {
	if limit := ext.maxSize(); limit > 0 && m.Size() > limit {
		return refuseAll(m, own(message.Failed, "5.3.4", fmt.Sprintf(
			"the message has %d octets, and the upstream takes at most %d", m.Size(), limit)))
	}
	if m.NeedsEightBit() && !ext.has("8BITMIME") {
		return refuseAll(m, own(message.Failed, "5.6.3",
			"the message holds 8-bit text, and the upstream does not offer 8BITMIME"))
	}
	if m.NeedsSMTPUTF8() && !ext.has("SMTPUTF8") {
		return withoutUTF8(m)
	}
	return nil
}

// withoutUTF8 refuses the recipients whose address is not ASCII, and everyone
// when the message needs SMTPUTF8 even without those.
func withoutUTF8(m *message.Message) map[int]message.Result {
	refusal := own(message.Failed, "5.6.7",
		"the address or the header is not plain ASCII, and the upstream does not offer SMTPUTF8")
	refused := map[int]message.Result{}
	ascii := *m
	ascii.To = nil
	for i, r := range m.To {
		if r.Address.IsASCII() {
			ascii.To = append(ascii.To, r)
		} else {
			refused[i] = refusal
		}
	}
	if ascii.NeedsSMTPUTF8() {
		return refuseAll(m, refusal)
	}
	return refused
}

func refuseAll(m *message.Message, r message.Result) map[int]message.Result {
	refused := map[int]message.Result{}
	for i := range m.To {
		refused[i] = r
	}
	return refused
}

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
