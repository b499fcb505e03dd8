package submission

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
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
	"EXTERNAL":    func(e *exchange) sasl.Server { return &clientFirst{Server: external{ask: e.certificate}} },

	"SCRAM-SHA-256": func(e *exchange) sasl.Server { return &clientFirst{Server: &challenged{exchange: e}} },
	"CRAM-MD5":      func(e *exchange) sasl.Server { return &challenged{exchange: e} },
}

var (
	errCredentials = message.Refuse(535, "5.7.8", "Authentication credentials invalid")
	errMalformed   = message.Refuse(501, "5.5.2", "the response does not have the form of this mechanism")
	errFailures    = message.Refuse(421, "4.7.0", "too many failed logins, closing the connection")
)

// AuthMechanisms is asked for at EHLO, and not at HELO, which is how we know
// which of them it was.
func (s *session) AuthMechanisms() []string {
	s.extended = true
	s.guard.visit.know(s.client())
	if s.mustSecure() {
		return nil
	}
	return s.offered()
}

// mustSecure tells whether TLS must come before AUTH.
func (s *session) mustSecure() bool { return s.talk.tls == nil && !s.gen.listener.PlaintextAuth }

// offered are the mechanisms this client may use: EXTERNAL only with a
// certificate.
func (s *session) offered() []string {
	if len(s.chain()) > 0 {
		return s.gen.config.Mechanisms
	}
	return slices.DeleteFunc(slices.Clone(s.gen.config.Mechanisms), func(name string) bool { return name == "EXTERNAL" })
}

// chain is the client's certificate and those up to an authority we trust; nil
// if it has shown none.
func (s *session) chain() []*x509.Certificate {
	if state := s.talk.tls; state != nil && len(state.VerifiedChains) > 0 {
		return state.VerifiedChains[0]
	}
	return nil
}

// Auth begins an exchange. go-smtp has refused it after a success.
func (s *session) Auth(name string) (sasl.Server, error) {
	if err := s.mayAuth(name); err != nil {
		s.guard.visit.refused("AUTH "+mechanismIn(name), err)
		return nil, wire(err)
	}
	e := &exchange{session: s, mechanism: name}
	e.server = mechanisms[name](e)
	return e, nil
}

// mayAuth checks that the session is where AUTH is due. A device known by its
// address can be within a transaction without it.
func (s *session) mayAuth(name string) *message.Reply {
	offered := s.offered()
	switch {
	case s.mustSecure():
		return errNeedTLS
	case s.transaction() != nil:
		return errNested
	case !slices.Contains(offered, name):
		return message.Refuse(504, "5.5.4", "%s is not offered; use %s", mechanismIn(name), strings.Join(offered, ", "))
	}
	return nil
}

// foreign are mechanisms that clients may ask for and we do not know.
var foreign = []string{"ANONYMOUS", "DIGEST-MD5", "GSSAPI", "GSS-SPNEGO", "KERBEROS_V4", "NTLM", "SCRAM-SHA-1", "SCRAM-SHA-512"}

// mechanismIn is the first word behind AUTH as it may be shown: some devices put
// their password there.
func mechanismIn(word string) string {
	name := strings.ToUpper(word)
	if _, ours := mechanisms[name]; ours || slices.Contains(foreign, name) {
		return word
	}
	return fmt.Sprintf("a mechanism of %d octets", len(word))
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

func (e *exchange) certificate(name string) error {
	return e.prove(func(ctx context.Context, c message.Client) (message.Identity, error) {
		return e.session.server.gateway.Certificate(ctx, c, name, e.session.chain())
	})
}

// prove asks, and keeps the identity until the exchange is done.
func (e *exchange) prove(ask func(context.Context, message.Client) (message.Identity, error)) (err error) {
	began := time.Now()
	e.identity, err = ask(e.session.guard.ctx, e.client())
	e.session.server.observe("auth", began, "")
	return err
}

// client is who asks, by this mechanism.
func (e *exchange) client() message.Client {
	c := e.session.client()
	c.Mechanism = e.mechanism
	return c
}

// succeed makes the identity that of the session.
func (e *exchange) succeed() {
	s := e.session
	s.identity, s.mechanism = e.identity, e.mechanism
	s.guard.loggedIn()
	s.guard.visit.know(s.client())
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
	s.guard.visit.refused("AUTH "+e.mechanism, r)
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
