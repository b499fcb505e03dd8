package upstream

import (
	"strings"

	"postern/relay/message"
)

// stage is the command a reply answers.
type stage int

const (
	atMail stage = iota
	atRcpt
	atData
	atEnd // the final dot
)

// judge is what a reply that carries nothing out means for a recipient:
// refused for good, or to be tried again. What is not clearly for good is
// temporary.
//
//   - 5yz is for good, but not when its enhanced code is of another class.
//   - 500, 502, 503 and 555 say that the session went wrong, not the mail.
//   - 552 to RCPT is "too many recipients" (RFC 5321, section 4.5.3.1.10)
//     unless its enhanced code says something else, such as a full mailbox.
func judge(at stage, reply message.Reply) message.Result {
	result := message.Result{Outcome: message.Deferred, Reply: reply}
	agrees := reply.Enhanced == "" || strings.HasPrefix(reply.Enhanced, "5.")
	tooMany := at == atRcpt && reply.Code == 552 && (reply.Enhanced == "" || reply.Enhanced == "5.5.3")
	if reply.Permanent() && agrees && !tooMany && !sessionFault(reply) {
		result.Outcome = message.Failed
	}
	return result
}

// judgeEnd is what the reply to the content means: ended when the final dot may
// have been sent. A positive one to content that was never ended is nonsense,
// as is one that is neither positive nor negative.
func judgeEnd(reply message.Reply, ended bool) message.Result {
	switch {
	case reply.Positive() && ended:
		return message.Result{Outcome: message.Delivered, Reply: reply, RemoteID: remoteID(reply.Text)}
	case reply.Code/100 == 3 && ended:
		return message.Result{Outcome: message.Uncertain, Reply: reply}
	}
	return judge(atEnd, reply)
}

// sessionFault tells whether a reply is about the session rather than the mail.
func sessionFault(reply message.Reply) bool {
	switch reply.Code {
	case 500, 502, 503, 555:
		return true
	}
	return false
}

// loginLost tells whether a reply to MAIL asks for AUTH (RFC 4954, section 6).
func loginLost(reply message.Reply) bool { return reply.Code == 530 }

// own is a result the upstream was not asked for, or did not answer.
func own(outcome message.Outcome, enhanced, text string) message.Result {
	return message.Result{Outcome: outcome, Reply: message.Reply{Enhanced: enhanced, Text: text}}
}
