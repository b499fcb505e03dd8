package rewrite

import (
	"mime"
	"slices"
	"strings"

	"postern/relay/message"
)

// When a from rule replaces the author.
const (
	force          = "force"
	ifUnauthorized = "if_unauthorized"
	off            = "off"
)

// Where the author goes that was replaced.
const (
	replyTo       = "reply-to"
	xOriginalFrom = "x-original-from"
)

// What becomes of the Sender field.
const (
	setSender  = "set"
	keepSender = "keep"
)

// guise is a name that a message leaves under instead of its own.
type guise struct {
	when     string          // force, ifUnauthorized or off
	value    string          // of the From field; "": the account's default_from
	address  message.Address // the one in value
	keepName bool
	original string // replyTo, xOriginalFrom or ""
	sender   string // setSender, keepSender, or "": remove
}

// guise reads the keys of a from rule.
func (r Rule) guise(bad reporter) *guise {
	g := &guise{when: r.From, keepName: r.KeepDisplayName, original: r.OriginalTo, sender: r.Sender}
	choose := func(key, value string, choices ...string) {
		if !slices.Contains(choices, value) {
			bad(key, "%.40q is not known; write %s", value, strings.Join(choices, ", "))
		}
	}
	choose("from", r.From, force, ifUnauthorized, off)
	if r.OriginalTo != "" {
		choose("original_to", r.OriginalTo, replyTo, xOriginalFrom, "none")
	}
	if r.Sender != "" {
		choose("sender", r.Sender, "remove", setSender, keepSender)
	}
	if r.From == off && (r.Address != "" || r.KeepDisplayName || r.OriginalTo != "" || r.Sender != "") {
		bad("from", "is off, so nothing else is said beside it but whose mail it is for")
	}
	var err error
	if g.value, g.address, err = mailbox(r.Address); err != nil {
		bad("address", "%.80q: %v; write one mailbox, such as ERP <noreply@example.com>", r.Address, err)
	}
	return g
}

// of is the From value and the address for mail of c, who logged in to the
// account; "" if there is none.
func (g *guise) of(a account, c message.Client) (string, message.Address) {
	if g.value == "" {
		return a.usual(c)
	}
	return g.value, g.address
}

// disguise has a message of c leave under another name, if the first from rule
// for its client says so.
func (r *Rewrite) disguise(e *edit, m *message.Message) {
	rule := r.rules.guiseFor(m.Client)
	if rule == nil || rule.guise.when == off {
		return
	}
	account := r.accounts[m.Client.Account]
	value, a := rule.guise.of(account, m.Client)
	if value == "" {
		return // and policy refuses it
	}
	mayStand := func(name string) bool { return account.mayStand(m.Client, e.header, name) }
	foreign := rule.guise.when == force || !mayStand("From")
	if foreign {
		e.wear(rule.name, rule.guise, value, a, m.SMTPUTF8)
	}
	if foreign || !mayStand("Sender") {
		e.wearSender(rule.name, rule.guise, a)
	}
}

// mayStand tells whether c may send as all whom fields of that name name.
func (own account) mayStand(c message.Client, h message.Header, name string) bool {
	for _, f := range h.All(name) {
		found, err := message.ParseMailboxes(f.Value())
		if err != nil || slices.ContainsFunc(found, func(a message.Address) bool { return !own.mayBe(c, a) }) {
			return false
		}
	}
	return true
}

// wear puts the mailbox value, whose address is a, into From as g says, and the
// author it replaces where he shall go.
func (e *edit) wear(rule string, g *guise, value string, a message.Address, smtputf8 bool) {
	at := e.index("From")
	from := e.header[at]
	next := newFrom(from, value, a, g.keepName)
	if next.Value() == from.Value() {
		return
	}
	e.put(rule, at, next)
	found, err := from.Mailboxes()
	speakable := err == nil && len(found) > 0 && !slices.ContainsFunc(found, func(m message.Mailbox) bool { return !smtputf8 && !m.Address.IsASCII() })
	switch {
	case len(found) == 1 && found[0].Address == a: // only the name is another
	case g.original == xOriginalFrom:
		e.set(rule, message.NewField("X-Original-From", unparsed(from)))
	case g.original == replyTo && speakable && e.header.Get("Reply-To") == "":
		e.set(rule, message.NewField("Reply-To", unparsed(from)))
	}
}

// wearSender has the Sender field say no other address than a, unless g keeps it.
func (e *edit) wearSender(rule string, g *guise, a message.Address) {
	switch g.sender {
	case keepSender:
	case setSender:
		e.set(rule, message.NewField("Sender", "<"+a.String()+">"))
	default:
		e.remove(rule, "Sender")
	}
}

// newFrom is the From field with the mailbox value, or with its address a only
// where the name of the first author is to be kept, and can be: it may not
// speak for another address, and who reads strictly must see a and no other.
func newFrom(from message.Field, value string, a message.Address, keepName bool) message.Field {
	found, err := from.Mailboxes()
	if keepName && err == nil && len(found) > 0 {
		first := found[0]
		kept := from.Only(first, a)
		names, err := message.ParseMailboxes(kept.Value())
		strange := err != nil || len(names) != 1 || names[0] != a
		if !strange && !namesAddress(kept, a) {
			return kept
		}
	}
	return message.NewField(from.Name(), value)
}

// namesAddress tells whether a field holds an @ beside that of its address a,
// encoded words included.
func namesAddress(f message.Field, a message.Address) bool {
	rest := strings.Replace(f.Value(), a.String(), "", 1)
	decoded, err := new(mime.WordDecoder).DecodeHeader(rest)
	return err == nil && strings.Contains(decoded, "@") || strings.Contains(rest, "@")
}

// unparsed is the value of f as it was written, with its folding.
func unparsed(f message.Field) string {
	_, value, _ := strings.Cut(string(f.Raw()), ":")
	return strings.Trim(value, " \t\r\n")
}
