package message

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Received is the trace field for m (RFC 5321, section 4.4) as written by
// host: protocol names of RFC 3848 and RFC 6531, the tls clause of RFC 8314
// section 7.4, and "for" only with a single recipient, so that no recipient
// learns of another. With hideClient the "from" clause is left out, which
// RFC 5322 allows, so that neither the client's name nor its address is told.
func Received(m *Message, host string, hideClient bool) Field {
	var b strings.Builder
	if !hideClient {
		fmt.Fprintf(&b, "from %s (%s)\r\n\t", helloAtom(m.Client.Hello), addressLiteral(m.Client.Address.Addr()))
	}
	fmt.Fprintf(&b, "by %s with %s", host, protocol(m))
	if m.Client.TLSCipher != "" {
		fmt.Fprintf(&b, " tls %s", m.Client.TLSCipher)
	}
	fmt.Fprintf(&b, "\r\n\tid %s", m.ID)
	if len(m.To) == 1 {
		fmt.Fprintf(&b, "\r\n\tfor <%s>", m.To[0].Address)
	}
	fmt.Fprintf(&b, ";\r\n\t%s", m.Received.Format(time.RFC1123Z))
	return NewField("Received", b.String())
}

// protocol is the "with" keyword: ESMTPSA and its kin.
func protocol(m *Message) string {
	c := m.Client
	name := "SMTP"
	if c.Extended || c.Account != "" || c.TLSVersion != "" {
		name = "ESMTP"
	}
	if m.SMTPUTF8 {
		name = "UTF8SMTP"
	}
	if c.TLSVersion != "" {
		name += "S"
	}
	if c.Account != "" && c.Mechanism != "" {
		name += "A"
	}
	return name
}

// addressLiteral is the TCP-info form of RFC 5321, section 4.1.3.
func addressLiteral(a netip.Addr) string {
	switch {
	case !a.IsValid():
		return "[unknown]"
	case a.Is4() || a.Is4In6():
		return "[" + a.Unmap().String() + "]"
	default:
		return "[IPv6:" + a.WithZone("").String() + "]"
	}
}

// helloAtom is a client's EHLO argument when it is a domain or address literal,
// else "unknown": a device's "HP Scanner (3rd floor)" must not break the syntax
// of the field.
func helloAtom(s string) string {
	if !isASCII(s) || checkDomain(s) != nil {
		return "unknown"
	}
	return s
}
