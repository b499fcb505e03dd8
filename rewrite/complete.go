package rewrite

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"postern/relay/message"
)

// Rewrite applies the rules of one configuration, and completes messages. It
// is safe for concurrent use.
type Rewrite struct {
	rules      chain
	fields     []fieldRule
	remove     []string
	hideClient bool
	accounts   map[string]account
	hostname   string
}

// New makes a Rewrite for the gateway of that name. The key of accounts is
// the account's Name.
func New(cfg Config, rules []Rule, accounts map[string]Account, hostname string) (*Rewrite, error) {
	r := &Rewrite{remove: cfg.Remove, hideClient: cfg.HideClient, accounts: map[string]account{}, hostname: hostname}
	var err error
	for name, a := range accounts {
		if r.accounts[name], err = a.compile(); err != nil {
			return nil, fmt.Errorf("account %s: default_from %q: %w", name, a.DefaultFrom, err)
		}
	}
	if r.rules, err = compile(rules); err != nil {
		return nil, err
	}
	r.fields = cfg.compile(func(key, format string, args ...any) {
		err = fmt.Errorf("headers.%s: %s", key, fmt.Sprintf(format, args...))
	})
	return r, err
}

// Complete makes what a client submitted a message that may leave, as the
// package's comment tells, and returns what it changed besides Received. It
// replaces m.Header and nothing else; fields it does not name keep every byte
// and their order. The error is a *message.Reply, and m is then as it was.
func (r *Rewrite) Complete(m *message.Message, now time.Time) ([]message.Change, error) {
	if err := r.checkLoop(m.Header); err != nil {
		return nil, err
	}
	if err := checkSingle(m.Header); err != nil {
		return nil, err
	}
	e := edit{header: m.Header}
	r.strip(&e)
	r.repair(&e, m, now)
	if err := r.completeFrom(&e, m); err != nil {
		return nil, err
	}
	if err := r.readdress(&e, m.Client); err != nil {
		return nil, err
	}
	r.disguise(&e, m)
	r.addFields(&e, m)
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

// readdress leads every address in the fields that hold any through the rules.
// What cannot be read in To, Cc and Reply-To stays as it is; From and Sender are
// refused in that case, later.
func (r *Rewrite) readdress(e *edit, c message.Client) error {
	rules := r.rules.forClient(c, inHeader)
	if len(rules) == 0 {
		return nil
	}
	header := slices.Clone(e.header)
	var changes ledger
	for i, f := range header {
		at := placeNamed(f.Name()) & inHeader
		if at == 0 {
			continue
		}
		var refused error
		next, _ := f.Readdress(func(a message.Address) message.Address {
			to, err := rules.pass(at, a, func(r *rule, before, after message.Address) {
				changes.note(r.name, f.Name(), before.String(), after.String())
			})
			refused = cmp.Or(refused, err)
			return to
		})
		if refused != nil {
			return refused
		}
		header[i] = next
	}
	e.header = header
	e.changes = append(e.changes, changes...)
	return nil
}

// completeFrom gives a message without From the first own address of who sends
// it, where such are allowed, else the account's default_from, else its
// envelope sender.
func (r *Rewrite) completeFrom(e *edit, m *message.Message) error {
	value, _ := r.accounts[m.Client.Account].usual(m.Client)
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
