package bounce

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"postern/relay/message"
)

// maxReply is how much of a reply is passed on, in octets. A server may say a
// hundred times as much.
const maxReply = 400

// status is the part for programs, message/delivery-status (RFC 3464, section
// 2): a block about the message, then one for each recipient. It is ASCII;
// addresses in other letters are in the form of RFC 6533, section 3.
func (a Author) status(r Report) []byte {
	var b strings.Builder
	field := func(name, value string) {
		if value != "" {
			b.WriteString(fold(name + ": " + value))
		}
	}
	field("Reporting-MTA", "dns; "+a.Hostname)
	field("Original-Envelope-Id", exactly(r.Original.EnvelopeID))
	field("Arrival-Date", date(r.Original.Received))
	field("X-Postern-Queue-Id", r.Original.ID)
	for _, c := range r.Cases {
		b.WriteString("\r\n")
		field("Original-Recipient", originalRecipient(c.Recipient))
		field("Final-Recipient", typed(c.Address.String()))
		field("Action", string(r.Action))
		field("Status", status(r.Action, c))
		if c.Remote != "" {
			field("Remote-MTA", "dns; "+host(c.Remote))
		}
		field("Diagnostic-Code", diagnostic(c))
		field("Last-Attempt-Date", date(c.Attempt))
		if r.Action == Delayed {
			field("Will-Retry-Until", date(c.Until))
		}
	}
	return []byte(b.String())
}

// host is the name of a server, or its address as a literal (RFC 5321, section
// 4.1.3).
func host(name string) string {
	ip, err := netip.ParseAddr(name)
	switch {
	case err != nil:
		return name
	case ip.Is4():
		return "[" + name + "]"
	}
	return "[IPv6:" + name + "]"
}

var enhancedCode = regexp.MustCompile(`^[245]\.[0-9]{1,3}\.[0-9]{1,3}$`)

// status is the code for programs: that of the reply where it is of the class of
// the action, else the plainest of that class (RFC 3463).
func status(action Action, c Case) string {
	class := map[Action]string{Failed: "5", Delayed: "4", Relayed: "2"}[action]
	switch {
	case c.Expired:
		return "5.4.7" // delivery time expired
	case enhancedCode.MatchString(c.Reply.Enhanced) && strings.HasPrefix(c.Reply.Enhanced, class):
		return c.Reply.Enhanced
	}
	return class + ".0.0"
}

// diagnostic is the last word on a recipient: smtp where an SMTP server said it,
// x-http where another one did, x-postern where it is ours.
func diagnostic(c Case) string {
	said := printable(c.Reply.String(), maxReply)
	switch {
	case said == "":
		return ""
	case c.Reply.Code == 0:
		return "x-postern; " + said
	case c.Remote == "":
		return "x-http; " + said
	}
	return "smtp; " + said
}

var addressType = regexp.MustCompile(`^[A-Za-z0-9-]{1,30}$`)

// originalRecipient is ORCPT, given back as it came; "" if it was not given, or
// cannot be given back.
func originalRecipient(r message.Recipient) string {
	switch {
	case r.Original == "" || !addressType.MatchString(r.OriginalType):
		return ""
	case strings.EqualFold(r.OriginalType, "utf-8") || strings.EqualFold(r.OriginalType, "rfc822"):
		return typed(r.Original)
	}
	if text := exactly(r.Original); text != "" {
		return r.OriginalType + ";" + text
	}
	return ""
}

// typed is an address with its type: rfc822, or utf-8 as utf-8-addr-xtext.
func typed(address string) string {
	if exactly(address) != "" {
		return "rfc822; " + address
	}
	var b strings.Builder
	for _, r := range address {
		if r <= ' ' || r > '~' || r == '+' || r == '=' || r == '\\' {
			fmt.Fprintf(&b, `\x{%02X}`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return "utf-8; " + printable(b.String(), maxLine)
}

// maxExact bounds what is given back letter by letter, and maxLine what has no
// space to fold at, in octets: a line has 998 (RFC 5322, section 2.1.1).
const (
	maxExact = 500
	maxLine  = 900
)

// exactly is s if it can stand in a field as it is, else "": an identifier that
// was changed identifies nothing.
func exactly(s string) string {
	if len(s) > maxExact || strings.Trim(s, " ") != s || printable(s, maxExact) != s {
		return ""
	}
	return s
}

// printable is s in one line of ASCII with single spaces, cut at that many
// octets.
func printable(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r > '~' || r < ' ' && r != '\n' && r != '\r' && r != '\t' {
			return '?'
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > limit {
		s = s[:limit-3] + "..."
	}
	return s
}

func date(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC1123Z)
}

// fold writes a field in lines of up to 76 octets where it has spaces to fold at
// (RFC 5322, section 2.2.3). It reads the same unfolded.
func fold(field string) string {
	const width = 76
	var b strings.Builder
	for len(field) > width {
		at := strings.LastIndexByte(field[:width], ' ')
		if at <= 0 || strings.TrimLeft(field[:at], " ") == "" || strings.HasSuffix(field[:at], ":") {
			if at = strings.IndexByte(field[width:], ' '); at < 0 {
				break
			}
			at += width
		}
		b.WriteString(field[:at] + "\r\n")
		field = field[at:]
	}
	return b.String() + field + "\r\n"
}
