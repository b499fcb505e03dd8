package rewrite

import (
	"fmt"
	"time"

	"postern/relay/message"
)

// Rewrite completes messages by one configuration. It is safe for concurrent
// use.
type Rewrite struct {
	remove      []string
	hideClient  bool
	defaultFrom map[string]string // by account; as a From value
	own         map[string]bool   // accounts whose people send as themselves
	hostname    string
}

// New makes a Rewrite for the gateway of that name. The key of accounts is
// the account's Name.
func New(cfg Config, accounts map[string]Account, hostname string) (*Rewrite, error) {
	r := &Rewrite{remove: cfg.Remove, hideClient: cfg.HideClient, defaultFrom: map[string]string{}, own: map[string]bool{}, hostname: hostname}
	for name, account := range accounts {
		from, err := account.from()
		if err != nil {
			return nil, fmt.Errorf("account %s: default_from %q: %w", name, account.DefaultFrom, err)
		}
		r.defaultFrom[name] = from
		r.own[name] = account.OwnAddresses
	}
	return r, nil
}

// Complete fills in what a submission may lack (RFC 6409, section 8), takes
// out what must not travel, puts our Received on top and returns what it
// changed besides. It replaces m.Header and nothing else; fields it does not
// name keep every byte and their order. The error is a *message.Reply, and m
// is then as it was.
func (r *Rewrite) Complete(m *message.Message, now time.Time) ([]message.Change, error) {
	if err := r.checkLoop(m.Header); err != nil {
		return nil, err
	}
	if err := checkSingle(m.Header); err != nil {
		return nil, err
	}
	e := edit{header: m.Header}
	r.strip(&e)
	if err := r.completeFrom(&e, m); err != nil {
		return nil, err
	}
	for _, name := range []string{"From", "Sender"} {
		if err := checkAuthor(e.header, name, m.SMTPUTF8); err != nil {
			return nil, err
		}
	}
	e.ensure("date", "Date", now.Format(time.RFC1123Z))
	// Made of the queue id, so that a message never gets a second one.
	e.ensure("message-id", "Message-ID", "<"+m.ID+"@"+r.hostname+">")
	m.Header = e.header.Prepend(message.Received(m, r.hostname, r.hideClient))
	return e.changes, nil
}

// strip takes out the fields that must not travel: Bcc would tell recipients of
// others, Return-Path is written at final delivery only (RFC 5321, section
// 4.4), and Content-Length is wrong as soon as anything changes.
func (r *Rewrite) strip(e *edit) {
	for _, name := range []string{"Bcc", "Resent-Bcc"} {
		e.remove("bcc", name)
	}
	for _, name := range append([]string{"Return-Path", "Content-Length"}, r.remove...) {
		e.remove("remove", name)
	}
}

// completeFrom gives a message without From the first own address of who sends
// it, where such are allowed, else the account's default_from, else its
// envelope sender.
func (r *Rewrite) completeFrom(e *edit, m *message.Message) error {
	value := r.defaultFrom[m.Client.Account]
	if r.own[m.Client.Account] && len(m.Client.Addresses) > 0 {
		value = m.Client.Addresses[0].String()
	}
	if value == "" {
		value = m.From.String()
	}
	if _, err := message.ParseMailboxes(value); err != nil && e.header.Get("From") == "" {
		return message.Refuse(550, "5.6.0", "the message has no From field, and the envelope sender <%.80s> cannot stand in for it: "+
			"put a From field in the message, or set default_from for account %.64s", value, m.Client.Account)
	}
	e.ensure("from", "From", value)
	return nil
}
