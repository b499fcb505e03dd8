package oauth

import (
	"time"
)

// Status is how one credential fares. Its names are a promise to scripts.
type Status struct {
	Upstream string `json:"upstream"`
	Flow     string `json:"flow"`
	State    State  `json:"state"`
	// Reason and Hint say what is wrong, and what to do; empty when nothing is.
	Reason string `json:"reason,omitempty"`
	Hint   string `json:"hint,omitempty"`
	// Expires is when the access token ends, Next when another is fetched.
	Expires time.Time `json:"expires,omitzero"`
	Next    time.Time `json:"next,omitzero"`
	// SecretExpires is when the first of client secret and certificate ends.
	SecretExpires time.Time `json:"secret_expires,omitzero"`
}

// Status is how every credential fares now.
func (s *Set) Status() []Status {
	all := []Status{} // none is a list too
	for _, t := range s.all {
		all = append(all, t.status(time.Now()))
	}
	return all
}

func (t *Tokens) status(now time.Time) Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := Status{Upstream: t.Upstream, Flow: t.Flow, State: t.state(now), Next: plain(t.next)}
	if t.fault != nil {
		s.Reason, s.Hint = t.fault.What, t.fault.Todo
	}
	if now.Before(t.token.ends) {
		s.Expires = plain(t.token.dies)
	}
	for _, e := range t.endings() {
		if s.SecretExpires.IsZero() || e.at.Before(s.SecretExpires) {
			s.SecretExpires = plain(e.at)
		}
	}
	return s
}

// plain is a moment as it is shown: in UTC and whole seconds.
func plain(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Round(time.Second)
}
