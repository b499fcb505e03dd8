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
	if _, err := s.lane(m, transport.Load{Size: m.DeclaredSize, UTF8: m.From.NeedsUTF8()}); err != nil {
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
	_, err = s.lane(m, transport.Load{UTF8: r.Address.NeedsUTF8()})
	return r, changes, err
}

// complete is decided at the end of DATA: what the message looks like that may
// leave, whether the account may send it, and the lane it waits in. One of the
// lane's upstreams can take it, as far as is known.
func (s *stations) complete(m *message.Message, now time.Time) (lane string, err error) {
	m.To = rewrite.Collapse(m.To)
	changes, err := s.rewrite.Complete(m, now)
	if err != nil {
		return "", err
	}
	m.Changes = rewrite.Add(m.Changes, changes...)
	if err := cmp.Or(s.policy.Envelope(m), s.policy.Message(m)); err != nil {
		return "", err
	}
	if lane, err = s.lane(m, transport.Load{}); err != nil {
		return "", err
	}
	if reply := s.carried(m, lane); reply != nil {
		return "", &policy.Refusal{Rule: "carry", Reply: reply}
	}
	return lane, nil
}

// lane is where m waits for its turn, or the refusal of mail that no route takes
// or no upstream of the route can carry: better told now than bounced later.
func (s *stations) lane(m *message.Message, load transport.Load) (string, error) {
	lane, ok := s.upstreams.Lane(m.Client.Account, m.From)
	if !ok {
		return "", &policy.Refusal{Rule: "route", Reply: message.Refuse(550, "5.7.1",
			"no route takes mail from <%s>; the administrator can add its domain to a route's senders", m.From)}
	}
	if reply := s.upstreams.Carries(lane, load); reply != nil {
		return "", &policy.Refusal{Rule: "carry", Reply: reply}
	}
	return lane, nil
}

// byRule is the refusal of a rewriting rule.
func byRule(err error) error {
	var reply *message.Reply
	if errors.As(err, &reply) {
		return &policy.Refusal{Rule: "rewrite", Reply: reply}
	}
	return err
}
