package policy

import (
	"time"

	"postern/relay/message"
	"postern/relay/setting"
)

// Config is the policy section of the configuration.
type Config struct {
	Limits Limits `yaml:"limits"`
	Ban    Ban    `yaml:"ban"`
}

// DefaultConfig is the section as it is when nothing is written.
func DefaultConfig() Config {
	return Config{
		Limits: Limits{PerIP: PerIP{Connections: 200}},
		Ban:    Ban{After: 10, Within: setting.Duration(10 * time.Minute), For: setting.Duration(time.Hour)},
	}
}

// Limits hold for every account; 0 is none.
type Limits struct {
	// RecipientsPerMessage bounds the RCPT commands of one transaction.
	RecipientsPerMessage int `yaml:"recipients_per_message"`
	// Size bounds a message as received, in octets (RFC 1870).
	Size setting.Size `yaml:"size"`
	// PerAccount bounds what each account may send, and each user of an account
	// that stands for many.
	PerAccount Rates `yaml:"per_account"`
	// PerIP bounds each client address.
	PerIP PerIP `yaml:"per_ip"`
}

// Rates bound what is accepted in any period of that length; zero is no limit.
type Rates struct {
	Messages   setting.Rate `yaml:"messages"`
	Recipients setting.Rate `yaml:"recipients"`
}

// PerIP are the limits of one IPv4 address or IPv6 /64.
type PerIP struct {
	// Connections is how many may be open at once. Default 200.
	Connections int `yaml:"connections"`
}

// Check reports a limit that lets nobody in.
func (p PerIP) Check(bad func(key, format string, args ...any)) {
	if p.Connections <= 0 {
		bad("connections", "%d would let nobody in; write how many one address may have open at once, such as 200", p.Connections)
	}
}

// Check reports limits that no message could keep.
func (l Limits) Check(bad func(key, format string, args ...any)) {
	if l.RecipientsPerMessage < 0 {
		bad("recipients_per_message", "%d is negative; write how many recipients a message may have, or 0 for no limit", l.RecipientsPerMessage)
	}
}

// Ban says when those who guess passwords are shut out.
type Ban struct {
	// After is how many failed logins ban an account name from the address they
	// came from, and twice as many names that fail ban the address; 0: never.
	// Default 10.
	After int `yaml:"after"`
	// Within is the time in which they are counted. Default 10m.
	Within setting.Duration `yaml:"within"`
	// For is how long a ban lasts. Default 1h.
	For setting.Duration `yaml:"for"`
}

// maxAfter bounds what is remembered of each failing name.
const maxAfter = 1000

// Check reports a ban that could not work.
func (b Ban) Check(bad func(key, format string, args ...any)) {
	if b.After > maxAfter {
		bad("after", "%d is more than %d, which would be no protection; write about 10, or 0 for no bans at all", b.After, maxAfter)
	}
	if b.Within <= 0 {
		bad("within", "it must be longer than nothing; write the time in which failed logins are counted, such as 10m")
	}
	if b.For <= 0 {
		bad("for", "it must be longer than nothing; write how long a ban lasts, such as 1h, or ban nobody with after: 0")
	}
}

// Account is what policy needs of an entry of accounts.
type Account struct {
	// Senders are the addresses the account may send as: the envelope sender
	// and every address in From and Sender. Empty: none.
	Senders message.Patterns `yaml:"senders"`
	// OwnAddresses lets everybody who logs in to it also send as the addresses
	// that a directory says are theirs.
	OwnAddresses bool `yaml:"own_addresses"`
	// Recipients are the addresses it may send to; empty: all.
	Recipients message.Patterns `yaml:"recipients"`
	// NullSender lets it use MAIL FROM:<>.
	NullSender bool `yaml:"null_sender"`
	// Limits are the account's own; the stricter of both holds.
	Limits AccountLimits `yaml:"limits"`
	// ResendWindow is how long the same message of the account is taken for one
	// sent again: it is answered as before and goes out once. 0 is never.
	ResendWindow setting.Duration `yaml:"resend_window"`
}

// maxResendWindow keeps a day's equal reports from being taken for one.
const maxResendWindow = setting.Duration(time.Hour)

// Check reports an account that could send nothing.
func (a Account) Check(bad func(key, format string, args ...any)) {
	if len(a.Senders) == 0 && !a.OwnAddresses {
		bad("senders", "it is missing, so the account could send nothing; list what may stand in From, such as scan@example.com or @example.com")
	}
	if a.ResendWindow > maxResendWindow {
		bad("resend_window", "%s would take messages for one that only look alike; write at most %s, such as 2m", a.ResendWindow, maxResendWindow)
	}
}

// AccountLimits hold for one account; zero is none.
type AccountLimits struct {
	// Messages and Recipients bound what is accepted in any period of that length.
	Messages   setting.Rate `yaml:"messages"`
	Recipients setting.Rate `yaml:"recipients"`
	// Size bounds a message as received, in octets.
	Size setting.Size `yaml:"size"`
}
