package submission

import (
	"context"
	"slices"
	"time"

	"github.com/emersion/go-sasl"

	"postern/relay/message"
)

// maxFailures is how many failed logins end the connection.
const maxFailures = 3

// mechanisms make the server of one exchange, which asks the Gateway through
// it. go-smtp decodes base64, answers "*" with 501 and passes a nil response
// when there is none.
//
// A server is asked no more after done or an error. An error that comes with a
// challenge is told after it.
var mechanisms = map[string]func(*exchange) sasl.Server{
	"PLAIN":       func(e *exchange) sasl.Server { return &clientFirst{Server: plain{ask: e.password}} },
	"LOGIN":       func(e *exchange) sasl.Server { return &login{ask: e.password} },
	"XOAUTH2":     func(e *exchange) sasl.Server { return &clientFirst{Server: xoauth2{ask: e.bearer}} },
	"OAUTHBEARER": func(e *exchange) sasl.Server { return &clientFirst{Server: oauthBearer{ask: e.bearer}} },
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
	e := &exchange{session: s, mechanism: name}
	e.server = mechanisms[name](e)
	return e, nil
}

// exchange is one AUTH command. It asks the Gateway for its mechanism, counts
// how it ended, and makes every error one that go-smtp tells as it is.
type exchange struct {
	session   *session
	mechanism string
	server    sasl.Server
	identity  message.Identity // proved
	refused   error            // what remains to be told
}

// Next counts a refusal when it is made, not when it is told: between the two a
// client may cancel.
func (e *exchange) Next(response []byte) (challenge []byte, done bool, err error) {
	if e.refused != nil { // whatever was said to the explanation
		return nil, true, e.refused
	}
	challenge, done, err = e.server.Next(response)
	switch {
	case err != nil:
		e.refused = e.fail(err)
		if challenge == nil || e.session.guard.isClosing() {
			return nil, true, e.refused
		}
		return challenge, false, nil
	case done:
		e.succeed()
	}
	return challenge, done, nil
}

// password, and whatever else may prove an identity, asks the Gateway.
func (e *exchange) password(name, password string) error {
	return e.prove(func(ctx context.Context, c message.Client) (message.Identity, error) {
		return e.session.server.gateway.Password(ctx, c, name, password)
	})
}

func (e *exchange) bearer(name, token string) error {
	return e.prove(func(ctx context.Context, c message.Client) (message.Identity, error) {
		return e.session.server.gateway.Bearer(ctx, c, name, token)
	})
}

// prove asks, and keeps the identity until the exchange is done.
func (e *exchange) prove(ask func(context.Context, message.Client) (message.Identity, error)) (err error) {
	c := e.session.client()
	c.Mechanism = e.mechanism
	began := time.Now()
	e.identity, err = ask(e.session.guard.ctx, c)
	e.session.server.observe("auth", began)
	return err
}

// succeed makes the identity that of the session.
func (e *exchange) succeed() {
	s := e.session
	s.identity, s.mechanism = e.identity, e.mechanism
	s.guard.loggedIn()
	s.server.metrics.Auth.WithLabelValues(e.mechanism, "ok").Inc()
}

// fail logs and counts a failure, and makes what is told of it. The name is not
// logged: people type their password into the wrong field.
func (e *exchange) fail(err error) error {
	s, r := e.session, replyTo(err)
	attrs := []any{"mechanism", e.mechanism, "reply", r.String()}
	if err.Error() != r.String() {
		attrs = append(attrs, "cause", err.Error())
	}
	s.log.Info("login refused", attrs...)
	result := "unavailable"
	if r.Permanent() {
		result = "failed"
		if s.failures++; s.failures >= maxFailures {
			s.guard.closeAfterReply()
			r = errFailures
		}
	}
	s.server.metrics.Auth.WithLabelValues(e.mechanism, result).Inc()
	return wire(r)
}

// clientFirst is a mechanism in which the client speaks first: who says AUTH
// without an initial response is asked for it by an empty challenge (RFC 4954,
// section 4).
type clientFirst struct {
	sasl.Server
	asked bool
}

func (c *clientFirst) Next(response []byte) (challenge []byte, done bool, err error) {
	if response == nil && !c.asked {
		c.asked = true
		return []byte{}, false, nil
	}
	c.asked = true
	return c.Server.Next(response)
}
