package transport

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"postern/relay/message"
)

// Stage is the step that a reply answers.
type Stage string

// Stages of a delivery, in order. AtRequest is the whole of one by an HTTP API.
const (
	AtGreeting Stage = "greeting"
	AtAuth     Stage = "auth"
	AtMail     Stage = "mail"
	AtRcpt     Stage = "rcpt"
	AtData     Stage = "data"
	AtEnd      Stage = "end" // the final dot
	AtRequest  Stage = "request"
)

// Action is what a reply asks of us beside what it means for its recipient.
type Action string

const (
	// Nothing beside the outcome of the recipient.
	Nothing Action = ""
	// Slow: this was too much at once; send less through the mailbox.
	Slow Action = "slow"
	// Hold: the upstream takes nothing, whatever it is, until a time: a quota.
	Hold Action = "hold"
	// Reauth: get another token and try once more, then Configure.
	Reauth Action = "reauth"
	// Configure: the upstream takes nothing until a person has changed something.
	Configure Action = "configure"
	// Failover: another upstream may take the message for this recipient now.
	Failover Action = "failover"
	// Split: the recipient belongs into a transaction of its own.
	Split Action = "split"
)

// Advice is what a reply asks of us.
type Advice struct {
	Action Action
	// For is how long to hold or to wait before the next attempt; 0: the usual.
	For time.Duration
	// Meaning is the reply in plain words, and Hint what to do about it, each ""
	// when there is nothing to add to its text.
	Meaning, Hint string
}

// Result is how one recipient fared, and what the reply asks of us.
type Result struct {
	message.Result
	Advice Advice
}

// Judge says what a reply means that does not carry out what was asked for: the
// recipient has failed, or is to be tried again.
type Judge func(at Stage, reply message.Reply) Result

// Usual is the Judge who knows no provider. What is not clearly for good is
// temporary.
//
//   - 5yz is for good, but not when its enhanced code is of another class.
//   - 500, 502, 503 and 555 say that the session went wrong, not the mail.
//   - 452 and 552 to RCPT are "too many recipients" (RFC 5321, section 4.5.3.1.10)
//     unless the enhanced code says something else, such as a full mailbox: the
//     recipient belongs into the next transaction.
//   - At a request the code is a status of HTTP.
func Usual(at Stage, reply message.Reply) Result {
	if at == AtRequest {
		return usualOfHTTP(reply)
	}
	result := message.Result{Outcome: message.Deferred, Reply: reply}
	agrees := reply.Enhanced == "" || strings.HasPrefix(reply.Enhanced, "5.")
	tooMany := at == AtRcpt && (reply.Code == 452 || reply.Code == 552) && slices.Contains([]string{"", "4.5.3", "5.5.3"}, reply.Enhanced)
	if tooMany {
		return Result{Result: result, Advice: Advice{Action: Split}}
	}
	if reply.Permanent() && agrees && !SessionFault(reply) {
		result.Outcome = message.Failed
	}
	return Result{Result: result}
}

// SessionFault tells whether a reply is about the session rather than the mail.
func SessionFault(reply message.Reply) bool {
	return slices.Contains([]int{500, 502, 503, 555}, reply.Code)
}

// Own is a result the upstream was not asked for, or did not answer.
func Own(outcome message.Outcome, enhanced, format string, args ...any) Result {
	return Result{Result: message.Result{Outcome: outcome, Reply: message.Reply{Enhanced: enhanced, Text: fmt.Sprintf(format, args...)}}}
}
