package submission

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-smtp"

	"postern/relay/message"
)

// maxLine is the longest line in octets, of commands and of messages alike,
// since go-smtp has one limit: RFC 4954 section 4.6 asks for 12,288 for AUTH, and
// bearer tokens take up to 22 KB.
const maxLine = 32 << 10

// maxRecipients bounds a transaction for which the configuration sets none.
const maxRecipients = 10_000

// generation is one configuration of one door. A reload makes a new one for
// the clients to come; those inside finish with theirs. It is the net.Listener
// of its smtp.Server, which takes from it what the door hands over.
type generation struct {
	listener Listener
	config   Config
	tls      *tls.Config
	server   *Server
	smtp     *smtp.Server

	clients chan net.Conn
	retired chan struct{}
	once    sync.Once
}

func (s *Server) newGeneration(cfg Config, l Listener, t *tls.Config) *generation {
	g := &generation{listener: l, config: cfg, tls: t, server: s, clients: make(chan net.Conn), retired: make(chan struct{})}
	g.smtp = smtp.NewServer(smtp.BackendFunc(g.newSession))
	g.smtp.Domain = cfg.Hostname
	g.smtp.MaxRecipients = cfg.MaxRecipients
	if cfg.MaxRecipients == 0 {
		g.smtp.MaxRecipients = maxRecipients
	}
	if cfg.MaxSize > 0 {
		g.smtp.MaxMessageBytes = cfg.MaxSize + 1 // go-smtp refuses a message of exactly its limit
	}
	g.smtp.MaxLineLength = maxLine
	g.smtp.ReadTimeout = s.timeouts.command // the guard applies it
	g.smtp.ErrorLog = libraryLog{s.log.With("listener", l.Name)}
	g.smtp.EnableSMTPUTF8 = true
	g.smtp.EnableDSN = true
	if l.TLS == startTLS {
		g.smtp.TLSConfig = t
	}
	return g
}

// serve runs until the generation is retired.
func (g *generation) serve() { g.smtp.Serve(g) }

// offer hands a client over; false when the generation is retired.
func (g *generation) offer(conn net.Conn) bool {
	select {
	case g.clients <- conn:
		return true
	case <-g.retired:
		return false
	}
}

// Accept, Close and Addr make a net.Listener.
func (g *generation) Accept() (net.Conn, error) {
	select {
	case conn := <-g.clients:
		return conn, nil
	case <-g.retired:
		return nil, net.ErrClosed
	}
}

// Close retires the generation: it takes no more clients.
func (g *generation) Close() error {
	g.once.Do(func() { close(g.retired) })
	return nil
}

func (g *generation) Addr() net.Addr { return &net.TCPAddr{} }

// guard puts a new connection under guard and lets it in, or tells it why not.
func (g *generation) guard(conn net.Conn) (*guard, bool) {
	s, name := g.server, g.listener.Name
	client := newGuard(conn, s.timeouts)
	client.visit.know(message.Client{Address: client.remote, Listener: name})
	if refusal := s.connections.enter(client); refusal != "" {
		s.metrics.ConnectionsTotal.WithLabelValues(name, "refused").Inc()
		s.log.Warn("connection refused", "listener", name, "peer", client.remote.String(), "reply", refusal)
		if g.listener.TLS == startTLS { // who expects TLS cannot read it
			client.unsent = []byte(refusal + "\r\n")
		}
		client.visit.trouble(refusal, "", true)
		client.gone = func() { s.left(client) }
		client.Close()
		return nil, false
	}
	s.metrics.ConnectionsTotal.WithLabelValues(name, "served").Inc()
	s.metrics.Connections.WithLabelValues(name).Inc()
	client.gone = func() {
		s.metrics.Connections.WithLabelValues(name).Dec()
		s.left(client)
		s.connections.leave(client)
	}
	client.mostSaid = g.smtp.MaxRecipients + otherCommands
	client.overrun = func() {
		s.log.Warn("too many commands", "listener", name, "peer", client.remote.String(), "limit", client.mostSaid)
	}
	client.opening.failed = func(reason, hint string) {
		if client.isDraining() {
			return // it was us who broke it off
		}
		s.metrics.TLS.WithLabelValues(name, "none", "failed").Inc()
		s.log.Warn("tls failed", "listener", name, "peer", client.remote.String(), "reason", reason, "hint", hint)
		client.visit.trouble(reason, hint, true)
	}
	return client, true
}

// secured counts a handshake that succeeded.
func (g *generation) secured(client *guard, state tls.ConnectionState) {
	client.opening.settled = true
	client.visit.know(message.Client{Address: client.remote, Listener: g.listener.Name,
		TLSVersion: tls.VersionName(state.Version), TLSCipher: tls.CipherSuiteName(state.CipherSuite)})
	version := strings.TrimPrefix(tls.VersionName(state.Version), "TLS ")
	g.server.metrics.TLS.WithLabelValues(g.listener.Name, version, "ok").Inc()
	g.server.observe("tls", client.opening.since)
}

// observe measures a phase of a session that began at since.
func (s *Server) observe(phase string, since time.Time) {
	s.metrics.SubmissionPhase.WithLabelValues(phase).Observe(time.Since(since).Seconds())
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

// newTLS makes what both kinds of listener use.
func newTLS(cfg TLS, log *slog.Logger) (*tls.Config, error) {
	version, ok := versions[cfg.MinVersion]
	if !ok {
		return nil, fmt.Errorf("tls.min_version: %q is neither 1.2 nor 1.3", cfg.MinVersion)
	}
	certs, err := loadCertificates(cfg.Certificates, log)
	if err != nil {
		return nil, err
	}
	clients, err := cfg.authorities()
	if err != nil {
		return nil, err
	}
	t := &tls.Config{MinVersion: version, GetCertificate: certs.choose, GetConfigForClient: noteHello}
	if clients != nil {
		t.ClientCAs, t.ClientAuth = clients, tls.VerifyClientCertIfGiven
	}
	return t, nil
}
