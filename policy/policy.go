package policy

import (
	"slices"

	"postern/relay/message"
)

// Policy judges by one configuration. It never changes and is safe for
// concurrent use.
type Policy struct {
	limits   Limits
	accounts map[string]Account
}

// New makes a Policy. The key of accounts is the account's Name.
func New(cfg Config, accounts map[string]Account) *Policy {
	return &Policy{limits: cfg.Limits, accounts: accounts}
}

// MaxSize is the largest message the account may send, in octets: the stricter
// of its own limit and that for all; 0 is no limit.
func (p *Policy) MaxSize(account string) int64 {
	all, own := int64(p.limits.Size), int64(p.accounts[account].Limits.Size)
	if own > 0 && (all == 0 || own < all) {
		return own
	}
	return all
}

// Sender judges the envelope sender, at MAIL. The error is a *Refusal.
func (p *Policy) Sender(c message.Client, from message.Address) error {
	account, ok := p.accounts[c.Account]
	switch {
	case !ok:
		return unknownAccount("sender", c.Account)
	case from.IsNull() && !account.NullSender:
		return refuse("null_sender", 550, "5.7.1", "account %s may not use the null sender <>; use one of its senders: %s",
			brief(c.Account), some(account.Senders))
	case !from.IsNull() && !account.mayBe(c, from):
		return mayNotSendAs("sender", c, from, "as the envelope sender", account)
	}
	return nil
}

// Recipient judges one recipient, at RCPT; already is how many the transaction
// has. The error is a *Refusal.
func (p *Policy) Recipient(c message.Client, already int, to message.Address) error {
	account, ok := p.accounts[c.Account]
	most := p.limits.RecipientsPerMessage
	switch {
	case !ok:
		return unknownAccount("recipient", c.Account)
	case len(account.Recipients) > 0 && !account.Recipients.Match(to):
		return refuse("recipient", 550, "5.7.1", "account %s may not send to <%s>; allowed: %s",
			brief(c.Account), brief(to.String()), some(account.Recipients))
	case most > 0 && already >= most:
		return refuse("recipients_per_message", 452, "4.5.3", "a message may have %d recipients; send to the others in another one", most)
	}
	return nil
}

// Envelope judges sender and recipients once more before m is taken: a reload
// may have come after MAIL and RCPT. The error is a *Refusal.
func (p *Policy) Envelope(m *message.Message) error {
	if err := p.Sender(m.Client, m.From); err != nil {
		return err
	}
	for i, to := range m.To {
		if err := p.Recipient(m.Client, i, to.Address); err != nil {
			return err
		}
	}
	return nil
}

// Message judges the names m would leave under: every address in its From and
// Sender fields. It is asked once the header is complete. The error is a
// *Refusal.
func (p *Policy) Message(m *message.Message) error {
	account, ok := p.accounts[m.Client.Account]
	if !ok {
		return unknownAccount("from", m.Client.Account)
	}
	authors := 0
	for _, name := range []string{"From", "Sender"} {
		found, err := mailboxes(m.Header, name)
		if err != nil {
			return err
		}
		for _, a := range found {
			if !account.mayBe(m.Client, a) {
				return mayNotSendAs("from", m.Client, a, "in the "+name+" field", account)
			}
		}
		if name == "From" {
			authors = len(found)
		}
	}
	return checkAuthors(m.Header, authors)
}

// mayBe tells whether c, who logged in to the account, may send as a.
func (a Account) mayBe(c message.Client, address message.Address) bool {
	return a.Senders.Match(address) || a.OwnAddresses && slices.ContainsFunc(c.Addresses, address.EqualFold)
}

// mailboxes are the addresses of every field of that name.
func mailboxes(h message.Header, name string) ([]message.Address, error) {
	var all []message.Address
	for _, f := range h.All(name) {
		found, err := message.ParseMailboxes(f.Value())
		if err != nil {
			return nil, refuse("from", 550, "5.6.0", "the %s field cannot be read: %v; write it like \"Scanner 3F\" <scan@example.com>", name, err)
		}
		all = append(all, found...)
	}
	return all, nil
}

// checkAuthors refuses a header that leaves open who sent the message: without
// an author, with From or Sender twice, or with several authors and no Sender
// to say which of them it was (RFC 5322, section 3.6.2).
func checkAuthors(h message.Header, authors int) error {
	from, sender := len(h.All("From")), len(h.All("Sender"))
	switch {
	case from != 1 || sender > 1:
		return refuse("from", 550, "5.6.0", "the message has %d From and %d Sender fields; it needs one From and at most one Sender", from, sender)
	case authors > 1 && sender == 0:
		return refuse("from", 550, "5.6.0", "the From field names %d mailboxes; add a Sender field that says which of them sends", authors)
	}
	return nil
}
