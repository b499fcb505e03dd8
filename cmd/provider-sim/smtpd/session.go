package smtpd

import (
	"bufio"
	"cmp"
	"crypto/tls"
	"net"
	"strings"
	"time"

	"postern/cmd/provider-sim/wire"
	"postern/cmd/provider-sim/world"
)

// Session is one connection.
type Session struct {
	World *world.World
	// Client is what was said in EHLO; Secured tells whether TLS is up, and Mailbox
	// who is logged in.
	Client  string
	Secured bool
	Mailbox string
	// User is more of who is logged in, for the provider alone.
	User any
	// From and To are the envelope so far.
	From string
	To   []string
	// Late is the reply to the final dot that was decided at MAIL.
	Late string

	server *Server
	wire   *wire.Conn
	conn   net.Conn
	in     *bufio.Reader
	out    *bufio.Writer
	begun  bool     // after MAIL
	bdat   *chunks  // after a BDAT that was not the last
	leave  []func() // what to call when the session ends
	done   []func() // and when the transaction does
	tls    tls.ConnectionState
}

// OnEnd has f be called when the session ends, OnReset when its transaction does.
func (s *Session) OnEnd(f func())   { s.leave = append(s.leave, f) }
func (s *Session) OnReset(f func()) { s.done = append(s.done, f) }

// Wait holds the session up, unless the server ends.
func (s *Session) Wait(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.server.closed:
	}
}

// maxCommand is room for a token in a line.
const maxCommand = 64 << 10

// patience is how long a client may be silent.
const patience = 10 * time.Minute

func newSession(server *Server, c *wire.Conn) *Session {
	s := &Session{World: server.World, server: server, wire: c}
	s.over(c)
	return s
}

// over has the session go on over c.
func (s *Session) over(c net.Conn) {
	s.conn, s.in, s.out = c, bufio.NewReaderSize(c, maxCommand), bufio.NewWriter(c)
}

// run is the session from start to end.
func (s *Session) run(implicit bool) {
	defer func() {
		s.reset()
		for _, f := range s.leave {
			f()
		}
	}()
	if _, err := s.trouble("connect"); err != nil {
		return
	}
	if implicit && s.handshake() != nil {
		return
	}
	if err := s.reply("greeting", s.server.Provider.Greeting()); err != nil {
		return
	}
	for {
		line, err := s.line()
		if err != nil || s.command(line) != nil {
			return
		}
	}
}

// line reads one, without its end.
func (s *Session) line() (string, error) {
	if err := s.out.Flush(); err != nil {
		return "", err
	}
	s.conn.SetReadDeadline(time.Now().Add(patience))
	line, err := s.in.ReadSlice('\n')
	return strings.TrimRight(string(line), "\r\n"), err
}

// write sends a reply.
func (s *Session) write(reply string) error {
	lines := strings.Split(reply, "\n")
	for i, line := range lines {
		if len(line) > 3 && i < len(lines)-1 {
			line = line[:3] + "-" + line[4:]
		}
		s.out.WriteString(line + "\r\n")
	}
	return s.out.Flush()
}

// reply answers at a step, unless something goes wrong there.
func (s *Session) reply(at, reply string) error {
	instead, err := s.trouble(at)
	if err != nil {
		return err
	}
	return s.say(at, cmp.Or(instead, reply))
}

// say sends a reply and notes a refusal. A 421 is the end.
func (s *Session) say(at, reply string) error {
	if reply[0] >= '4' {
		s.World.Count(s.server.Provider.Name(), reply[:3])
		s.World.Log().Info("refused", "provider", s.server.Provider.Name(), "mailbox", s.Mailbox, "at", at, "reply", reply)
	}
	if err := s.write(reply); err != nil || strings.HasPrefix(reply, "421") {
		return errEnd
	}
	return nil
}

func (s *Session) handshake() error {
	if _, err := s.trouble("tls"); err != nil {
		return err
	}
	c := tls.Server(s.wire, s.server.TLS)
	c.SetDeadline(time.Now().Add(time.Minute))
	if err := c.Handshake(); err != nil {
		s.World.Log().Info("TLS failed", "provider", s.server.Provider.Name(), "error", err)
		return err
	}
	c.SetDeadline(time.Time{})
	s.Secured, s.tls = true, c.ConnectionState()
	s.over(c)
	return nil
}

// command carries out a line; an error ends the session.
func (s *Session) command(line string) error {
	verb, rest, _ := strings.Cut(line, " ")
	switch verb = strings.ToUpper(verb); verb {
	case "EHLO", "HELO":
		return s.hello(verb, strings.TrimSpace(rest))
	case "STARTTLS":
		return s.startTLS()
	case "AUTH":
		return s.auth(rest)
	case "MAIL":
		return s.mail(rest)
	case "RCPT":
		return s.rcpt(rest)
	case "DATA":
		return s.data()
	case "BDAT":
		return s.chunk(rest)
	case "RSET":
		s.reset()
		return s.reply("rset", "250 2.0.0 Resetting")
	case "NOOP":
		return s.reply("noop", "250 2.0.0 OK")
	case "QUIT":
		s.reply("quit", "221 2.0.0 Service closing transmission channel")
		return errEnd
	}
	return s.reply("command", "502 5.5.1 Unrecognized command.")
}

func (s *Session) hello(verb, client string) error {
	s.reset()
	s.Client = client
	if s.Secured && s.tls.Version < tls.VersionTLS12 {
		return s.reply("ehlo", "421 4.7.66 TLS 1.0 and 1.1 are not supported. Please upgrade/update your client to support TLS 1.2. Visit https://aka.ms/smtp_auth_tls.")
	}
	lines := s.server.Provider.Extensions(s)
	if verb == "HELO" {
		lines = lines[:1]
	}
	return s.reply("ehlo", "250 "+strings.Join(lines, "\n250 "))
}

// startTLS forgets whatever was said in clear, in the same packet too.
func (s *Session) startTLS() error {
	if s.Secured {
		return s.reply("starttls", "503 5.5.1 TLS is already up")
	}
	if err := s.reply("starttls", "220 2.0.0 SMTP server ready"); err != nil {
		return err
	}
	s.reset()
	s.Client = ""
	return s.handshake()
}

// reset ends the transaction.
func (s *Session) reset() {
	for _, f := range s.done {
		f()
	}
	if s.bdat != nil {
		s.bdat.drop()
	}
	s.begun, s.From, s.To, s.Late, s.done, s.bdat = false, "", nil, "", nil, nil
}
