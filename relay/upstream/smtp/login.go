package smtp

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"

	"postern/relay/message"
)

// maxInitial is the longest AUTH command sent in one line: RFC 4954, section 4
// keeps an initial response within the 512 octets of a command.
const maxInitial = 510

// chooseMechanism prefers PLAIN: one step less. "" when neither is offered.
func chooseMechanism(offered []string) string {
	for _, m := range []string{"PLAIN", "LOGIN"} {
		if slices.Contains(offered, m) {
			return m
		}
	}
	return ""
}

// authPlain is RFC 4616 without an authorization identity.
func authPlain(c *conn, username, password string) (message.Reply, error) {
	if strings.Contains(username+password, "\x00") {
		return message.Reply{}, errors.New("username or password holds a NUL octet")
	}
	response := encode("\x00" + username + "\x00" + password)
	if line := "AUTH PLAIN " + response; len(line) <= maxInitial {
		return c.command(line)
	}
	reply, err := c.command("AUTH PLAIN")
	if err != nil || reply.Code != 334 {
		return reply, err
	}
	return c.command(response)
}

// authLogin is the two-step form of LOGIN, which no standard describes. What
// the prompts say is ignored: servers differ.
func authLogin(c *conn, username, password string) (message.Reply, error) {
	for _, line := range []string{"AUTH LOGIN", encode(username)} {
		reply, err := c.command(line)
		if err != nil || reply.Code != 334 {
			return reply, err
		}
	}
	return c.command(encode(password))
}

func encode(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// withhold drops the text of a reply that repeats the password.
func withhold(reply message.Reply, password string) message.Reply {
	if strings.Contains(reply.Text, password) {
		reply.Text = "(text withheld: it repeats the password)"
		return reply
	}
	for word := range strings.FieldsSeq(reply.Text) {
		plain, err := base64.StdEncoding.DecodeString(strings.Trim(word, `"'<>()[],;:.`))
		if err == nil && strings.Contains(string(plain), password) {
			reply.Text = "(text withheld: it repeats the password)"
		}
	}
	return reply
}
