package submission

import (
	"fmt"
	"strings"
)

// maxTranscript bounds what is kept of one session, in octets.
const maxTranscript = 64 << 10

// transcript is what was said in a session, without credentials and contents:
// they are left out before anything is kept. All methods of a nil transcript do
// nothing.
type transcript struct {
	text   []byte
	hidden bool // the last line of the client was left out
	full   bool
}

// command keeps a command as the client said it.
func (t *transcript) command(line string) {
	if t == nil {
		return
	}
	var shown string
	shown, t.hidden = redact(line)
	t.add("C: ", shown)
}

// understood keeps what a command was mended to.
func (t *transcript) understood(line string) {
	if t != nil {
		shown, _ := redact(line)
		t.add("* ", "understood as: "+shown)
	}
}

// redact leaves out what is not certain to be a command: some devices go on with
// a password when AUTH was refused, or with the message when DATA was.
func redact(line string) (shown string, hidden bool) {
	line = strings.TrimRight(line, "\r\n")
	verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	verb, rest = strings.ToUpper(verb), strings.TrimSpace(rest)
	switch {
	case verb == "AUTH":
		mechanism, secret, _ := strings.Cut(rest, " ")
		if mechanism == "" {
			return "AUTH", false
		}
		return strings.TrimSpace(fmt.Sprintf("AUTH %s %s", mechanismIn(mechanism), masked(secret))), false
	case isPlainCommand(verb, strings.ToUpper(rest)):
		return line, false
	default:
		return fmt.Sprintf("<%d octets that are no command>", len(line)), true
	}
}

// isPlainCommand tells commands from what may be a secret or contents.
func isPlainCommand(verb, rest string) bool {
	switch verb {
	case "EHLO", "HELO":
		return true
	case "MAIL":
		return strings.HasPrefix(rest, "FROM")
	case "RCPT":
		return strings.HasPrefix(rest, "TO")
	case "BDAT":
		return strings.Trim(rest, "0123456789 LAST") == ""
	case "DATA", "RSET", "NOOP", "QUIT", "HELP", "STARTTLS":
		return rest == ""
	}
	return false
}

func masked(secret string) string {
	if secret == "" {
		return ""
	}
	return "***"
}

// secret notes that the client said something within AUTH.
func (t *transcript) secret() {
	if t != nil {
		t.add("C: ", "***")
	}
}

// contents notes that so many octets of a message came.
func (t *transcript) contents(octets int64) {
	if t != nil {
		t.add("C: ", fmt.Sprintf("<%d octets>", octets))
	}
}

// reply keeps what we said. Challenges may tell of secrets, and the complaint
// about a line that was left out may repeat it.
func (t *transcript) reply(text string) {
	if t == nil {
		return
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		prompt, isChallenge := strings.CutPrefix(line, "334 ")
		switch {
		case isChallenge && prompt != "" && prompt != "VXNlcm5hbWU6" && prompt != "UGFzc3dvcmQ6": // Username: and Password:
			line = "334 ***"
		case t.hidden && len(line) > len("500 5.5.2"):
			line = line[:len("500 5.5.2")]
		}
		t.add("S: ", line)
	}
}

// note says what happened beside the talk.
func (t *transcript) note(format string, args ...any) {
	if t != nil {
		t.add("* ", fmt.Sprintf(format, args...))
	}
}

// add keeps a line, as long as there is room.
func (t *transcript) add(who, line string) {
	const cut = "* the rest is left out\n"
	line = who + plainASCII(line) + "\n"
	switch {
	case t.full:
	case len(t.text)+len(line)+len(cut) > maxTranscript:
		t.text, t.full = append(t.text, cut...), true
	default:
		t.text = append(t.text, line...)
	}
}
