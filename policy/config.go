package policy

import (
	"postern/relay/message"
	"postern/relay/setting"
)

// Config is the policy section of the configuration.
type Config struct {
	Limits Limits `yaml:"limits"`
}

// Limits hold for every account; 0 is none.
type Limits struct {
	// RecipientsPerMessage bounds the RCPT commands of one transaction.
	RecipientsPerMessage int `yaml:"recipients_per_message"`
	// Size bounds a message as received, in octets (RFC 1870).
	Size setting.Size `yaml:"size"`
}

// Check reports limits that no message could keep.
func (l Limits) Check(bad func(key, format string, args ...any)) {
	if l.RecipientsPerMessage < 0 {
		bad("recipients_per_message", "%d is negative; write how many recipients a message may have, or 0 for no limit", l.RecipientsPerMessage)
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
}

// Check reports an account that could send nothing.
func (a Account) Check(bad func(key, format string, args ...any)) {
	if len(a.Senders) == 0 && !a.OwnAddresses {
		bad("senders", "it is missing, so the account could send nothing; list what may stand in From, such as scan@example.com or @example.com")
	}
}

// AccountLimits hold for one account; 0 is none.
type AccountLimits struct {
	// Size bounds a message as received, in octets.
	Size setting.Size `yaml:"size"`
}
