package submission

import (
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/emersion/go-smtp"

	"postern/relay/message"
)

// Limits of a session and of the parameters of RFC 3461 (sections 4.2 and 4.4).
const (
	maxHello             = 255
	maxRefusals          = 100 // of MAIL and messages, since the last one accepted
	maxEnvelopeID        = 100
	maxOriginalRecipient = 500
)

// session is one client between EHLO and the end, as go-smtp sees it. It trusts
// go-smtp for syntax only. All of it runs in the goroutine of the connection,
// except Data for BDAT, during which Reset may come.
type session struct {
	server *Server
	gen    *generation
	conn   *smtp.Conn
	talk   *talk
	guard  *guard
	log    *slog.Logger

	extended  bool
	identity  message.Identity
	mechanism string
	failures  int // of AUTH

	mu       sync.Mutex
	current  *transaction // nil outside
	chunked  bool         // BDAT has begun, and has not been answered by us
	refusals int
}

// transaction is a message being described.
type transaction struct {
	*message.Message
	limit int64 // octets; 0 is none
}

// Replies that need nothing but the state of the session.
var (
	errNeedTLS   = message.Refuse(530, "5.7.0", "Must issue a STARTTLS command first")
	errNeedAuth  = message.Refuse(530, "5.7.0", "Authentication required")
	errNested    = message.Refuse(503, "5.5.1", "a transaction is open; finish it or say RSET")
	errNoMail    = message.Refuse(503, "5.5.1", "say MAIL and RCPT first")
	errExpired   = message.Refuse(421, "4.7.0", "what you logged in with has expired; connect again and log in anew")
	errClosing   = message.Refuse(421, "4.3.2", "the service is closing this connection")
	errTooMany   = message.Refuse(421, "4.7.0", "too many refused commands, closing the connection")
	errNotUTF8   = message.Refuse(553, "5.6.7", "an address with non-ASCII characters needs the SMTPUTF8 parameter of MAIL")
	errParameter = message.Refuse(501, "5.5.4", "ENVID or ORCPT is too long or holds control characters")
)

// newSession is called at the first EHLO or HELO, and at that after STARTTLS.
func newSession(t *talk, c *smtp.Conn) *session {
	s := &session{server: t.gen.server, gen: t.gen, conn: c, talk: t, guard: t.guard}
	s.log = t.gen.log.With("peer", t.guard.remote.String())
	s.guard.visit.know(s.client())
	return s
}

// client is who the other end is, as far as we know now.
func (s *session) client() message.Client {
	c := s.talk.client()
	c.Identity, c.Mechanism = s.identity, s.mechanism
	c.Hello, c.Extended = plainASCII(s.conn.Hostname()), s.extended
	c.Hello = c.Hello[:min(len(c.Hello), maxHello)]
	return c
}

