package rewrite

import (
	"strings"

	"postern/relay/message"
)

// Loop limits. Providers stop at 20 to 50 hops; a message comes through one
// gateway twice when an upstream hands it back, but not a fourth time.
const (
	maxHops    = 50
	maxOurHops = 3
)

// checkLoop refuses a message that has been under way too long (RFC 5321,
// section 6.3).
func (r *Rewrite) checkLoop(h message.Header) error {
	hops, ours := 0, 0
	for _, f := range h.All("Received") {
		hops++
		if strings.EqualFold(receivedBy(f.Value()), r.hostname) {
			ours++
		}
	}
	switch {
	case hops > maxHops:
		return message.Refuse(554, "5.4.6", "routing loop: the message has come over %d hops already, the limit is %d", hops, maxHops)
	case ours > maxOurHops:
		return message.Refuse(554, "5.4.6", "routing loop: the message has come through %s %d times already; "+
			"look for a forwarding or an upstream that hands it back", r.hostname, ours)
	}
	return nil
}

// receivedBy is the host of a Received value's "by" clause, or "".
func receivedBy(value string) string {
	words := strings.Fields(value)
	for i := range len(words) - 1 {
		if strings.EqualFold(words[i], "by") {
			return strings.TrimSuffix(words[i+1], ";")
		}
	}
	return ""
}

// single are the fields of which a message has at most one (RFC 5322, section
// 3.6). Bcc is not among them: all of it is taken out.
var single = []string{"From", "Sender", "Reply-To", "To", "Cc", "Date", "Message-ID", "In-Reply-To", "References", "Subject"}

// checkSingle refuses doubled fields: readers disagree on which one counts, and
// a signature covers only one.
func checkSingle(h message.Header) error {
	for _, name := range single {
		if n := len(h.All(name)); n > 1 {
			return message.Refuse(550, "5.6.0", "the message has %d %s fields; RFC 5322 allows one: send it with a single %s", n, name, name)
		}
	}
	return nil
}

// checkAuthor refuses a From or Sender that cannot be read for certain: what
// cannot be read cannot be allowed.
func checkAuthor(h message.Header, name string, smtputf8 bool) error {
	for _, f := range h.All(name) {
		found, err := message.ParseMailboxes(f.Value())
		switch {
		case err != nil:
			return message.Refuse(550, "5.6.0", "the %s field cannot be read: %v; write it like \"Scanner 3F\" <scan@example.com>", name, err)
		case name == "Sender" && len(found) > 1:
			return message.Refuse(550, "5.6.0", "the Sender field names %d mailboxes; RFC 5322 allows one", len(found))
		}
		for _, a := range found {
			if !a.IsASCII() && !smtputf8 {
				return message.Refuse(550, "5.6.7", "the %s field holds an address outside ASCII; "+
					"send it with SMTPUTF8, or use an ASCII address", name)
			}
		}
	}
	return nil
}
