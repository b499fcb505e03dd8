package message

import (
	"fmt"
	"strings"
)

// Reply is an SMTP reply (RFC 5321, section 4.2): what we tell a client, or
// what an upstream told us. As an error it is the only kind a client reads.
type Reply struct {
	Code int `json:"code"`
	// Enhanced is the status code of RFC 3463, such as "5.7.1"; "" if none.
	Enhanced string `json:"enhanced,omitempty"`
	// Text has a "\n" between the lines of a multi-line reply.
	Text string `json:"text"`
}

// maxReplyText bounds what Refuse writes, in octets: a reply line is 512 with
// its code and CRLF (RFC 5321, section 4.5.3.1.5).
const maxReplyText = 480

// Refuse makes a reply to a client. The text is made fit for the wire whatever
// went into it: other than printable ASCII and "\n" becomes "?", and it is cut
// at 480 octets.
func Refuse(code int, enhanced, format string, args ...any) *Reply {
	text := strings.Map(func(r rune) rune {
		if r != '\n' && (r < ' ' || r > '~') {
			return '?'
		}
		return r
	}, fmt.Sprintf(format, args...))
	if len(text) > maxReplyText {
		text = text[:maxReplyText-3] + "..."
	}
	return &Reply{Code: code, Enhanced: enhanced, Text: text}
}

// Permanent tells whether trying again unchanged is pointless (5yz).
func (r Reply) Permanent() bool { return r.Code/100 == 5 }

// Positive tells whether the command was carried out (2yz).
func (r Reply) Positive() bool { return r.Code/100 == 2 }

// String is the reply in one line: "550 5.7.1 no such user".
func (r Reply) String() string {
	s := strings.ReplaceAll(r.Text, "\n", " ")
	if r.Enhanced != "" {
		s = r.Enhanced + " " + s
	}
	if r.Code != 0 {
		s = fmt.Sprintf("%d %s", r.Code, s)
	}
	return s
}

func (r *Reply) Error() string { return r.String() }

// Outcome is how one recipient of one attempt fared.
type Outcome int

const (
	// Deferred: it was not delivered; try again later.
	Deferred Outcome = iota
	// Delivered: the upstream took responsibility.
	Delivered
	// Failed: the upstream refused for good.
	Failed
	// Uncertain: the upstream may have taken it; its answer was lost.
	Uncertain
)

func (o Outcome) String() string {
	return [...]string{"deferred", "delivered", "failed", "uncertain"}[o]
}

// Result is how one recipient fared in one attempt.
type Result struct {
	Outcome Outcome
	// Reply is the upstream's word, or our own with Code 0 when it said nothing.
	Reply Reply
	// RemoteID is the upstream's queue id when its reply names one.
	RemoteID string
}
