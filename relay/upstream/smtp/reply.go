package smtp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"postern/relay/message"
)

// Bounds of one reply. RFC 5321, section 4.5.3.1.5 allows 512 octets a line;
// real ones are longer.
const (
	maxReplyLine  = 2048
	maxReplyLines = 128
	maxReply      = 16 << 10
)

// readReply reads one reply (RFC 5321, section 4.2.1) from r, whose buffer
// must hold maxReplyLine octets. A line may end in a bare LF. The text has
// neither control characters nor the enhanced status codes (RFC 2034).
// io.EOF means that r ended before the reply began.
func readReply(r *bufio.Reader) (message.Reply, error) {
	var reply message.Reply
	var lines []string
	size := 0
	for {
		line, err := readLine(r)
		if err != nil {
			if errors.Is(err, io.EOF) && len(lines) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return message.Reply{}, err
		}
		if size += len(line); size > maxReply || len(lines) == maxReplyLines {
			return message.Reply{}, fmt.Errorf("a reply of more than %d lines or %d octets", maxReplyLines, maxReply)
		}
		code, text, more, err := splitReplyLine(line)
		if err != nil {
			return message.Reply{}, err
		}
		if len(lines) > 0 && code != reply.Code {
			return message.Reply{}, fmt.Errorf("a reply that begins with %d and goes on with %d", reply.Code, code)
		}
		reply.Code = code
		enhanced, text := cutEnhanced(text)
		if len(lines) == 0 {
			reply.Enhanced = enhanced
		}
		lines = append(lines, text)
		if !more {
			reply.Text = strings.Join(lines, "\n")
			return reply, nil
		}
	}
}

// readLine reads one line without its end.
func readLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull) || len(line) > maxReplyLine:
		return "", fmt.Errorf("a reply line of more than %d octets", maxReplyLine)
	case errors.Is(err, io.EOF) && len(line) > 0:
		return "", io.ErrUnexpectedEOF
	case err != nil:
		return "", err
	}
	return strings.TrimSuffix(string(line[:len(line)-1]), "\r"), nil
}

// errNoReply is a line that is no reply.
type errNoReply string

func (e errNoReply) Error() string {
	return fmt.Sprintf("%.80q, which is not an SMTP reply", string(e))
}

// splitReplyLine reads "250-text", "250 text" or "250".
func splitReplyLine(line string) (code int, text string, more bool, err error) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' || !isDigit(line[1]) || !isDigit(line[2]) ||
		len(line) > 3 && line[3] != ' ' && line[3] != '-' {
		return 0, "", false, errNoReply(line)
	}
	code = int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
	if len(line) == 3 {
		return code, "", false, nil
	}
	return code, printable(line[4:]), line[3] == '-', nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// printable keeps what a peer says from breaking a log, a page or a report.
func printable(s string) string {
	s = strings.ToValidUTF8(s, "?")
	return strings.Map(func(r rune) rune {
		if r < ' ' || 0x7f <= r && r < 0xa0 || r == 0x2028 || r == 0x2029 {
			return ' '
		}
		return r
	}, s)
}

var enhancedCode = regexp.MustCompile(`^[245]\.[0-9]{1,3}\.[0-9]{1,3}(?: |$)`)

// cutEnhanced cuts the status code of RFC 3463 off the start of a text.
func cutEnhanced(text string) (enhanced, rest string) {
	found := enhancedCode.FindString(text)
	return strings.TrimSuffix(found, " "), text[len(found):]
}

// remoteIDs find the queue id in the reply to the final dot, most telling
// first: Postfix and many others; Exim; Exchange ("<id> [InternalId=...]");
// Gmail ("OK  1700000000 id - gsmtp"); sendmail; Amazon SES ("Ok 0102...").
var remoteIDs = []*regexp.Regexp{
	regexp.MustCompile(`(?i)\bqueued(?: mail)? as:? ?<?([^\s<>;,()]+)`),
	regexp.MustCompile(`(?i)\bid=<?([^\s<>;,()]+)`),
	regexp.MustCompile(`^<([^\s<>]+)> \[InternalId=`),
	regexp.MustCompile(`^OK +[0-9]+ +(\S+) - gsmtp`),
	regexp.MustCompile(`(?i)^(\S+) message accepted for delivery`),
	regexp.MustCompile(`(?i)^ok:? ([0-9a-z][0-9a-z._@-]{15,})$`),
}

const maxRemoteID = 200

// remoteID is the upstream's queue id when its final reply names one, else "".
func remoteID(text string) string {
	for _, form := range remoteIDs {
		if found := form.FindStringSubmatch(text); found != nil && len(found[1]) <= maxRemoteID {
			return strings.TrimRight(found[1], ".")
		}
	}
	return ""
}
