package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postern/relay/message"
	"postern/relay/setting"
)

const (
	// quick and slow are hashes of "correct horse" (see vectors).
	quick = "$5$rounds=1000$0123456789abcdef$nR1521U8IXcSFtheYoCuDMlX/ICPi621L7rO.MJ27x2"
	slow  = "$argon2id$v=19$m=1024,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$tCGweEmNNiMdfjqoFl9ZKRl/bO0NJTtJMmax1Il43Gc"
)

var (
	inside  = netip.MustParseAddr("10.20.0.1")
	outside = netip.MustParseAddr("192.0.2.7")
)

// watched are accounts whose comparisons are real, but counted and held back
// while the gate is shut.
type watched struct {
	*Accounts
	mu   sync.Mutex
	work []int64 // the memory of each comparison begun
	gate chan struct{}
}

type watchedMatcher struct {
	hash
	w *watched
}

func (m watchedMatcher) Match(password string) bool {
	m.w.mu.Lock()
	m.w.work = append(m.w.work, m.memory)
	gate := m.w.gate
	m.w.mu.Unlock()
	if gate != nil {
		<-gate
	}
	return m.hash.Match(password)
}

// watch opens accounts with those hashes, by name; the name "fenced" may only
// be used inside, and "" stands for no hash.
func watch(t *testing.T, hashes map[string]string) *watched {
	t.Helper()
	var accounts []Account
	for name, text := range hashes {
		entry := Account{Name: name, Aliases: []string{name + "@example.com"}}
		if text != "" {
			entry.PasswordHash = setting.Plain(text)
		}
		if name == "fenced" {
			entry.Networks = setting.Networks{setting.Network(netip.MustParsePrefix("10.20.0.0/16"))}
		}
		accounts = append(accounts, entry)
	}
	a, err := New(DefaultConfig(), accounts, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	w := &watched{Accounts: a}
	for name, text := range hashes {
		if text != "" {
			acc := a.byName[fold(name)]
			acc.hash.matcher = watchedMatcher{acc.hash, w}
		}
	}
	for i, h := range a.standIns {
		a.standIns[i].matcher = watchedMatcher{h, w}
	}
	return w
}

func (w *watched) shut() { w.gate = make(chan struct{}) }

func (w *watched) open() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.gate)
	w.gate = nil
}

// begun are the comparisons begun since it was asked before.
func (w *watched) begun() []int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	work := w.work
	w.work = nil
	return work
}

// login is the reply's code, 235 for success.
func (w *watched) login(ctx context.Context, name, password string, from netip.Addr) int {
	_, err := w.Password(ctx, name, password, from)
	var reply *message.Reply
	switch {
	case err == nil:
		return 235
	case !errors.As(err, &reply):
		return 0
	}
	return reply.Code
}

// expect logs in and compares reply and work.
func (w *watched) expect(t *testing.T, name, password string, from netip.Addr, code int, work ...int64) {
	t.Helper()
	if got := w.login(t.Context(), name, password, from); got != code {
		t.Errorf("%s with %q from %s: %d, want %d", name, password, from, got, code)
	}
	if got := w.begun(); !slices.Equal(got, work) {
		t.Errorf("%s with %q from %s: comparisons of %d octets, want %d", name, password, from, got, work)
	}
}

// TestRefusalsTakeTheSameWork counts what an attacker could time.
func TestRefusalsTakeTheSameWork(t *testing.T) {
	const memory = 1 << 20 // of slow
	for _, test := range []struct {
		name, user, password string
		from                 netip.Addr
	}{
		{"a wrong password", "erp", "wrong", outside},
		{"a name nobody has", "nobody", "wrong", outside},
		{"a name nobody has, with a password somebody has", "nobody", "correct horse", outside},
		{"an account without a hash", "tokens-only", "correct horse", outside},
		{"the right password from a wrong network", "fenced", "correct horse", outside},
		{"a wrong password from a wrong network", "fenced", "wrong", outside},
		{"a wrong password from the right network", "fenced", "wrong", inside},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := watch(t, map[string]string{"erp": slow, "fenced": slow, "tokens-only": ""})
				w.expect(t, test.user, test.password, test.from, 535, memory)
				w.expect(t, test.user, test.password, test.from, 535) // remembered
				time.Sleep(badLife)
				w.expect(t, test.user, test.password, test.from, 535, memory)
			})
		})
	}
}

func TestSuccessIsRememberedForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, map[string]string{"erp": quick})
		w.expect(t, "erp", "correct horse", outside, 235, smallMemory)
		for range 5 {
			time.Sleep(goodLife/5 - time.Second)
			w.expect(t, "ERP", "correct horse", outside, 235)
		}
		time.Sleep(5 * time.Second) // in all the five minutes: using it does not prolong it
		w.expect(t, "erp", "correct horse", outside, 235, smallMemory)
	})
}

