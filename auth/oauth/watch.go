package oauth

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Watch keeps every token fresh, also while no mail is sent, until ctx ends. One
// Set of those made from one another watches at a time.
func (s *Set) Watch(ctx context.Context) {
	s.enter()
	warned := time.Time{}
	for ctx.Err() == nil {
		now := time.Now()
		if now.Sub(warned) >= 24*time.Hour {
			s.warn(now)
			warned = now
		}
		timer := time.NewTimer(s.tend(now).Sub(now))
		select {
		case <-ctx.Done():
		case <-s.shared.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// round is how often the watch looks around when nothing is due, and tries again
// to save what could not be saved.
const round = time.Minute

// enter shows the credentials in the numbers, takes away those of the Set before,
// and ends the pauses of those taken over: what stood in their way may just have
// been mended.
func (s *Set) enter() {
	s.metrics.OAuthState.Reset()
	s.metrics.OAuthExpiry.Reset()
	for _, kind := range []string{clientSecret, certificate} {
		s.metrics.CredentialExpiry.DeletePartialMatch(prometheus.Labels{"kind": kind})
	}
	for _, t := range s.all {
		t.mu.Lock()
		if t.fault != nil {
			t.failures, t.next = 0, time.Time{}
		}
		t.show()
		t.mu.Unlock()
		t.showEnds()
	}
}

// tend starts the refreshes that are due, and returns when to look again.
func (s *Set) tend(now time.Time) (again time.Time) {
	again = now.Add(round)
	for _, t := range s.all {
		t.rescue()
		if next := t.tend(now); next.Before(again) {
			again = next
		}
	}
	return again
}

func (t *Tokens) tend(now time.Time) (next time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.show() // a token may have ended
	if t.flight == nil && !now.Before(t.next) {
		t.begin()
	}
	if t.flight != nil {
		return now.Add(round) // its end wakes us
	}
	return t.next
}

// rescue saves what could not be saved before.
func (t *Tokens) rescue() {
	had, err := t.shelf.rescue(t.vault)
	switch {
	case had && err != nil:
		t.log.Error("a new refresh token still cannot be stored, and would be lost by a restart", "upstream", t.Upstream, "error", err, "hint", hintOf(err))
	case had:
		t.log.Info("the new refresh token is stored", "upstream", t.Upstream)
	}
}

// soon is how long before the end of a secret or certificate it is told.
const soon = 30 * 24 * time.Hour

// Kinds of what ends, as the metrics name them.
const (
	clientSecret = "client_secret"
	certificate  = "certificate"
)

// ending is a secret or certificate with an end.
type ending struct {
	kind string
	at   time.Time
}

// endings are those of the credential that are known.
func (c Credential) endings() (all []ending) {
	if at := c.ClientSecretExpires.end(); !at.IsZero() {
		all = append(all, ending{clientSecret, at})
	}
	if c.Certificate == "" {
		return all
	}
	if at, err := endOfCertificate(c.Certificate); err == nil {
		all = append(all, ending{certificate, at})
	}
	return all
}

// Warnings are sentences about what has ended, or does so soon.
func (c Credential) Warnings(now time.Time) (all []string) {
	for _, e := range c.endings() {
		if e.at.Sub(now) < soon {
			all = append(all, fmt.Sprintf("upstream %s: %s: make a new one at the provider, and write it into the configuration", c.Upstream, e.said(now)))
		}
	}
	return all
}

// said is the ending in words.
func (e ending) said(now time.Time) string {
	verb := "ends"
	if e.at.Before(now) {
		verb = "has ended"
	}
	return fmt.Sprintf("its %s %s on %s", e.kind, verb, e.at.UTC().Format(time.DateOnly))
}

// showEnds exports when they end.
func (t *Tokens) showEnds() {
	for _, e := range t.endings() {
		t.metrics.CredentialExpiry.WithLabelValues(e.kind, t.Upstream).Set(float64(e.at.Unix()))
	}
}

// warn logs what ends soon or has ended.
func (s *Set) warn(now time.Time) {
	for _, t := range s.all {
		for _, e := range t.endings() {
			say, what := s.log.Warn, "credential ends soon"
			switch {
			case e.at.Before(now):
				say, what = s.log.Error, "credential has ended"
			case e.at.Sub(now) >= soon:
				continue
			}
			say(what, "upstream", t.Upstream, "kind", e.kind, "expires", e.at.UTC(),
				"hint", "make a new one at the provider, write it into the configuration, then: postern reload")
		}
	}
}
