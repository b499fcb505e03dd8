package smtp

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"

	"postern/relay/message"
)

// Mechanisms of AUTH (RFC 4954) that we can log in by.
const (
	plain       = "PLAIN"       // RFC 4616
	login       = "LOGIN"       // described by no standard
	xoauth2     = "XOAUTH2"     // as Google and Microsoft document it
	oauthBearer = "OAUTHBEARER" // RFC 7628
	external    = "EXTERNAL"    // RFC 4422, appendix A: who we are says the certificate
)

// Mechanisms are those that can be configured, by what they need.
var Mechanisms = map[string]string{plain: "password", login: "password", xoauth2: "oauth", oauthBearer: "oauth", external: "certificate"}

// Bounds of one AUTH command: RFC 4954, section 4 keeps an initial response
// within the 512 octets of a command, and lets a server refuse lines beyond
// 12,288 octets.
const (
	maxInitial = 510
	maxLine    = 12288
)

// mechanism is what a client says in one exchange.
type mechanism struct {
	name string
	// initial is the initial response; serverFirst: there is none.
	initial     string
	serverFirst bool
	// answers to the challenges that follow, in order.
	answers []string
}

// mechanism makes the exchange of that name with the secret.
func (h *Client) mechanism(name, secret string) (mechanism, error) {
	user := h.cfg.Username
	if strings.ContainsAny(user, "\x00\x01") || strings.ContainsAny(secret, "\x00\x01") {
		return mechanism{}, errors.New("the username, password or token holds a NUL or another control character")
	}
	switch name {
	case plain:
		return mechanism{name: name, initial: "\x00" + user + "\x00" + secret}, nil
	case login: // two steps: not every server takes the user name with the command
		return mechanism{name: name, serverFirst: true, answers: []string{user, secret}}, nil
	case xoauth2:
		return mechanism{name: name, initial: "user=" + user + "\x01auth=Bearer " + secret + "\x01\x01", answers: []string{""}}, nil
	case oauthBearer:
		return mechanism{name: name, initial: h.bearer(user, secret), answers: []string{"\x01"}}, nil
	case external:
		return mechanism{name: name, initial: user}, nil
	}
	return mechanism{}, fmt.Errorf("AUTH %s is not known", name)
}

var gs2 = strings.NewReplacer("=", "=3D", ",", "=2C") // saslname of RFC 5801, section 4

// bearer is the client response of RFC 7628, section 3.1. Without a user the
// identity comes from the token.
func (h *Client) bearer(user, token string) string {
	header := "n,,"
	if user != "" {
		header = "n,a=" + gs2.Replace(user) + ","
	}
	host, port, err := net.SplitHostPort(h.cfg.Address)
	if err == nil {
		header += "\x01host=" + host + "\x01port=" + port
	}
	return header + "\x01auth=Bearer " + token + "\x01\x01"
}

// authenticate makes one exchange. The challenge is the last one answered: of a
// token that is refused it says why. A server that asks on and on is an error.
func authenticate(c *conn, m mechanism) (reply message.Reply, challenge string, err error) {
	answers := m.answers
	command := "AUTH " + m.name
	inline := command + " " + encode(m.initial)
	if m.initial == "" {
		inline = command + " ="
	}
	switch {
	case m.serverFirst:
		reply, err = c.command(command)
	case len(inline) <= maxInitial:
		reply, err = c.command(inline)
	default:
		answers = append([]string{m.initial}, answers...)
		reply, err = c.command(command)
		if err == nil && reply.Code == 501 && len(inline) <= maxLine { // it takes it in one line only
			answers = m.answers
			reply, err = c.command(inline)
		}
	}
	for _, answer := range answers {
		if err != nil || reply.Code != 334 {
			return reply, challenge, err
		}
		challenge = reply.Text
		reply, err = c.command(encode(answer))
	}
	if err == nil && reply.Code == 334 {
		err = fmt.Errorf("the server asks for more than %s has to say", m.name)
	}
	return reply, challenge, err
}

func encode(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// tokenStatus is what the challenge after a refused token says in plain words
// (RFC 7628, section 3.2.2; Google's is alike), "" when it says nothing.
func tokenStatus(challenge string) string {
	data, err := base64.StdEncoding.DecodeString(strings.TrimSpace(challenge))
	var said struct {
		Status any    `json:"status"`
		Scope  string `json:"scope"`
	}
	if err != nil || json.Unmarshal(data, &said) != nil || said.Status == nil {
		return ""
	}
	status := fmt.Sprintf("status %v", said.Status)
	if said.Scope != "" {
		status += ", scope " + said.Scope
	}
	return printable(status)
}