// TestMemoryIsNoOracle: what is remembered of one login makes no other faster.
func TestMemoryIsNoOracle(t *testing.T) {
	w := watch(t, map[string]string{"erp": quick, "fenced": quick})
	w.expect(t, "fenced", "correct horse", inside, 235, smallMemory)
	// Else a quick refusal told an attacker outside that the password is right.
	w.expect(t, "fenced", "correct horse", outside, 535, smallMemory)
	// And a refusal outside must not shut out the device inside.
	w.expect(t, "fenced", "correct horse", inside, 235)
	// Else a quick refusal told that two names are of one account, so exist.
	w.expect(t, "erp", "wrong", outside, 535, smallMemory)
	w.expect(t, "erp@example.com", "wrong", outside, 535, smallMemory)
}

func TestUnknownNamesCostWhatAccountsDo(t *testing.T) {
	w := watch(t, map[string]string{"person": slow, "printer": quick})
	seen := make(map[int64]bool)
	for i := range 64 { // all of one kind: once in 2^63 runs
		name := fmt.Sprint("nobody-", i)
		w.login(t.Context(), name, "one", outside)
		w.login(t.Context(), name, "two", outside)
		work := w.begun()
		if len(work) != 2 || work[0] != work[1] {
			t.Fatalf("%s: comparisons of %d octets, want two alike", name, work)
		}
		seen[work[0]] = true
	}
	if !seen[1<<20] || !seen[smallMemory] {
		t.Errorf("unknown names cost %v, accounts %d and %d", seen, 1<<20, smallMemory)
	}
}

func TestTheSameLoginAtOnceIsCheckedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, map[string]string{"erp": quick})
		w.shut()
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if got := w.login(t.Context(), "erp", "correct horse", outside); got != 235 {
					t.Errorf("got %d", got)
				}
			})
		}
		synctest.Wait()
		w.open()
		wg.Wait()
		if got := w.begun(); len(got) != 1 {
			t.Errorf("%d comparisons, want 1", len(got))
		}
	})
}

// TestAFullPoolIsOurTrouble: with every CPU busy, a login waits and is then
// told 454, right or wrong; what is remembered is still answered.
func TestAFullPoolIsOurTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, map[string]string{"erp": quick})
		w.expect(t, "erp", "correct horse", outside, 235, smallMemory)
		w.expect(t, "erp", "remembered", outside, 535, smallMemory)
		w.shut()
		var wg sync.WaitGroup
		for i := range cores() {
			wg.Go(func() { w.login(t.Context(), "erp", fmt.Sprint("guess ", i), outside) })
		}
		synctest.Wait()
		w.begun()

		w.expect(t, "erp", "correct horse", outside, 235)
		w.expect(t, "erp", "remembered", outside, 535)
		start := time.Now()
		w.expect(t, "erp@example.com", "correct horse", outside, 454)
		if waited := time.Since(start); waited != patience {
			t.Errorf("waited %s, want %s", waited, patience)
		}
		w.expect(t, "nobody", "wrong", outside, 454)

		w.open()
		wg.Wait()
		w.expect(t, "erp@example.com", "correct horse", outside, 235, smallMemory) // 454 is not remembered
	})
}

// TestWhoGivesUpFindsTheAnswerLater: the first to try does not take those who
// share its comparison along.
func TestWhoGivesUpFindsTheAnswerLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, map[string]string{"erp": quick})
		w.shut()
		for i := range cores() {
			go w.login(t.Context(), "erp", fmt.Sprint("guess ", i), outside)
		}
		synctest.Wait()
		ctx, giveUp := context.WithCancel(t.Context())
		first, second := make(chan int, 1), make(chan int, 1)
		go func() { first <- w.login(ctx, "erp", "correct horse", outside) }()
		synctest.Wait()
		go func() { second <- w.login(t.Context(), "erp", "correct horse", outside) }()
		synctest.Wait()
		giveUp()
		if got := <-first; got != 454 {
			t.Errorf("who gave up: %d, want 454", got)
		}
		w.open()
		if got := <-second; got != 235 {
			t.Errorf("who waited: %d, want 235", got)
		}
		w.begun()
		w.expect(t, "erp", "correct horse", outside, 235)
	})
}

func BenchmarkPassword(b *testing.B) {
	hash, err := Hash("correct horse")
	if err != nil {
		b.Fatal(err)
	}
	a, err := New(DefaultConfig(), []Account{{Name: "erp", PasswordHash: setting.Plain(hash)}}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	login := func(b *testing.B, password string) bool {
		_, err := a.Password(b.Context(), "erp", password, outside)
		return err == nil
	}
	b.Run("hit", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if !login(b, "correct horse") {
				b.Fatal("refused")
			}
		}
	})
	b.Run("miss", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if login(b, fmt.Sprint("guess ", i)) {
				b.Fatal("accepted")
			}
		}
	})
}
