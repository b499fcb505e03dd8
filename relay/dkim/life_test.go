package dkim

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// standings is "selector is state" of every key.
func standings(s *Set) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, h := range s.keys {
		all = append(all, h.Selector+" "+string(h.state))
	}
	return strings.Join(all, ", ")
}

func mustStand(t *testing.T, when string, s *Set, want string) {
	t.Helper()
	if got := standings(s); got != want {
		t.Errorf("%s: the keys are %q, want %q", when, got, want)
	}
}

// signedBy names the selectors that sign now.
func signedBy(t *testing.T, s *Set) string {
	t.Helper()
	proof, err := s.Sign(t.Context(), letter(t, plain), Upstream{}, true)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, g := range proof.Signatures {
		all = append(all, g.Selector)
	}
	return strings.Join(all, " ")
}

func TestAKeySignsOnceItsRecordHasBeenSeen(t *testing.T) {
	p := newPlace(t)
	fresh, old := p.key(Ed25519, "example.com", "s2"), p.key(Ed25519, "example.com", "s1")
	p.publish(old)
	s := p.set(fresh, old)
	now := time.Now()
	look := func(after time.Duration) { now = now.Add(after); s.round(t.Context(), now) }
	mustStand(t, "before anything was looked up", s, "s2 new, s1 new")
	look(0)
	mustStand(t, "with one record in DNS", s, "s2 new, s1 active")
	if got := signedBy(t, s); got != "s1" {
		t.Errorf("signed by %q", got)
	}
	p.publish(fresh)
	look(time.Second)
	mustStand(t, "before it is looked up again", s, "s2 new, s1 active")
	look(time.Minute)
	mustStand(t, "with both records in DNS", s, "s2 active, s1 published")
	if got := signedBy(t, s); got != "s2" {
		t.Errorf("signed by %q", got)
	}
	state := func(selector string, state State) float64 {
		return testutil.ToFloat64(s.metrics.DKIMKeyState.WithLabelValues("example.com", selector, string(state)))
	}
	if state("s2", StateActive) != 1 || state("s2", StateNew) != 0 || state("s1", StatePublished) != 1 {
		t.Error("the numbers do not show the states")
	}

	for what, happens := range map[string]func(){
		"DNS fails": func() { p.dns.Down(true) },
		"the records go": func() {
			p.dns.Down(false)
			p.dns.TXT("s1._domainkey.example.com")
			p.dns.TXT("s2._domainkey.example.com")
		},
		"they are revoked":  func() { p.dns.Down(false); p.dns.TXT("s2._domainkey.example.com", "v=DKIM1; p=") },
		"a restart":         func() { s = p.set(fresh, old) },
		"one in an outage":  func() { p.dns.Down(true); s = p.set(fresh, old) },
		"the other retires": func() { old.State = string(StateRetiring); s = p.set(fresh, old); old.State = "" },
	} {
		happens()
		look(2 * time.Hour)
		if got := signedBy(t, s); got != "s2" {
			t.Errorf("after %s: signed by %q; the keys are %s", what, got, standings(s))
		}
	}
	p.dns.Down(false)
	look(2 * time.Hour)
	if got := testutil.ToFloat64(s.metrics.DKIMRecord.WithLabelValues("example.com", "s2")); got != 0 {
		t.Errorf("the numbers call the lost record %v", got)
	}
	if !strings.Contains(p.log.String(), `level=WARN msg="DKIM record" key=s2._domainkey.example.com state=active record=`) {
		t.Errorf("the log does not tell of the lost record:\n%s", p.log)
	}
}

func TestWhatTheConfigurationForces(t *testing.T) {
	p := newPlace(t)
	forced, waiting, retiring := p.key(Ed25519, "example.com", "s3"), p.key(RSA, "example.com", "s2"), p.key(Ed25519, "example.com", "s1")
	forced.State, retiring.State = "active", "retiring"
	p.publish(retiring)
	s := p.set(retiring, forced, waiting)
	s.round(t.Context(), time.Now())
	mustStand(t, "whatever DNS says", s, "s1 retiring, s3 active, s2 new")
	if got := signedBy(t, s); got != "s3" {
		t.Errorf("signed by %q", got)
	}
}

