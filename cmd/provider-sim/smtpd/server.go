// Package smtpd is the providers as they speak SMTP: Microsoft 365, Gmail and
// Amazon SES, each with the limits and texts it is known for.
//
// A session reads commands one by one (session.go), proves who is there
// (auth.go), takes an envelope and its content (transaction.go), and asks the
// provider what to answer; what goes wrong on request comes before (fault.go).
// Nothing of the relay that is tried against it is used here.
package smtpd

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"

	"postern/cmd/provider-sim/wire"
	"postern/cmd/provider-sim/world"
)

// Server is one provider, on any number of listeners.
type Server struct {
	World    *world.World
	TLS      *tls.Config
	Provider Provider

	mu     sync.Mutex
	open   map[net.Conn]bool
	closed chan struct{}
	done   bool
	wg     sync.WaitGroup
}

// New serves nothing yet.
func New(w *world.World, certificate *tls.Config, p Provider) *Server {
	return &Server{World: w, TLS: certificate, Provider: p, open: map[net.Conn]bool{}, closed: make(chan struct{})}
}

// Provider answers a session. A reply is a code and text, with \n between lines;
// what is not there by default is "".
type Provider interface {
	// Name is the service's name in the world.
	Name() string
	Greeting() string
	// Extensions are the lines of the reply to EHLO after the first, which is also
	// theirs to say.
	Extensions(s *Session) []string
	// Login answers credentials. A challenge is sent before the reply.
	Login(s *Session, c Credentials) (challenge, reply string)
	// Sender, Recipient and Content answer MAIL, RCPT and the final dot; "" takes it.
	Sender(s *Session, from string, size int64) string
	Recipient(s *Session, to string) string
	// Content may change the letter, and keeps it.
	Content(s *Session, l *world.Letter) string
	// TooLarge is the reply to content beyond MaxSize.
	MaxSize() int64
	TooLarge() string
	// Unknown is the reply to MAIL before AUTH.
	Unknown() string
}

// Serve answers on l until it is closed. Implicit TLS begins at once.
func (s *Server) Serve(l net.Listener, implicit bool) {
	for {
		raw, err := l.Accept()
		if err != nil {
			return
		}
		c := wire.New(raw)
		if !s.add(c) {
			c.Close()
			return
		}
		go func() {
			defer s.remove(c)
			newSession(s, c).run(implicit)
		}()
	}
}

func (s *Server) add(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done {
		return false
	}
	s.open[c] = true
	s.wg.Add(1)
	return true
}

func (s *Server) remove(c net.Conn) {
	c.Close()
	s.mu.Lock()
	delete(s.open, c)
	s.mu.Unlock()
	s.wg.Done()
}

// Close ends every session and waits until it has ended. Listeners are the caller's.
func (s *Server) Close() {
	s.mu.Lock()
	s.done = true
	close(s.closed)
	for c := range s.open {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// errEnd ends a session in which all is said.
var errEnd = errors.New("the session is over")
