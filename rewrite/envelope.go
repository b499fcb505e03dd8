package rewrite

import (
	"slices"

	"postern/relay/message"
)

// The Field of changes to the envelope.
const (
	envelopeSender    = "envelope"
	envelopeRecipient = "recipient"
)

// Sender is the envelope sender that mail of c leaves under instead of from: by
// the address rules in their order, then by the first from rule if the account
// may not use it. No address rule changes the null sender. The error is a *message.Reply.
func (r *Rewrite) Sender(c message.Client, from message.Address) (message.Address, []message.Change, error) {
	var changes ledger
	to, err := r.rules.forClient(c, inEnvelope).pass(inEnvelope, from, func(r *rule, before, after message.Address) {
		changes.note(r.name, envelopeSender, before.String(), after.String())
	})
	if err != nil {
		return from, nil, err
	}
	account := r.accounts[c.Account]
	if f := r.rules.guiseFor(c); f != nil && f.guise.when != off && !account.mayBe(c, to) {
		if _, a := f.guise.of(account, c); !a.IsNull() {
			changes.note(f.name, envelopeSender, to.String(), a.String())
			to = a
		}
	}
	return to, changes, nil
}

// Recipient is who gets mail of c instead of to. The recipient that was named
// is kept in ORCPT (RFC 3461, section 4.2) unless the client gave one. The
// error is a *message.Reply: the refusal of a rule that denies, or one because
// a rule makes no address.
func (r *Rewrite) Recipient(c message.Client, to message.Recipient) (message.Recipient, []message.Change, error) {
	var changes ledger
	a, err := r.rules.forClient(c, inRecipients).pass(inRecipients, to.Address, func(r *rule, before, after message.Address) {
		changes.note(r.name, envelopeRecipient, before.String(), after.String())
	})
	if err != nil || a == to.Address {
		return to, nil, err
	}
	if to.OriginalType == "" {
		to.OriginalType, to.Original = "rfc822", to.Address.String()
		if !to.Address.IsASCII() { // RFC 6533, section 3
			to.OriginalType = "utf-8"
		}
	}
	to.Address = a
	return to, changes, nil
}

// Add is changes and more, each rule's in each field as one.
func Add(changes []message.Change, more ...message.Change) []message.Change {
	l := ledger(changes)
	for _, c := range more {
		l.note(c.Rule, c.Field, c.Before, c.After)
	}
	return l
}

// Collapse leaves of several recipients with one address the first, as rules
// may lead many to one. Of their wishes for reports the widest is kept.
func Collapse(all []message.Recipient) []message.Recipient {
	var kept []message.Recipient
	at := map[message.Address]int{}
	for _, r := range all {
		i, known := at[r.Address]
		if !known {
			at[r.Address] = len(kept)
			kept = append(kept, r)
			continue
		}
		kept[i].Notify = widest(kept[i].Notify, r.Notify)
	}
	return kept
}

// widest joins two NOTIFY parameters (RFC 3461, section 4.1): none leaves
// reports of failure to the usual, NEVER gives way to all.
func widest(a, b []string) []string {
	switch {
	case slices.Contains(a, "NEVER"):
		return b
	case slices.Contains(b, "NEVER"):
		return a
	case len(a) == 0 || len(b) == 0:
		return nil
	}
	joined := slices.Clone(a)
	for _, n := range b {
		if !slices.Contains(joined, n) {
			joined = append(joined, n)
		}
	}
	return joined
}
