package rewrite

import (
	"slices"
	"strings"

	"postern/relay/message"
)

// Upstream is what rewrite needs of an entry of upstreams.
type Upstream struct {
	// Mailbox is the address the upstream knows us by.
	Mailbox message.Address `yaml:"mailbox"`
	// Senders are the addresses it lets us send as, besides Mailbox. Empty,
	// without Otherwise: all.
	Senders message.Patterns `yaml:"senders"`
	// Otherwise is what becomes of mail with another sender: "refuse" (default),
	// "next" leaves it to the next upstream of the route, "force" sends it as
	// Mailbox.
	Otherwise string `yaml:"otherwise"`
	// OriginalTo is where the From goes that was forced to another: "reply-to"
	// (default), unless there is a Reply-To; "x-original-from"; or "none".
	OriginalTo string `yaml:"original_to"`
	// NullSender is "keep" (default), or "otherwise" for one that takes no mail
	// from <>: then Otherwise says what becomes of it.
	NullSender string `yaml:"null_sender"`
	// NullRefused is set when the provider is known to refuse mail from <>, and
	// NullSender does not say otherwise: then mail of our own is sent as Mailbox.
	NullRefused bool `yaml:"-"`
	// EnvelopeHeaders is set for an upstream that takes the recipients from To,
	// Cc and Bcc, as APIs do: they name exactly the recipients then.
	EnvelopeHeaders bool `yaml:"envelope_headers"`
}

// Values beside those of rules.
const (
	next      = "next"
	none      = "none"
	otherwise = "otherwise"
)

// Check reports values that mean nothing, alone or together.
func (u Upstream) Check(bad func(key, format string, args ...any)) {
	for _, k := range []struct{ key, value, allowed string }{
		{"otherwise", u.Otherwise, "refuse, next or force"},
		{"original_to", u.OriginalTo, "reply-to, x-original-from or none"},
		{"null_sender", u.NullSender, "keep or otherwise"},
	} {
		words := strings.FieldsFunc(k.allowed, func(r rune) bool { return r == ' ' || r == ',' })
		if k.value != "" && (k.value == "or" || !slices.Contains(words, k.value)) {
			bad(k.key, "%q is not %s", k.value, k.allowed)
		}
	}
	switch {
	case u.Otherwise == force && u.Mailbox.IsNull():
		bad("otherwise", "force needs mailbox: the address to send as")
	case u.Otherwise != "" && u.Mailbox.IsNull() && len(u.Senders) == 0:
		bad("otherwise", "it says what becomes of mail from others than senders; set senders, or mailbox")
	case u.OriginalTo != "" && u.OriginalTo != replyTo && u.Otherwise != force:
		bad("original_to", "nothing is replaced without otherwise: force")
	case u.NullSender == otherwise && !u.Picky():
		bad("null_sender", "otherwise is not set")
	}
}

// Picky tells whether there are senders it does not take.
func (u Upstream) Picky() bool { return u.Otherwise != "" || len(u.Senders) > 0 }

// takes tells whether it takes mail under that name.
func (u Upstream) takes(a message.Address) bool {
	switch {
	case !u.Picky():
		return true
	case a.IsNull():
		return u.NullSender != otherwise
	}
	return u.Senders.Match(a) || a.EqualFold(u.Mailbox)
}

// fold is the same for addresses that mean one mailbox: no provider tells Scan@
// from scan@. Letter case is that of ASCII.
func fold(a message.Address) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, a.String())
}

// names lists who may send through it, for a person.
func (u Upstream) names() string {
	if u.Mailbox.IsNull() {
		return u.Senders.String()
	}
	if len(u.Senders) == 0 {
		return u.Mailbox.String()
	}
	return u.Mailbox.String() + ", " + u.Senders.String()
}
