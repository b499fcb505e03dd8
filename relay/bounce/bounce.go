// Package bounce answers: what does the sender learn? It writes the mail that
// tells people what became of theirs.
//
// It leaves to others what that is (queue), to make a report durable together
// with the failure it is about (queue again), and to send it (relay). All of it
// is functions of what they are given; nothing here waits, counts or keeps.
//
// There are three kinds of mail:
//
//	report  to the sender of one message: recipients that failed, or to whom it was
//	        passed on where nobody else will say so (RFC 3461, RFC 3464); plain
//	        words first, then the same for programs, then what was sent
//	delay   the same, once, of what waits longer than usual
//	digest  to the postmaster, about the failures of many messages by their cause
//
// Which of them an account gets is its policy: dsn, digest or none. Whatever
// that is, nobody gets a report who has asked for none (NOTIFY), and there is
// never a report about a report: these have no return path.
package bounce

import (
	"slices"
	"time"

	"postern/relay/message"
	"postern/relay/setting"
)

// Policies of an account.
const (
	// DSN: the sender of each message is told.
	DSN = "dsn"
	// Digest: the postmaster is told of all failures together.
	Digest = "digest"
	// None: nobody is told.
	None = "none"
)

// Policies are all of them.
var Policies = []string{DSN, Digest, None}

// Account is what bounce needs of an entry of accounts.
type Account struct {
	// Bounce is who is told of mail that failed: "dsn", "digest" or "none".
	// Default: digest for a trusted account where there is a postmaster, as
	// nobody reads the mail of such devices; else dsn.
	Bounce string `yaml:"bounce"`
}

// Check reports a policy that is none.
func (a Account) Check(bad func(key, format string, args ...any)) {
	if a.Bounce != "" && !slices.Contains(Policies, a.Bounce) {
		bad("bounce", "%q is not a choice; write dsn (the sender is told of each message), digest (the postmaster of all together) or none", a.Bounce)
	}
}

// Policy is that of an account that is trusted by its address alone or not, where
// there is a postmaster or not.
func (a Account) Policy(trusted, postmaster bool) string {
	switch {
	case a.Bounce != "":
		return a.Bounce
	case trusted && postmaster:
		return Digest
	}
	return DSN
}

// Config is the digest section of the configuration.
type Config struct {
	// Every is how long failures are gathered before the postmaster is told of
	// them. Default 1h.
	Every setting.Duration `yaml:"every"`
}

// DefaultConfig is the section when nothing is written.
func DefaultConfig() Config { return Config{Every: setting.Duration(time.Hour)} }

// Check reports an interval that is too short to gather anything.
func (c Config) Check(bad func(key, format string, args ...any)) {
	if c.Every.Std() < time.Second {
		bad("every", "%s is too short to gather anything; write something like 1h", c.Every)
	}
}

// Action is what has become of a recipient (RFC 3464, section 2.3.3).
type Action string

// The actions reported on. A message that was delivered is "relayed": we hand it
// on, and cannot know more.
const (
	Failed  Action = "failed"
	Delayed Action = "delayed"
	Relayed Action = "relayed"
)

// Wanted tells whether a sender who said that in NOTIFY is to be told of it (RFC
// 3461, section 4.1). One who said nothing is told of failures and delays.
func Wanted(action Action, notify []string) bool {
	if len(notify) == 0 {
		return action != Relayed
	}
	return slices.Contains(notify, map[Action]string{Failed: "FAILURE", Delayed: "DELAY", Relayed: "SUCCESS"}[action])
}

// Author is who writes.
type Author struct {
	// Hostname is our full name.
	Hostname string
	// Postmaster is whom people may ask; the zero Address if nobody is named.
	Postmaster message.Address
	// Explain puts what the upstream of that name said into plain words, and tells
	// an administrator what to do; "" where it knows nothing better than this
	// package does.
	Explain func(upstream string, reply message.Reply) (meaning, hint string)
}

// Case is what became of one recipient.
type Case struct {
	message.Recipient
	// Upstream is whom we last tried, by its name in the configuration; Remote is
	// the name of its server, "" for one that does not speak SMTP.
	Upstream, Remote string
	// Reply is the last word of the upstream, or ours with Code 0.
	Reply message.Reply
	// Expired: there was no more time to try. Uncertain: it may have arrived.
	Expired, Uncertain bool
	// Attempt is when it was tried last, Until when it will be given up; zero
	// when that is not known, or has no meaning.
	Attempt, Until time.Time
}
