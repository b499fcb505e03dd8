package smtp

import (
	"postern/relay/message"
	"postern/relay/upstream/transport"
)

// judgeEnd is what the reply to the content means: ended when the final dot may
// have been sent. A positive one to content that was never ended is nonsense,
// as is one that is neither positive nor negative.
func (t *transaction) judgeEnd(reply message.Reply) transport.Result {
	switch {
	case reply.Positive() && t.ended:
		return transport.Result{Result: message.Result{Outcome: message.Delivered, Reply: reply, RemoteID: remoteID(reply.Text)}}
	case reply.Code/100 == 3 && t.ended:
		return transport.Result{Result: message.Result{Outcome: message.Uncertain, Reply: reply}}
	}
	return t.judge(transport.AtEnd, reply)
}

// loginLost tells whether a reply to MAIL asks for AUTH (RFC 4954, section 6).
func loginLost(reply message.Reply) bool { return reply.Code == 530 }
