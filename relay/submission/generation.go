package submission

import (
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"postern/metrics"
)

// maxLine is the longest line in octets, of commands and of messages alike,
// since go-smtp has one limit: RFC 4954 section 4.6 asks for 12,288 for AUTH, and
// bearer tokens take up to 22 KB.
const maxLine = 32 << 10

// maxRecipients bounds a transaction for which the configuration sets none.
const maxRecipients = 10_000

// generation is one configuration of one door. A reload makes a new one for
// the clients to come; those inside finish with theirs.
type generation struct {
	listener Listener
	config   Config
	profiles []*profile // the first is of clients that have none of their own
	server   *Server
	log      *slog.Logger
}

func (s *Server) newGeneration(cfg Config, l Listener, profiles []*profile) *generation {
	if cfg.MaxRecipients == 0 {
		cfg.MaxRecipients = maxRecipients
	}
	return &generation{listener: l, config: cfg, profiles: profiles, server: s, log: s.log.With("listener", l.Name)}
}

// speak lets go-smtp speak with a client, in clear or under TLS, and returns.
// After STARTTLS it is called again: then go-smtp knows nothing of what was said
// before. It sees neither the guard nor TLS, only what was said.
func (g *generation) speak(t *talk) {
	server := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) { return newSession(t, c), nil }))
	server.Domain = g.config.Hostname
	server.MaxRecipients = g.config.MaxRecipients
	if g.config.MaxSize > 0 {
		server.MaxMessageBytes = g.config.MaxSize + 1 // go-smtp refuses a message of exactly its limit
	}
	server.MaxLineLength = maxLine
	server.ReadTimeout = g.server.timeouts.command // the guard applies it
	server.ErrorLog = libraryLog{g.log}
	server.EnableSMTPUTF8 = true
	server.EnableDSN = true
	server.AllowInsecureAuth = true // it cannot know; the session does
	server.Serve(&once{conn: t})
}

// once is a net.Listener with one connection.
type once struct{ conn net.Conn }

func (o *once) Accept() (conn net.Conn, err error) {
	if o.conn == nil {
		return nil, net.ErrClosed
	}
	conn, o.conn = o.conn, nil
	return conn, nil
}

func (o *once) Close() error   { return nil }
func (o *once) Addr() net.Addr { return &net.TCPAddr{} }

// observe measures a phase of a session that began at since, of the message with
// that id; "" for one of none.
func (s *Server) observe(phase string, since time.Time, id string) {
	metrics.ObserveWith(s.metrics.SubmissionPhase.WithLabelValues(phase), time.Since(since).Seconds(), id)
}

// libraryLog passes on what go-smtp has to say: panics in a session, and
// connections that broke.
type libraryLog struct{ log *slog.Logger }

func (l libraryLog) Printf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	if strings.HasPrefix(text, "panic") {
		l.log.Error("session failed", "cause", text)
		return
	}
	l.log.Debug("session broken off", "cause", text)
}

func (l libraryLog) Println(v ...any) { l.Printf("%s", fmt.Sprintln(v...)) }
