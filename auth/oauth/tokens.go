package oauth

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"time"

	"postern/metrics"
)

// When tokens are refreshed and tried again.
const (
	early      = 10 * time.Minute // before the end; at most a fifth of the life
	leastPlan  = 30 * time.Second // between two refreshes nobody asked for
	leeway     = 10 * time.Second // a token is not used so near its end; at most a tenth of its life
	firstPause = 5 * time.Second  // after a fault that passes; doubled each time
	mostPause  = 5 * time.Minute
	mostWait   = time.Hour        // that a provider may ask for
	lastPause  = 15 * time.Minute // after a fault that lasts
	rejectedIn = time.Minute      // a second rejection in this time is not the token's fault
)

// Tokens are the access tokens of one credential, one at a time.
type Tokens struct {
	Credential
	vault    vault
	shelf    *shelf
	shared   *shared
	roots    *x509.CertPool // of CA, which may have been replaced by a reload
	endpoint endpoint
	metrics  *metrics.Metrics
	log      *slog.Logger

	mu       sync.Mutex
	token    token
	fault    *Fault    // of the last refresh; nil when it went well
	failures int       // in a row
	next     time.Time // when to refresh, and not before
	rejected time.Time // when the server last refused a token
	flight   *flight   // the refresh under way
}

// token is an access token; the zero token is none.
type token struct {
	text string
	ends time.Time // when it is no longer handed out
	dies time.Time
}

// flight is a refresh under way. Whoever waits for it reads its result when done
// is closed.
type flight struct {
	done  chan struct{}
	token string
	fault *Fault
}

func newTokens(c Credential, v vault, o Options, s *shared) (*Tokens, error) {
	roots, err := readRoots(c.CA)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	return &Tokens{Credential: c, vault: v, shelf: s.shelf(c.Upstream), shared: s, roots: roots, endpoint: newEndpoint(roots), metrics: o.Metrics, log: o.Log}, nil
}

// same tells whether a configuration means the same as another.
func (t *Tokens) same(u *Tokens) bool {
	return reflect.DeepEqual(t.Credential, u.Credential) && reflect.DeepEqual(t.vault, u.vault) && t.roots.Equal(u.roots)
}

// subject is whom a service account acts for.
func (t *Tokens) subject() string { return cmp.Or(t.Subject, t.Mailbox) }

// Token is one that the server can be expected to take. It is fetched if need be,
// and if the last attempt is not too recent; ctx ends only the waiting for it. The
// error is a *Fault, or that of ctx.
func (t *Tokens) Token(ctx context.Context) (string, error) {
	t.mu.Lock()
	now := time.Now()
	if now.Before(t.token.ends) {
		defer t.mu.Unlock()
		return t.token.text, nil
	}
	if t.fault != nil && t.flight == nil && now.Before(t.next) {
		defer t.mu.Unlock()
		return "", t.fault
	}
	f := t.begin()
	t.mu.Unlock()
	select {
	case <-f.done:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if f.fault != nil {
		return "", f.fault
	}
	return f.token, nil
}

// Reject says that the server refused the token: it is not handed out again. When
// that comes twice in a minute the tokens are not to blame, and the next one is
// fetched only after that minute.
func (t *Tokens) Reject(refused string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.token.text != refused || refused == "" {
		return // it has been replaced already
	}
	now := time.Now()
	t.token, t.next = token{}, now
	if !t.rejected.IsZero() && now.Sub(t.rejected) < rejectedIn {
		t.fault = passing(0, "the server refuses new tokens too")
		t.fault.Todo = "check that the mailbox of upstream " + t.Upstream + " lets the app send, and that its scopes are those of this server"
		t.next = now.Add(rejectedIn)
	}
	t.rejected = now
	t.show()
	t.shared.poke()
}

// renew forgets what stood in the way, and has a token fetched at once. A refresh
// under way began with what was there before, so what comes of it does not count.
func (t *Tokens) renew() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.token, t.fault, t.failures, t.next, t.flight = token{}, nil, 0, time.Time{}, nil
	t.shared.poke()
}

// begin starts a refresh, unless one is under way. The lock is held.
func (t *Tokens) begin() *flight {
	if t.flight != nil {
		return t.flight
	}
	f := &flight{done: make(chan struct{})}
	t.flight = f
	if !t.shared.start(func() { t.fly(f) }) {
		t.flight = nil
		f.fault = passing(0, "the relay is stopping")
		close(f.done)
	}
	return f
}

// fly is one refresh. It has its own time: that somebody stops waiting for it
// does not end it.
func (t *Tokens) fly(f *flight) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	a, fault := t.refresh(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.flight == f {
		t.land(a, fault, time.Now())
	}
	f.token, f.fault = a.access, fault
	close(f.done)
	t.shared.poke()
}

// land takes over what came of the flight. The lock is held.
func (t *Tokens) land(a answer, fault *Fault, now time.Time) {
	t.flight = nil
	if fault != nil {
		t.failed(fault, now)
	} else {
		t.succeeded(a, now)
	}
	t.show()
}

func (t *Tokens) succeeded(a answer, now time.Time) {
	t.token = token{text: a.access, dies: now.Add(a.life), ends: now.Add(a.life - min(leeway, a.life/10))}
	t.next = now.Add(max(a.life-min(early, a.life/5), leastPlan))
	if t.fault != nil {
		t.log.Info("OAuth token", "upstream", t.Upstream, "state", StateOK, "expires", t.token.dies.UTC().Truncate(time.Second))
	}
	t.fault, t.failures = nil, 0
	t.metrics.OAuthRefreshes.WithLabelValues(t.Upstream, "ok").Inc()
}

// failed plans the next attempt. Each change of what is wrong is logged once.
func (t *Tokens) failed(fault *Fault, now time.Time) {
	before, result := t.fault, "refused"
	t.fault = fault
	t.next = now.Add(lastPause)
	t.failures++
	if !fault.Lasting() {
		result = "failed"
		t.next = now.Add(max(min(firstPause<<min(t.failures-1, 10), mostPause), min(fault.wait, mostWait)))
	}
	t.metrics.OAuthRefreshes.WithLabelValues(t.Upstream, result).Inc()
	if before != nil && before.What == fault.What {
		return
	}
	attrs := []any{"upstream", t.Upstream, "state", t.state(now), "reason", fault.What, "hint", fault.Todo}
	if now.Before(t.token.ends) {
		attrs = append(attrs, "expires", t.token.dies.UTC().Truncate(time.Second))
	}
	if fault.Lasting() {
		t.log.Error("OAuth token", attrs...)
	} else {
		t.log.Warn("OAuth token", attrs...)
	}
}

// state is how the credential fares. The lock is held.
func (t *Tokens) state(now time.Time) State {
	switch {
	case t.fault != nil && t.fault.Lasting():
		return t.fault.State
	case now.Before(t.token.ends):
		return StateOK
	}
	return StateRefreshing
}

// show exports how it fares. The lock is held.
func (t *Tokens) show() {
	state := t.state(time.Now())
	for _, s := range metrics.OAuthStates {
		value := 0.0
		if s == string(state) {
			value = 1
		}
		t.metrics.OAuthState.WithLabelValues(t.Upstream, s).Set(value)
	}
	expiry := 0.0
	if t.token.text != "" {
		expiry = float64(t.token.dies.Unix())
	}
	t.metrics.OAuthExpiry.WithLabelValues(t.Upstream).Set(expiry)
}
