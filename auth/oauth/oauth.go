// Package oauth answers: with which token do we log in? It gets the OAuth 2.0
// access tokens (RFC 6749) that upstreams want instead of a password, keeps them
// fresh, and says what a person has to do when they come to an end.
//
// A credential, one per upstream, is in one of these states:
//
//   - ok: there is a token that lives.
//   - refreshing: there is none yet, or none any more, and it is being asked for,
//     again and again with growing pauses. This passes by itself.
//   - needs consent: the provider wants a person to log in or to agree anew.
//   - misconfigured: the provider says that what we send is wrong.
//
// In the last two it is asked every quarter of an hour only, as what was wrong may
// have been mended there; a reload or "postern login" asks at once. In each state
// a token that still lives is handed out: no failure discards one.
//
// A refresh goes through these steps, one at a time for each credential:
//
//  1. the grant: what the flow proves itself with (flow.go, assertion.go);
//  2. the token endpoint answers, or does not (endpoint.go, answer.go);
//  3. a refresh token that is new, as of providers that rotate them, is kept,
//     encrypted and durably (vault.go), whatever else is wrong with the answer;
//  4. only then the access token is handed out.
//
// golang.org/x/oauth2 makes the addresses that people visit, PKCE, and reads what
// device endpoints say. The requests for tokens are our own: there a new refresh
// token is lost when anything else in the answer is wrong, errors repeat what was
// answered, and not every request ends with its context.
//
// What a token is sent in is left to the ways to an upstream, and whether its
// server takes it: they call Reject when it does not.
package oauth

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"postern/metrics"
	"postern/relay/setting"
)

// Credential is what one upstream logs in with.
type Credential struct {
	// Upstream names it in the log, in the metrics and in the data directory.
	Upstream string
	// Mailbox is whom a service account acts for, unless its subject says so.
	Mailbox string
	Config
}

// Options are what the credentials' own configuration does not say.
type Options struct {
	// DataDir keeps refresh tokens, in tokens/UPSTREAM.
	DataDir string
	// Key encrypts them; none: one is made, in tokens.key of DataDir.
	Key     setting.Secret
	Metrics *metrics.Metrics
	Log     *slog.Logger
}

// Set is the credentials of one configuration. Its methods are safe for
// concurrent use.
type Set struct {
	all     []*Tokens
	shared  *shared
	metrics *metrics.Metrics
	log     *slog.Logger
}

// shared outlives a reload.
type shared struct {
	wake    chan struct{} // what Watch has planned is to be planned anew
	mu      sync.Mutex
	shelves map[string]*shelf // by upstream
	flights sync.WaitGroup
	closed  bool
}

// New makes credentials ready that have been checked. It asks for no token yet:
// see Watch. Those that did not change are taken over from old, which may be nil,
// with their tokens.
func New(credentials []Credential, o Options, old *Set) (*Set, error) {
	s := &Set{metrics: o.Metrics, log: o.Log, shared: &shared{wake: make(chan struct{}, 1), shelves: map[string]*shelf{}}}
	if old != nil {
		s.shared = old.shared
	}
	v := vault{dir: o.DataDir, key: o.Key}
	for _, c := range credentials {
		t, err := newTokens(c, v, o, s.shared)
		if err != nil {
			return nil, fmt.Errorf("upstream %q: oauth: %w", c.Upstream, err)
		}
		if before := old.find(c.Upstream); before != nil && before.same(t) {
			t = before
		}
		s.all = append(s.all, t)
	}
	return s, nil
}

// find is the credential of the upstream, or nil.
func (s *Set) find(upstream string) *Tokens {
	if s == nil {
		return nil
	}
	for _, t := range s.all {
		if t.Upstream == upstream {
			return t
		}
	}
	return nil
}

// Tokens are the tokens of each upstream that has OAuth, by its name.
func (s *Set) Tokens() map[string]*Tokens {
	all := map[string]*Tokens{}
	for _, t := range s.all {
		all[t.Upstream] = t
	}
	return all
}

// Names are what the metrics call the credentials by.
func (s *Set) Names() []string {
	var names []string
	for _, t := range s.all {
		names = append(names, t.Upstream)
	}
	return names
}

// Close waits for refreshes under way, so that what a provider has just handed
// out is kept; at most half a minute. No others begin.
func (s *Set) Close() {
	s.shared.mu.Lock()
	s.shared.closed = true
	s.shared.mu.Unlock()
	s.shared.flights.Wait()
	for _, t := range s.all {
		t.shelf.rescue(t.vault)
	}
}

// Keep takes a refresh token that a person has just given consent for, and tries
// it. The error is that it could not be kept; how it fares is its Status.
func (s *Set) Keep(ctx context.Context, upstream, refreshToken string) (Status, error) {
	t := s.find(upstream)
	if t == nil {
		return Status{}, fmt.Errorf("the configuration has no upstream %q with oauth; reload it if that is new", upstream)
	}
	if !t.interactive() {
		return Status{}, t.refuseLogin()
	}
	if err := t.shelf.put(t.vault, t.held(refreshToken)); err != nil {
		return Status{}, err
	}
	t.renew()
	t.Token(ctx) // what comes of it is in the status
	return t.status(time.Now()), nil
}

// start runs f, unless the Set is closed.
func (s *shared) start(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.flights.Go(f)
	return true
}

// poke has Watch plan anew.
func (s *shared) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// shelf is where the refresh token of an upstream lies, before and after reloads.
func (s *shared) shelf(upstream string) *shelf {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shelves[upstream] == nil {
		s.shelves[upstream] = &shelf{upstream: upstream}
	}
	return s.shelves[upstream]
}
