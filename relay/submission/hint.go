package submission

import (
	"strings"

	"postern/relay/message"
)

// hints are what to change, at the device or here, when a command was answered
// like that. The first row that fits counts: command and text are what theirs
// begins with and holds. The hints for TLS are in opening.go, where it is seen.
var hints = []struct {
	command  string
	code     int
	enhanced string // "" fits all
	text     string
	hint     string
}{
	{"AUTH", 530, "", "", "the device logs in without encryption; set it to STARTTLS or TLS"},
	{"AUTH EXTERNAL", 504, "", "", "the device shows no client certificate of an authority in tls.client_ca; give it one, or choose LOGIN or PLAIN"},
	{"AUTH", 504, "", "", "choose a mechanism that is offered, LOGIN or PLAIN on most devices, or add this one to auth.mechanisms"},
	{"AUTH EXTERNAL", 535, "", "", "list the device's certificate under certificates of an account"},
	{"AUTH XOAUTH2", 535, "", "", `the token was refused; the line "login refused" of the log says why`},
	{"AUTH OAUTHBEARER", 535, "", "", `the token was refused; the line "login refused" of the log says why`},
	{"AUTH CRAM-MD5", 535, "", "", "the user name or password is wrong, the account has no cram_secret, or its networks do not hold this address; with LOGIN or PLAIN no cram_secret is needed"},
	{"AUTH SCRAM", 535, "", "", "the user name or password is wrong, the account has no scram, or its networks do not hold this address; with LOGIN or PLAIN no scram is needed"},
	{"AUTH", 535, "", "", "the user name or password typed into the device is wrong, or the account's networks do not hold this address"},
	{"AUTH", 501, "", "", "the device does not speak this mechanism well; choose another one, LOGIN or PLAIN on most devices"},
	{"AUTH", 503, "", "", "the device logs in at the wrong moment; look for an update of its firmware"},

	{"MAIL", 530, "", "STARTTLS", "switch on STARTTLS at the device, or set it to TLS (SSL) and the port of a listener with tls: implicit"},
	{"MAIL", 530, "", "", "switch on authentication at the device and enter an account's name and password; one that cannot log in needs an account with trusted: true"},
	{"MAIL", 550, "5.7.1", "", "set the device's own address (From) to one of the account's senders, or add it to them"},
	{"MAIL", 553, "", "", "the device's own address (From) is missing or mistyped"},
	{"RCPT", 550, "5.7.1", "", "add the recipient to the account's recipients, or choose another one at the device"},
	{"RCPT", 553, "", "", "the recipient entered at the device is mistyped"},
	{"DATA", 550, "5.7.1", "", "set the device's own address (From) to one of the account's senders, or add it to them"},
	{"DATA", 550, "5.6.0", "LF", "the device ends lines in a way that SMTP forbids; look for an update of its firmware, or give it a profile with line_endings: repair"},
	{"DATA", 552, "5.3.4", "", "send less at once (lower resolution, fewer pages), or raise limits.size"},
	{"DATA", 421, "4.4", "", "the line to the device is slow or was cut; look at its network"},
}

// hintFor is what to change after that reply; "" if there is nothing to say
// that the reply does not.
func hintFor(command string, r *message.Reply) string {
	for _, h := range hints {
		if strings.HasPrefix(command, h.command) && r.Code == h.code &&
			strings.HasPrefix(r.Enhanced, h.enhanced) && strings.Contains(r.Text, h.text) {
			return h.hint
		}
	}
	return ""
}
