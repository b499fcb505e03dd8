package smtpd

import (
	"cmp"
	"encoding/base64"
	"slices"
	"strings"
)

// Credentials are what a client proved itself with.
type Credentials struct {
	// Mechanism is PLAIN, LOGIN, XOAUTH2 or OAUTHBEARER.
	Mechanism string
	User      string
	Password  string
	Token     string
	// Malformed: the response was not what the mechanism asks for.
	Malformed bool
}

// auth is RFC 4954, with the initial response or without.
func (s *Session) auth(rest string) error {
	mechanism, initial, inline := strings.Cut(strings.TrimSpace(rest), " ")
	mechanism = strings.ToUpper(mechanism)
	switch {
	case !s.offers(mechanism):
		return s.reply("auth", "504 5.7.4 Unrecognized authentication type")
	case s.Mailbox != "":
		return s.reply("auth", "503 5.5.1 Already authenticated")
	case s.begun:
		return s.reply("auth", "503 5.5.1 AUTH is not permitted during a mail transaction")
	}
	c := Credentials{Mechanism: mechanism}
	var err error
	if mechanism == "LOGIN" {
		err = s.askLogin(&c, initial, inline)
	} else {
		err = s.askOnce(&c, initial, inline)
	}
	switch {
	case err == errCancelled:
		return s.reply("auth", "501 5.7.0 Authentication cancelled")
	case err == errBase64:
		return s.reply("auth", "501 5.5.2 Cannot Decode response")
	case err != nil:
		return err
	}
	return s.prove(c)
}

// prove asks the provider. Whoever is refused stays unknown.
func (s *Session) prove(c Credentials) error {
	challenge, reply := s.server.Provider.Login(s, c)
	if challenge != "" {
		if err := s.write("334 " + base64.StdEncoding.EncodeToString([]byte(challenge))); err != nil {
			return err
		}
		if answer, err := s.line(); err != nil || answer == "*" {
			return s.reply("auth", "501 5.7.0 Authentication cancelled")
		}
	}
	s.World.Log().Info("login", "provider", s.server.Provider.Name(), "mechanism", c.Mechanism, "user", c.User, "good", s.Mailbox != "")
	instead, err := s.trouble("auth")
	if err != nil {
		return err
	}
	if instead != "" {
		s.Mailbox = ""
	}
	return s.say("auth", cmp.Or(instead, reply))
}

// offers tells whether the EHLO reply lists the mechanism.
func (s *Session) offers(mechanism string) bool {
	for _, line := range s.server.Provider.Extensions(s) {
		if words := strings.Fields(line); len(words) > 0 && words[0] == "AUTH" {
			return slices.Contains(words[1:], mechanism)
		}
	}
	return false
}

var (
	errCancelled = &authError{"cancelled"}
	errBase64    = &authError{"no base64"}
)

type authError struct{ text string }

func (e *authError) Error() string { return e.text }

// ask sends a challenge and reads the response to it.
func (s *Session) ask(challenge string) ([]byte, error) {
	if err := s.write("334 " + challenge); err != nil {
		return nil, err
	}
	line, err := s.line()
	if err != nil {
		return nil, err
	}
	return response(line)
}

func response(line string) ([]byte, error) {
	if line == "*" {
		return nil, errCancelled
	}
	if line == "=" {
		return nil, nil
	}
	b, err := base64.StdEncoding.DecodeString(line)
	if err != nil {
		return nil, errBase64
	}
	return b, nil
}

// askLogin is LOGIN, whose user name may come with the command.
func (s *Session) askLogin(c *Credentials, initial string, inline bool) (err error) {
	var name, password []byte
	if inline {
		name, err = response(initial)
	} else {
		name, err = s.ask("VXNlcm5hbWU6")
	}
	if err != nil {
		return err
	}
	if password, err = s.ask("UGFzc3dvcmQ6"); err != nil {
		return err
	}
	c.User, c.Password = string(name), string(password)
	return nil
}

// askOnce is a mechanism of one response.
func (s *Session) askOnce(c *Credentials, initial string, inline bool) (err error) {
	var b []byte
	if inline {
		b, err = response(initial)
	} else {
		b, err = s.ask("")
	}
	if err != nil {
		return err
	}
	switch c.Mechanism {
	case "PLAIN":
		parts := strings.Split(string(b), "\x00")
		if c.Malformed = len(parts) != 3; !c.Malformed {
			c.User, c.Password = parts[1], parts[2]
		}
	case "XOAUTH2":
		c.bearer(string(b), "user=")
	case "OAUTHBEARER":
		c.oauthBearer(string(b))
	}
	return nil
}

// oauthBearer is RFC 7628, section 3.1: a header of GS2, then pairs.
func (c *Credentials) oauthBearer(text string) {
	gs2, pairs, _ := strings.Cut(text, "\x01")
	parts := strings.Split(gs2, ",")
	if len(parts) != 3 || parts[0] != "n" && parts[0] != "y" {
		c.Malformed = true
		return
	}
	c.bearer(pairs, "\x00")
	c.User = strings.NewReplacer("=2C", ",", "=3D", "=").Replace(strings.TrimPrefix(parts[1], "a="))
}

// bearer reads pairs that each end with 0x01, and the whole with one more.
func (c *Credentials) bearer(text, user string) {
	c.Malformed = !strings.HasSuffix(text, "\x01\x01")
	for pair := range strings.SplitSeq(text, "\x01") {
		if value, ok := strings.CutPrefix(pair, user); ok {
			c.User = value
		}
		if value, ok := strings.CutPrefix(pair, "auth="); ok {
			scheme, token, _ := strings.Cut(value, " ")
			c.Token = token
			c.Malformed = c.Malformed || !strings.EqualFold(scheme, "Bearer")
		}
	}
	c.Malformed = c.Malformed || c.Token == ""
}
