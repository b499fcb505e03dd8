package policy

import (
	"fmt"
	"slices"
	"time"

	"postern/relay/message"
	"postern/relay/setting"
)

// limit is one bound on what a sender may send.
type limit struct {
	// rule is its name in metrics, key the one in the configuration.
	rule, key  string
	rate       setting.Rate
	recipients bool // it counts these, not messages
}

// Limited is the refusal of what would be too much for now.
type Limited struct {
	// Rule is one of a fixed set: messages and recipients of the account's own
	// limits, per_account_messages and per_account_recipients of those for all.
	Rule string
	// Until is when it will be accepted, if nothing else is sent until then.
	Until time.Time
	Reply *message.Reply
}

func (l *Limited) Error() string { return l.Reply.Error() }

// Unwrap lets errors.As find the reply.
func (l *Limited) Unwrap() error { return l.Reply }

// limits are those of the account, its own first.
func (p *Policy) limitsOf(account string) []limit {
	own, all := p.accounts[account].Limits, p.limits.PerAccount
	return slices.DeleteFunc([]limit{
		{"messages", "limits.messages of the account", own.Messages, false},
		{"recipients", "limits.recipients of the account", own.Recipients, true},
		{"per_account_messages", "policy.limits.per_account.messages", all.Messages, false},
		{"per_account_recipients", "policy.limits.per_account.recipients", all.Recipients, true},
	}, func(l limit) bool { return l.rate.IsZero() })
}

// Limits tells a person what may be sent by the account in which time, by the
// key of the configuration that says so.
func (p *Policy) Limits(account string) map[string]string {
	all := map[string]string{}
	for _, l := range p.limitsOf(account) {
		all[l.key] = l.rate.String()
	}
	return all
}

// periods are those of all limits, the shortest first.
func (p *Policy) periods() []time.Duration {
	var all []time.Duration
	for account := range p.accounts {
		for _, l := range p.limitsOf(account) {
			all = append(all, l.rate.Per)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Recount fills the windows that p needs from the history, unless u has them.
func (p *Policy) Recount(u *Usage, history History) error {
	periods := p.periods()
	if u.has(periods) {
		return nil
	}
	return u.recount(periods, history)
}

func (u *Usage) has(periods []time.Duration) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Equal(u.periods, periods)
}

// Room tells whether the limits leave room for one more message to that many
// recipients. The error is a *Limited.
func (p *Policy) Room(u *Usage, c message.Client, recipients int) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return p.room(u, c, recipients)
}

// Reserve takes the room for a message to that many recipients. The error is a
// *Limited.
func (p *Policy) Reserve(u *Usage, c message.Client, recipients int) (*Reservation, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.periods) == 0 {
		return &Reservation{}, nil // nobody is limited, so nothing is counted
	}
	if err := p.room(u, c, recipients); err != nil {
		return nil, err
	}
	r := &Reservation{usage: u, sender: sender{c.Account, c.User}, amount: amount{1, recipients}}
	user := u.of(r.sender, time.Since(u.epoch))
	user.reserved.messages++
	user.reserved.recipients += recipients
	return r, nil
}

// room is Room with u locked.
func (p *Policy) room(u *Usage, c message.Client, recipients int) error {
	limits := p.limitsOf(c.Account)
	if len(limits) == 0 {
		return nil
	}
	now := time.Since(u.epoch)
	l, at, ok := u.room(sender{c.Account, c.User}, limits, amount{1, recipients}, now)
	if ok {
		return nil
	}
	until := u.epoch.Add(at)
	return &Limited{Rule: l.rule, Until: until, Reply: l.refuse(c, until)}
}

// refuse says which limit is reached, whose, and when to come back. 450 is for
// what is temporarily blocked for policy reasons (RFC 5321, section 4.2.2).
func (l limit) refuse(c message.Client, until time.Time) *message.Reply {
	who, what := "account "+brief(c.Account), "messages"
	if c.User != "" {
		who = "user " + brief(c.User) + " of " + who
	}
	if l.recipients {
		what = "recipients"
	}
	return message.Refuse(450, "4.7.1", "%s has reached its limit for %s, %d per %s (%s); try again after %s",
		who, what, l.rate.Count, perName(l.rate.Per), l.key, Clock(until))
}

// perName is the period of a rate in words.
func perName(per time.Duration) string {
	switch per {
	case time.Second:
		return "second"
	case time.Minute:
		return "minute"
	case time.Hour:
		return "hour"
	case 24 * time.Hour:
		return "day"
	}
	return per.String()
}

// Clock is a time as a person reads it, rounded up.
func Clock(t time.Time) string {
	t = t.UTC()
	if whole := t.Truncate(time.Second); whole.Before(t) {
		t = whole.Add(time.Second)
	}
	return fmt.Sprint(t.Format("2006-01-02 15:04:05"), " UTC")
}
