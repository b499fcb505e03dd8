package bounce

import (
	"strings"

	"postern/relay/message"
)

// meaning is a reply in plain words, and what the sender can do about it; hint is
// what those can do who look after the mail.
type meaning struct{ what, todo, hint string }

// Whom a sender can ask.
const askRecipient = "ask the person you are writing to for the address they use now"

// meanings are those of enhanced status codes (RFC 3463, with the codes
// registered since) without their class: subject and detail.
var meanings = map[string]meaning{
	"1.0":  {what: "There is a problem with this address.", todo: "Look for a typing error in the address, or " + askRecipient + ". Then send your message again."},
	"1.1":  {what: "There is no mailbox with this address.", todo: "Look for a typing error in the address, or " + askRecipient + ". Then send your message again."},
	"1.2":  {what: "The part of the address after the @ does not exist.", todo: "Look for a typing error in the address, or " + askRecipient + ". Then send your message again."},
	"1.3":  {what: "The address is not written the way addresses are.", todo: "Look for a typing error in the address, and send your message again."},
	"1.6":  {what: "The mailbox has moved, and its new address is not known.", todo: "To reach the person another way, " + askRecipient + "."},
	"1.7":  {what: "Your own address, as the message gave it, was not accepted.", todo: "Ask whoever looks after your mail: the address you send as has to be corrected."},
	"1.8":  {what: "Your own address, as the message gave it, was not accepted.", todo: "Ask whoever looks after your mail: the address you send as has to be corrected."},
	"1.10": {what: "The part of the address after the @ takes no mail.", todo: "Look for a typing error in the address, or " + askRecipient + ". Then send your message again."},
	"2.0":  {what: "The mailbox could not take the message.", todo: "Try again later, or reach the person another way."},
	"2.1":  {what: "The mailbox has been closed.", todo: "To reach the person another way, " + askRecipient + "."},
	"2.2":  {what: "The mailbox is full.", todo: "Tell the person another way that their mailbox is full, and send your message again once there is room."},
	"2.3":  {what: "The message is larger than this mailbox takes.", todo: "Send it with smaller attachments, in several messages, or pass on a link to the files instead."},
	"2.4":  {what: "The address stands for a group of people, and the group could not be reached.", todo: "Write to the people one by one."},
	"3.1":  {what: "The mail server of the other side is full.", todo: "Send your message again later."},
	"3.2":  {what: "The mail server of the other side takes no mail at the moment.", todo: "Send your message again later."},
	"3.4":  {what: "The message is too large.", todo: "Send it with smaller attachments, in several messages, or pass on a link to the files instead."},
	"4.1":  {what: "The mail server of the other side did not answer.", todo: "Look for a typing error in the part of the address after the @. If it is right, send your message again later."},
	"4.2":  {what: "The connection to the mail server broke off.", todo: "Send your message again later."},
	"4.4":  {what: "No way was found to the mail server of the other side.", todo: "Look for a typing error in the part of the address after the @. If it is right, send your message again later."},
	"4.6":  {what: "The message went round in circles between mail servers.", todo: "The mail of this address is set up wrongly at the other side. Tell the person another way."},
	"4.7":  {what: "The message could not be delivered in time.", todo: "Send it again later, or reach the person another way."},
	"5.3":  {what: "The message went to too many people at once.", todo: "Send it to fewer people at a time."},
	"6.0":  {what: "Something in the message could not be handled.", todo: "Send it again without attachments, or as a new message."},
	"6.3":  {what: "The message holds characters that could not be carried.", todo: "Send it again as a new message."},
	"6.7":  {what: "The address, or the subject, is written in letters that a mail server on the way cannot handle.", todo: "If the person also has an address in plain letters (a to z), use that."},
	"7.0":  {what: "The message was refused by the rules of a mail server on the way.", todo: "If you think that this is a mistake, ask whoever looks after your mail."},
	"7.1":  {what: "The message was not allowed in. Either it was taken for unwanted mail, or you may not write to this address.", todo: "If you think that this is a mistake, reach the person another way and ask them to let your mail in."},
	"7.2":  {what: "Only some people may write to this address, and you are not one of them.", todo: "Ask the person who looks after that address to let your mail in."},
	"7.9":  {what: "Our mail server was not let in by the next one.", todo: "Ask whoever looks after your mail."},
	"7.25": {what: "The other side does not trust the server our mail comes from.", todo: "Ask whoever looks after your mail."},
	"7.26": {what: "The other side could not make sure that the message really comes from you.", todo: "Ask whoever looks after your mail: the address you send as needs to be set up."},
	"7.28": {what: "Too much mail came at once.", todo: "Send your message again later."},
}

// What stands for codes without a meaning, and for replies without a code.
var (
	unclear = meaning{what: "The message was refused by a mail server on the way.",
		todo: "What that server said stands below. If it does not help you, ask whoever looks after your mail."}
	trouble = meaning{what: "A mail server on the way cannot take it at the moment.",
		todo: "Send your message again later."}
	silence = meaning{what: "The mail server that should have taken it could not be reached.",
		todo: "Send your message again later. If others have the same trouble, tell whoever looks after your mail."}
	doubt = meaning{what: "The message was handed over, but the line broke before that was confirmed. It may have been delivered.",
		todo: "Ask the person whether it has arrived before you send it again."}
)

// passOn is what to do about what only those can help with who look after the mail.
const passOn = "Show this message to whoever looks after your mail. The last lines are for them."

// basic are the meanings of reply codes that came without an enhanced one.
var basic = map[int]string{552: "3.4", 551: "1.6", 553: "1.3"}

// explain is what a reply means, to anybody who knows no provider.
func explain(reply message.Reply) meaning {
	class, code, _ := strings.Cut(reply.Enhanced, ".")
	if code == "" {
		code = basic[reply.Code]
	}
	m, known := meanings[code]
	switch {
	case known:
		return m
	case reply.Code == 0 && class != "5":
		return silence
	case class == "4" || reply.Code/100 == 4:
		return trouble
	}
	return unclear
}

// meaning is what became of c, and what to do about it. What is wrong with an
// address or with the size of a message is the same everywhere, and told as people
// tell it; who knows the upstream knows better what else it means, and has a hint for
// an administrator.
func (a Author) meaning(c Case) meaning {
	if c.Uncertain {
		return doubt
	}
	m := explain(c.Reply)
	if a.Explain == nil {
		return m
	}
	what, hint := a.Explain(c.Upstream, c.Reply)
	m.hint = hint
	if what != "" && !everywhere(c.Reply) {
		m.what = what
		if hint != "" {
			m.todo = passOn
		}
	}
	return m
}

// Meaning is what a reply means whoever said it, in plain words; "" when that
// depends.
func Meaning(reply message.Reply) string {
	if !everywhere(reply) {
		return ""
	}
	return explain(reply).what
}

// everywhere tells whether a reply means the same whoever said it.
func everywhere(reply message.Reply) bool {
	_, code, _ := strings.Cut(reply.Enhanced, ".")
	_, known := meanings[code]
	return known && !strings.HasPrefix(code, "7.")
}
