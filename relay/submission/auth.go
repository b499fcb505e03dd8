package submission

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-sasl"

	"postern/relay/message"
)

// maxFailures is how many failed logins end the connection.
const maxFailures = 3

// login asks who a name and password belong to.
type login func(name, password string) error

// mechanisms are the servers of the SASL mechanisms we speak. go-smtp decodes
// base64, answers "*" with 501 and passes a nil response when there is none.
var mechanisms = map[string]func(login) sasl.Server{
	"PLAIN": func(l login) sasl.Server { return &plain{login: l} },
	"LOGIN": func(l login) sasl.Server { return &loginServer{login: l} },
}

var (
	errCredentials = message.Refuse(535, "5.7.8", "Authentication credentials invalid")
	errMalformed   = message.Refuse(501, "5.5.2", "the response does not have the form of this mechanism")
	errMechanism   = message.Refuse(504, "5.5.4", "this mechanism is not offered")
	errFailures    = message.Refuse(421, "4.7.0", "too many failed logins, closing the connection")
)

// AuthMechanisms is asked for at EHLO under TLS, and not at HELO, which is how
// we know which of them it was.
func (s *session) AuthMechanisms() []string {
	s.extended = true
	return s.gen.config.Mechanisms
}

// Auth begins an exchange. go-smtp has refused it after a success, and so
// within a transaction.
func (s *session) Auth(name string) (sasl.Server, error) {
	switch {
	case s.client().TLSVersion == "":
		return nil, wire(errNeedTLS)
	case !slices.Contains(s.gen.config.Mechanisms, name):
		return nil, wire(errMechanism)
	}
	server := mechanisms[name](func(user, password string) error {
		return s.login(name, user, password)
	})
	return &exchange{Server: server, session: s, mechanism: name}, nil
}

// login asks the Gateway and notes the account.
func (s *session) login(mechanism, user, password string) error {
	if user == "" || password == "" {
		return errCredentials
	}
	c := s.client()
	c.Mechanism = mechanism
	began := time.Now()
	identity, err := s.server.gateway.Password(s.guard.ctx, c, user, password)
	s.server.observe("auth", began)
	if err != nil {
		return err
	}
	s.identity, s.mechanism = identity, mechanism
	s.guard.loggedIn()
	return nil
}

// exchange is one AUTH command: it counts how it ended, and makes every error
// one that go-smtp tells as it is.
type exchange struct {
	sasl.Server
	session   *session
	mechanism string
}

func (e *exchange) Next(response []byte) (challenge []byte, done bool, err error) {
	challenge, done, err = e.Server.Next(response)
	if err == nil && !done {
		return challenge, false, nil
	}
	result := "ok"
	if err != nil {
		result, err = e.session.loginFailed(e.mechanism, err)
	}
	e.session.server.metrics.Auth.WithLabelValues(e.mechanism, result).Inc()
	return nil, true, err
}

// loginFailed logs and counts a failure. The name is not logged: people type
// their password into the wrong field.
func (s *session) loginFailed(mechanism string, err error) (result string, told error) {
	r := replyTo(err)
	attrs := []any{"mechanism", mechanism, "reply", r.String()}
	if err.Error() != r.String() {
		attrs = append(attrs, "cause", err.Error())
	}
	s.log.Info("login refused", attrs...)
	if !r.Permanent() {
		return "unavailable", wire(r)
	}
	if s.failures++; s.failures >= maxFailures {
		s.guard.closeAfterReply()
		r = errFailures
	}
	return "failed", wire(r)
}

// plain is PLAIN (RFC 4616).
type plain struct {
	login login
	asked bool
}

func (p *plain) Next(response []byte) (challenge []byte, done bool, err error) {
	if response == nil && !p.asked {
		p.asked = true
		return []byte{}, false, nil
	}
	parts := bytes.Split(response, []byte{0})
	if len(parts) != 3 {
		return nil, false, errMalformed
	}
	as, user, password := string(parts[0]), string(parts[1]), string(parts[2])
	if as != "" && !strings.EqualFold(as, user) {
		return nil, false, errCredentials // nobody may act as another
	}
	return nil, true, p.login(user, password)
}

// loginServer is LOGIN, which was never standardised. Some devices hang up on
// any prompts but these two; some send the name with the command.
type loginServer struct {
	login login
	asked bool // for the name
	named bool
	user  string
}

func (l *loginServer) Next(response []byte) (challenge []byte, done bool, err error) {
	switch {
	case !l.asked && response == nil:
		l.asked = true
		return []byte("Username:"), false, nil
	case !l.named:
		l.asked, l.named, l.user = true, true, string(response)
		return []byte("Password:"), false, nil
	default:
		return nil, true, l.login(l.user, string(response))
	}
}
