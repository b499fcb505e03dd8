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

func mayNotSendAs(rule string, c message.Client, a message.Address, where string, account Account) error {
	allowed := some(account.Senders)
	if account.OwnAddresses {
		allowed = some(account.Senders, c.Addresses...)
	}
	return refuse(rule, 550, "5.7.1", "%s may not send as <%s> %s; allowed: %s", whom(c), brief(a.String()), where, allowed)
}

// whom names who logged in.
func whom(c message.Client) string {
	if c.User == "" {
		return "account " + brief(c.Account)
	}
	return fmt.Sprintf("%s, by account %s,", brief(c.User), brief(c.Account))
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

// some lists the first few patterns and own addresses and counts the others.
func some(patterns message.Patterns, own ...message.Address) string {
	var all []string
	for _, a := range own {
		all = append(all, a.String())
	}
	for _, p := range patterns {
		all = append(all, p.String())
	}
	var b strings.Builder
	for i, text := range all {
		text = brief(text)
		if i == maxPatterns || b.Len()+len(text) > maxList {
			fmt.Fprintf(&b, " and %d more", len(all)-i)
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