func TestAKeyFileThatChangesIsReadWithoutAReload(t *testing.T) {
	p := newPlace(t)
	k := p.key(Ed25519, "example.com", "s1")
	path := filepath.Join(p.dir, "s1.example.com.pem")
	p.publish(k)
	s := p.set(k)
	now := time.Now()
	at := func(d time.Duration) { s.round(t.Context(), now.Add(d)) }
	at(0)
	mustStand(t, "at first", s, "s1 active")
	verifies := func() bool {
		m := letter(t, plain)
		good, _ := p.verify(sent(t, m, mustSign(t, s, m)))
		return len(good) == 1
	}

	p.write(path, []byte("-----BEGIN half a key"))
	at(2 * time.Second)
	at(4 * time.Second)
	mustStand(t, "with a file that is no key", s, "s1 active")
	if n := strings.Count(p.log.String(), "DKIM key kept"); n != 1 {
		t.Errorf("the bad file is logged %d times:\n%s", n, p.log)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	at(6 * time.Second)
	at(8 * time.Second)
	if n := strings.Count(p.log.String(), "DKIM key kept"); n != 2 {
		t.Errorf("the bad file and the missing one are logged %d times:\n%s", n, p.log)
	}
	if !verifies() {
		t.Error("the old key is not kept")
	}

	p.write(path, pair(t, Ed25519, "another").PEM)
	at(10 * time.Second)
	mustStand(t, "with another key, whose record is not there", s, "s1 new")
	p.publish(k)
	at(2 * time.Minute)
	mustStand(t, "with its record", s, "s1 active")
	if !verifies() {
		t.Error("the new key does not sign")
	}
}

func TestMailMakesAChangedKeyBeRead(t *testing.T) {
	p := newPlace(t)
	k := p.key(Ed25519, "example.com", "s1")
	s := p.forced(k)
	mustSign(t, s, letter(t, plain))
	p.write(filepath.Join(p.dir, "s1.example.com.pem"), pair(t, Ed25519, "another").PEM)
	p.publish(k)
	s.mu.Lock()
	s.read = s.read.Add(-readEvery)
	s.mu.Unlock()
	m := letter(t, plain)
	if good, err := p.verify(sent(t, m, mustSign(t, s, m))); len(good) != 1 {
		t.Errorf("signed with the old key: %v", err)
	}
	select {
	case <-s.changed:
	default:
		t.Error("nobody is told to look up the record of the new key")
	}
}

func TestWatchLooksAtOnceAndEnds(t *testing.T) {
	p := newPlace(t)
	k := p.key(Ed25519, "example.com", "s1")
	p.publish(k)
	s := p.set(k)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); s.Watch(ctx) }()
	for deadline := time.Now().Add(30 * time.Second); signedBy(t, s) == ""; {
		if time.Now().After(deadline) {
			t.Fatal("the key is never used")
		}
	}
	cancel()
	<-ended
}

func TestWhatIsRememberedMayBeDamaged(t *testing.T) {
	p := newPlace(t)
	k := p.key(Ed25519, "example.com", "s1")
	p.publish(k)
	p.write(filepath.Join(p.dir, "dkim.json"), []byte(`[{"record": "s1._dom`))
	s := p.set(k)
	mustStand(t, "with a damaged file", s, "s1 new")
	s.round(t.Context(), time.Now())
	mustStand(t, "after a look", s, "s1 active")
	mustStand(t, "and a restart", p.set(k), "s1 active")
	if text, err := os.ReadFile(filepath.Join(p.dir, "dkim.json")); err != nil || strings.Contains(string(text), "PRIVATE") {
		t.Errorf("dkim.json: %s, %v", text, err)
	}
}

func TestStates(t *testing.T) {
	for _, row := range []struct {
		name string
		keys []candidate
		want string
	}{
		{"one that has been seen", []candidate{{domain: "a", wish: stateAuto, seen: true}}, "active"},
		{"one that has not", []candidate{{domain: "a", wish: stateAuto}}, "new"},
		{"forced", []candidate{{domain: "a", wish: StateActive}}, "active"},
		{"retiring, though seen", []candidate{{domain: "a", wish: StateRetiring, seen: true}}, "retiring"},
		{"the first of two", []candidate{{domain: "a", wish: stateAuto, seen: true}, {domain: "a", wish: StateActive}}, "active published"},
		{"the second while the first is new", []candidate{{domain: "a", wish: stateAuto}, {domain: "a", wish: stateAuto, seen: true}}, "new active"},
		{"two algorithms", []candidate{{domain: "a", algorithm: RSA, wish: StateActive}, {domain: "a", algorithm: Ed25519, wish: StateActive}}, "active active"},
		{"two domains", []candidate{{domain: "a", wish: StateActive}, {domain: "b", wish: StateActive}}, "active active"},
	} {
		if got := strings.Trim(fmt.Sprint(statesOf(row.keys)), "[]"); got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
	}
}
