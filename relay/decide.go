package relay

import (
	"cmp"
	"errors"
	"time"

	"postern/policy"
	"postern/relay/message"
	"postern/relay/upstream/transport"
	"postern/rewrite"
)

// What is decided of a submission, step by step, by one configuration alone: the
// gateway asks it of mail, and Explain of what mail would be. Refusals are a
// *policy.Refusal.

// sender is decided at MAIL: which return path rules make of m.From, and
// whether the account may use it.
func (s *stations) sender(m *message.Message) error {
	from, changes, err := s.rewrite.Sender(m.Client, m.From)
	if err != nil {
		return byRule(err)
	}
	m.From = from
	if err := s.policy.Sender(m.Client, m.From); err != nil {
		return err
	}
	if err := s.leads(m, message.Address{}, transport.Load{Size: m.DeclaredSize, UTF8: m.From.NeedsUTF8()}); err != nil {
		return err
	}
	m.Changes = rewrite.Add(m.Changes, changes...)
	return nil
}

// recipient is decided at RCPT: to whom rules send what is meant for r, and
// whether the account may send there.
func (s *stations) recipient(m *message.Message, r message.Recipient) (message.Recipient, []message.Change, error) {
	r, changes, err := s.rewrite.Recipient(m.Client, r)
	if err != nil {
		return r, nil, byRule(err)
	}
	if err := s.policy.Recipient(m.Client, len(m.To), r.Address); err != nil {
		return r, nil, err
	}
	return r, changes, s.leads(m, r.Address, transport.Load{UTF8: r.Address.NeedsUTF8()})
}

// complete is decided at the end of DATA: what the message looks like that may
// leave, whether the account may send it, and the lane that each recipient waits
// in. One of its upstreams can take it, as far as is known.
func (s *stations) complete(m *message.Message, now time.Time) (lanes []string, err error) {
	m.To = rewrite.Collapse(m.To)
	changes, err := s.rewrite.Complete(m, now)
	if err != nil {
		return nil, err
	}
	m.Changes = rewrite.Add(m.Changes, changes...)
	if err := cmp.Or(s.policy.Envelope(m), s.policy.Message(m)); err != nil {
		return nil, err
	}
	return s.lanes(m)
}

// byRule is the refusal of a rewriting rule.
func byRule(err error) error {
	var reply *message.Reply
	if errors.As(err, &reply) {
		return &policy.Refusal{Rule: "rewrite", Reply: reply}
	}
	return err
}
