package policy

import (
	"fmt"
	"strings"

	"postern/relay/message"
)

// Refusal is a reply that says no, with the rule that said it.
type Refusal struct {
	// Rule is one of a fixed set: sender, null_sender, from, recipient,
	// recipients_per_message.
	Rule  string
	Reply *message.Reply
}

func (r *Refusal) Error() string { return r.Reply.Error() }

// Unwrap lets errors.As find the reply.
func (r *Refusal) Unwrap() error { return r.Reply }

func refuse(rule string, code int, enhanced, format string, args ...any) error {
	return &Refusal{Rule: rule, Reply: message.Refuse(code, enhanced, format, args...)}
}

func unknownAccount(rule, account string) error {
	return refuse(rule, 550, "5.7.1", "there is no account %s any more; log in again", brief(account))
}

func mayNotSendAs(rule, account string, a message.Address, where string, allowed message.Patterns) error {
	return refuse(rule, 550, "5.7.1", "account %s may not send as <%s> %s; allowed: %s",
		brief(account), brief(a.String()), where, some(allowed))
}

// A refusal shows this much of an address or name, in octets, and of a list of
// patterns, so that all of it fits the one line a client shows.
const (
	maxShown    = 80
	maxPatterns = 5
	maxList     = 200
)

// brief is s as a person may read it in any terminal: what is not ASCII
// escaped, and cut when long.
func brief(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case b.Len() >= maxShown:
			return b.String() + "..."
		case r < ' ' || r > '~':
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// some lists the first few patterns and counts the others.
func some(patterns message.Patterns) string {
	var b strings.Builder
	for i, p := range patterns {
		text := brief(p.String())
		if i == maxPatterns || b.Len()+len(text) > maxList {
			fmt.Fprintf(&b, " and %d more", len(patterns)-i)
			return b.String()
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(text)
	}
	if b.Len() == 0 {
		return "nothing"
	}
	return b.String()
}
