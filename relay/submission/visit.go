package submission

import (
	"sync"
	"time"

	"postern/relay/message"
)

// visit is what one connection comes to. Guard and session note it as it
// happens; the Gateway is told when it has ended.
type visit struct {
	mu     sync.Mutex
	noted  message.Visit
	failed bool // nothing was accepted since the last trouble, and no log line says so
}

// know notes who the client is, as far as we know now.
func (v *visit) know(c message.Client) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.noted.Client = c
}

// who the client is, as far as it was known last.
func (v *visit) who() message.Client {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.noted.Client
}

// trouble notes what went wrong last, and what to change. Logged tells that a
// log line with both has been written.
func (v *visit) trouble(what, hint string, logged bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.noted.Trouble, v.noted.Hint = what, hint
	v.failed = !logged
}

// refused notes what a command was answered.
func (v *visit) refused(command string, r *message.Reply) {
	v.trouble(command+": "+r.String(), hintFor(command, r), false)
}

// accepted notes a message.
func (v *visit) accepted() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.noted.Messages++
	v.failed = false
}

// end is the whole of it.
func (v *visit) end(began, ended time.Time) (noted message.Visit, failed bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.noted.Began, v.noted.Ended = began, ended
	return v.noted, v.failed
}

// left tells of a connection that has ended: the Gateway always, the log when
// the client did not get what it came for.
func (s *Server) left(g *guard) {
	v, failed := g.visit.end(g.since, time.Now())
	if failed {
		s.log.Info("session failed", "listener", v.Listener, "peer", v.Address.String(), "account", v.Account,
			"hello", v.Hello, "tls", v.TLSVersion, "cipher", v.TLSCipher, "trouble", v.Trouble, "hint", v.Hint)
	}
	s.gateway.Left(v)
}
