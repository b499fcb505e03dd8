package submission

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/emersion/go-smtp"

	"postern/relay/message"
)

// maxReplyText keeps a reply line below the 512 octets of RFC 5321, section
// 4.5.3.1.5, with its codes and CRLF.
const maxReplyText = 490

// replyTo is what the client is told of err. What nobody made a reply of is
// our trouble: it is temporary, and its cause is for the log only.
func replyTo(err error) *message.Reply {
	var r *message.Reply
	switch {
	case errors.As(err, &r):
		return r
	case errors.Is(err, context.Canceled):
		return message.Refuse(421, "4.3.2", "the service is shutting down, please try again later")
	default:
		return message.Refuse(451, "4.3.0", "temporary trouble on our side, please try again later")
	}
}

// wire is the reply in the only form go-smtp tells as it is: a bare
// *smtp.SMTPError. Any other error it would turn into a code of its own.
func wire(r *message.Reply) *smtp.SMTPError {
	lines := strings.Split(r.Text, "\n")
	for i, line := range lines {
		line = plainASCII(line)
		lines[i] = line[:min(len(line), maxReplyText)]
	}
	return &smtp.SMTPError{Code: r.Code, EnhancedCode: enhanced(r.Enhanced), Message: strings.Join(lines, "\n")}
}

// enhanced reads "5.7.1"; the zero code, for which go-smtp says X.0.0, when
// there is none.
func enhanced(s string) smtp.EnhancedCode {
	var e smtp.EnhancedCode
	if n, err := fmt.Sscanf(s, "%d.%d.%d", &e[0], &e[1], &e[2]); err != nil || n != 3 {
		return smtp.EnhancedCodeNotSet
	}
	return e
}

// plainASCII replaces every character that is not printable ASCII.
func plainASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}
