package rewrite

import (
	"strings"

	"postern/relay/setting"
)

// Rule is one entry of rewrite. It is of the kind of the one key it has of
// match, domains, recipient and from.
type Rule struct {
	// Name is what changes, log and metrics call the rule. Default: rewrite[0]
	// for the first.
	Name string `yaml:"name"`

	// Account, Accounts, Networks and Listeners narrow whose mail it is for: a
	// client must be of each that is given.
	Account   string           `yaml:"account"`
	Accounts  []string         `yaml:"accounts"`
	Networks  setting.Networks `yaml:"networks"`
	Listeners []string         `yaml:"listeners"`

	// Match rewrites the addresses it names, in Fields, to To.
	Match Match `yaml:"match"`
	// Domains rewrites every address of a domain to the same one of another.
	Domains map[string]string `yaml:"domains"`
	// Fields are where: envelope (the sender), from, sender, reply-to, to, cc,
	// recipients (of the envelope). Default for match: envelope, from, sender,
	// reply-to; for domains: all.
	Fields []string `yaml:"fields"`

	// Recipient rewrites recipients of the envelope to To, or refuses them.
	Recipient Match `yaml:"recipient"`
	// To is what an address becomes: an address in which %u and %d stand for the
	// halves of the one before, and $1 to $9 for groups of an expression.
	To string `yaml:"to"`
	// Deny is the text of the refusal.
	Deny string `yaml:"deny"`

	// From says when the From field is replaced: always (force), if the account
	// may not send as who stands there (if_unauthorized), or never (off). So is
	// an envelope sender the account may not use. Of the rules for a client's
	// mail the first one counts.
	From string `yaml:"from"`
	// Address is what it is replaced by, such as "ERP <noreply@example.com>".
	// Default: the account's default_from.
	Address string `yaml:"address"`
	// KeepDisplayName leaves the name of the one before, if it has one.
	KeepDisplayName bool `yaml:"keep_display_name"`
	// OriginalTo is where the one before goes: reply-to (unless there is a
	// Reply-To), x-original-from, or none (default).
	OriginalTo string `yaml:"original_to"`
	// Sender says what becomes of the Sender field where From is replaced:
	// remove (default), set to Address, or keep.
	Sender string `yaml:"sender"`
}

// Where an address may stand.
type place uint8

const (
	inEnvelope place = 1 << iota
	inFrom
	inSender
	inReplyTo
	inTo
	inCc
	inRecipients
	inAll      = 1<<iota - 1
	inHeader   = inFrom | inSender | inReplyTo | inTo | inCc
	asIdentity = inEnvelope | inFrom | inSender | inReplyTo
)

var placeNames = []string{"envelope", "from", "sender", "reply-to", "to", "cc", "recipients"}

// each is every single place of p.
func (p place) each() []place {
	var all []place
	for i := range placeNames {
		if one := place(1 << i); p&one != 0 {
			all = append(all, one)
		}
	}
	return all
}

// placeNamed is the place of that name, in any letter case; 0 if it is none.
func placeNamed(name string) place {
	for i, n := range placeNames {
		if strings.EqualFold(n, name) {
			return 1 << i
		}
	}
	return 0
}