// Mail begins a transaction.
func (s *session) Mail(from string, opts *smtp.MailOptions) error {
	now := time.Now()
	m := &message.Message{ID: message.NewID(now), Received: now, Client: s.client(), Envelope: message.Envelope{
		Return:       string(opts.Return),
		EnvelopeID:   opts.EnvelopeID,
		BodyType:     string(opts.Body),
		SMTPUTF8:     opts.UTF8,
		DeclaredSize: opts.Size,
	}}
	limit, err := s.mail(m, from)
	if err != nil {
		s.guardEnd()
		return s.refuse("MAIL", m, from, "", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = &transaction{Message: m, limit: limit}
	return nil
}

// mail decides on MAIL and says how large the message may be.
func (s *session) mail(m *message.Message, from string) (limit int64, err error) {
	if err := s.mayMail(m); err != nil {
		return 0, err
	}
	if err := s.identify(m); err != nil {
		return 0, err
	}
	if from != "" {
		if m.From, err = mailbox(from, m.SMTPUTF8); err != nil {
			return 0, err
		}
	}
	if limit, err = s.server.gateway.Mail(s.guard.ctx, m); err != nil {
		return 0, err
	}
	if most := s.gen.config.MaxSize; limit == 0 || most > 0 && most < limit {
		limit = most
	}
	if limit > 0 && m.DeclaredSize > limit {
		return 0, oversized(limit)
	}
	return limit, nil
}

// mayMail checks that the session is where MAIL is due.
func (s *session) mayMail(m *message.Message) error {
	switch {
	case m.Client.TLSVersion == "" && s.gen.listener.mustTLS():
		return errNeedTLS
	case s.transaction() != nil:
		return errNested
	case len(m.EnvelopeID) > maxEnvelopeID:
		return errParameter
	case !s.guard.begin():
		s.guard.closeAfterReply()
		return errClosing
	}
	return nil
}

// identify makes sure of who the client is now: what it logged in with may have
// expired since, and go-smtp takes no second AUTH. Whoever has not logged in
// may be known by its address, for this transaction.
func (s *session) identify(m *message.Message) (err error) {
	c := &m.Client
	switch {
	case c.Account == "":
		if c.Identity, err = s.server.gateway.Trust(*c); err == nil && c.Account == "" {
			err = errNeedAuth
		}
		if err != nil {
			return err
		}
		s.guard.loggedIn()
		s.guard.visit.know(*c)
	case !c.Expires.IsZero() && !m.Received.Before(c.Expires):
		s.guard.closeAfterReply()
		return errExpired
	}
	return nil
}

// guardEnd tells the guard that no transaction is open, unless one is.
func (s *session) guardEnd() {
	if s.transaction() == nil {
		s.guard.end()
	}
}

// Rcpt adds a recipient to the transaction.
func (s *session) Rcpt(to string, opts *smtp.RcptOptions) error {
	t := s.transaction()
	if t == nil {
		return wire(errNoMail)
	}
	r, err := s.recipient(t, to, opts)
	if err != nil {
		return wire(s.logRefusal("RCPT", t.Message, t.From.String(), to, err)) // not counted: a long list is no attack
	}
	t.To = append(t.To, r)
	return nil
}

// recipient decides on RCPT.
func (s *session) recipient(t *transaction, to string, opts *smtp.RcptOptions) (r message.Recipient, err error) {
	if r.Address, err = mailbox(to, t.SMTPUTF8); err != nil {
		return r, err
	}
	r.OriginalType = strings.ToLower(string(opts.OriginalRecipientType))
	r.Original = opts.OriginalRecipient
	if len(r.Original) > maxOriginalRecipient || !isText(r.Original) {
		return r, errParameter
	}
	for _, n := range opts.Notify {
		r.Notify = append(r.Notify, string(n))
	}
	return s.server.gateway.Recipient(s.guard.ctx, t.Message, r)
}

// mailbox reads an address whose local part go-smtp has unquoted; its own rules
// are loose, ours are strict.
func mailbox(s string, utf8 bool) (message.Address, error) {
	a, err := message.SplitAddress(s)
	switch {
	case err != nil:
		return message.Address{}, message.Refuse(553, "5.1.3", "not an address: %v", err)
	case !utf8 && !a.IsASCII():
		return message.Address{}, errNotUTF8
	}
	return a, nil
}

// isText tells whether s is UTF-8 without control characters.
func isText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// Reset ends the transaction: after a message, at RSET and at another EHLO.
//
// When it breaks off a message sent with BDAT, the connection is closed too:
// go-smtp would take the late result of that message for the result of the next
// one.
func (s *session) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = nil
	s.guard.end()
	if s.chunked {
		s.guard.closeAfterReply()
	}
}

// Logout ends the session. It must not call methods of s.conn, which is locked.
func (s *session) Logout() error {
	s.Reset()
	return nil
}

func (s *session) transaction() *transaction {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// refuse logs and counts a refusal of MAIL or of a message and makes the reply.
func (s *session) refuse(command string, m *message.Message, from, to string, err error) error {
	r := s.logRefusal(command, m, from, to, err)
	if s.tooMany() {
		s.guard.closeAfterReply()
		r = errTooMany
	}
	return wire(r)
}

// logRefusal logs why a command of a transaction is refused.
func (s *session) logRefusal(command string, m *message.Message, from, to string, err error) *message.Reply {
	r := replyTo(err)
	attrs := []any{"id", m.ID, "account", m.Client.Account, "from", from, "to", to, "reply", r.String(),
		"listener", s.gen.listener.Name, "peer", s.guard.remote.String()}
	if err.Error() != r.String() {
		attrs = append(attrs, "cause", err.Error())
	}
	s.server.log.Info("refused", attrs...)
	s.guard.visit.refused(command, r)
	s.server.metrics.Refused(m.Client.Account)
	if errors.As(err, new(oversized)) {
		s.server.metrics.PolicyRefusals.WithLabelValues("size").Inc()
	}
	return r
}

// tooMany counts a refusal.
func (s *session) tooMany() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusals++
	return s.refusals >= maxRefusals
}
