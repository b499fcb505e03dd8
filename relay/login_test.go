package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"postern/auth"
	"postern/metrics"
	"postern/policy"
	"postern/relay/message"
	"postern/relay/setting"
)

// lobby is what of a relay takes part in logins, with the accounts "printer" and
// "scanner". Five failures ban.
func lobby(t *testing.T) (*Relay, *bytes.Buffer) {
	t.Helper()
	accounts, err := auth.New(auth.DefaultConfig(), []auth.Account{{Name: "printer", Aliases: []string{"p3"}}, {Name: "scanner"}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	log := new(bytes.Buffer)
	r := &Relay{log: slog.New(slog.NewJSONHandler(log, nil)), metrics: metrics.New("test", ""), bans: policy.NewBans()}
	r.stations.Store(&stations{accounts: accounts})
	r.bans.Configure(policy.Ban{After: 5, Within: setting.Duration(10 * time.Minute), For: setting.Duration(time.Hour)}, nil)
	return r, log
}

var office = message.Client{Address: netip.MustParseAddrPort("198.51.100.7:5678"), Mechanism: "PLAIN", Listener: "submission"}

// right and wrong are what became of a password.
func right() (message.Identity, error) {
	return message.Identity{Account: "printer"}, nil
}

func wrong() (message.Identity, error) {
	return message.Identity{}, message.Refuse(535, "5.7.8", "wrong")
}

func TestWhoGuessesWaitsAndIsBanned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, log := lobby(t)
		ctx := t.Context()
		try := func(c message.Client, name string, prove func() (message.Identity, error)) (took time.Duration, err error) {
			began := time.Now()
			_, err = r.login(ctx, c, name, prove)
			return time.Since(began), err
		}
		for i, want := range []time.Duration{1, 2, 4, 8, 16} {
			if took, err := try(office, "printer", wrong); code(err) != 535 || took != want*time.Second {
				t.Errorf("failure %d: %v after %v, want a 535 after %v", i+1, err, took, want*time.Second)
			}
			if took, err := try(office, "scanner", right); err != nil || took != 0 {
				t.Errorf("its neighbour: %v after %v", err, took)
			}
		}
		asked := false
		took, err := try(office, "Printer", func() (message.Identity, error) { asked = true; return right() })
		until := time.Now().Add(time.Hour-16*time.Second).UTC().Format("2006-01-02 15:04:05") + " UTC"
		if code(err) != 454 || took != 0 || !strings.HasSuffix(err.Error(), "try again after "+until) {
			t.Errorf("the right password after that: %v after %v, want a 454 until %s", err, took, until)
		}
		if asked {
			t.Error("its password was looked at")
		}
		if took, err := try(office, "scanner", right); err != nil || took != 0 {
			t.Errorf("its neighbour: %v after %v", err, took)
		}
		time.Sleep(time.Hour)
		if took, err := try(office, "printer", right); err != nil || took != 0 {
			t.Errorf("when the ban is over: %v after %v", err, took)
		}
		for _, want := range []string{
			`"msg":"login failed","client":"198.51.100.7","account":"printer","mechanism":"PLAIN","listener":"submission","failures":4}`,
			`"msg":"account banned","client":"198.51.100.7","account":"printer","until":"`,
		} {
			if strings.Count(log.String(), want) != 1 {
				t.Errorf("the log lacks %s:\n%s", want, log)
			}
		}
		if n := testutil.ToFloat64(r.metrics.PolicyBans.WithLabelValues("account")); n != 1 {
			t.Errorf("%v bans were counted", n)
		}
	})
}

// What was typed as a name may have been a password.
func TestNamesOfNobodyAreNotShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, log := lobby(t)
		for i := range 20 {
			r.login(t.Context(), office, fmt.Sprint("hunter", i), wrong)
		}
		r.login(t.Context(), office, "P3", wrong)
		if strings.Contains(log.String(), "hunter") {
			t.Errorf("the log shows what was typed:\n%s", log)
		}
		for _, want := range []string{`"msg":"login failed","client":"198.51.100.7","account":"unknown"`, `"msg":"address banned","client":"198.51.100.7","until":"`} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log lacks %s:\n%s", want, log)
			}
		}
		if err := (gateway{r}).Connect(office); code(err) != 421 {
			t.Errorf("at its next connection the client is told %v", err)
		}
		neighbour := office
		neighbour.Address = netip.MustParseAddrPort("198.51.100.8:5678")
		if err := (gateway{r}).Connect(neighbour); err != nil {
			t.Errorf("its neighbour is told %v", err)
		}
	})
}

func TestOurOwnTroubleIsHeldAgainstNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := lobby(t)
		for _, trouble := range []error{
			message.Refuse(454, "4.7.0", "the directory is away"), message.Refuse(504, "5.5.4", "not offered"), errors.New("disk"), context.Canceled,
		} {
			for range 20 {
				began := time.Now()
				_, err := r.login(t.Context(), office, "printer", func() (message.Identity, error) { return message.Identity{}, trouble })
				if !errors.Is(err, trouble) || time.Since(began) != 0 {
					t.Fatalf("%v was answered %v after %v", trouble, err, time.Since(began))
				}
			}
		}
	})
}

// Many guesses at once must not be more than many one after the other.
func TestARightPasswordAmongTooManyGuessesIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := lobby(t)
		_, err := r.login(t.Context(), office, "printer", func() (message.Identity, error) {
			for range 5 {
				r.bans.Failed(office.Address.Addr(), policy.Login{Name: "printer"}, time.Now()) // others of the client, meanwhile
			}
			return right()
		})
		if code(err) != 454 {
			t.Errorf("it was answered %v", err)
		}
	})
}

// An account has as many guesses by all its names as by one, and its ban is
// listed and lifted by any of them.
func TestAliasesAreNoFurtherGuesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := lobby(t)
		for _, name := range []string{"p3", "printer", "P3", "Printer", "p3"} {
			if _, err := r.login(t.Context(), office, name, wrong); code(err) != 535 {
				t.Fatalf("%s was answered %v", name, err)
			}
		}
		for _, name := range []string{"p3", "printer"} {
			if _, err := r.login(t.Context(), office, name, right); code(err) != 454 {
				t.Errorf("%s was answered %v after five failures", name, err)
			}
		}
		if bans := r.listBans(); len(bans) != 1 || bans[0].Account != "printer" || bans[0].Kind != "account" {
			t.Errorf("listed are %+v", bans)
		}
		q := httptest.NewRequest("DELETE", "/bans?client=198.51.100.7&account=P3", nil)
		if lifted, err := r.liftBans(q); lifted != 1 || err != nil {
			t.Errorf("lifted are %v, %v", lifted, err)
		}
		if _, err := r.login(t.Context(), office, "p3", right); err != nil {
			t.Errorf("after that: %v", err)
		}
	})
}

func TestAWaitEndsWithTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := lobby(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		began := time.Now()
		if _, err := r.login(ctx, office, "printer", wrong); code(err) != 535 || time.Since(began) != time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestFewOfOneClientWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := lobby(t)
		const logins = 18
		var all sync.WaitGroup
		answered := make(chan error, logins)
		for i := range logins {
			all.Go(func() {
				_, err := r.login(t.Context(), office, fmt.Sprint("user", i/2), wrong) // few failures of each name, and not many names
				answered <- err
			})
		}
		synctest.Wait()
		if n := len(answered); n != logins-maxWaiting {
			t.Errorf("%d were answered at once, want %d", n, logins-maxWaiting)
		}
		all.Wait()
		if len(r.turns.by) != 0 {
			t.Errorf("%d clients are remembered", len(r.turns.by))
		}
	})
}

func TestOneClientHasFewLoginsCheckedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := lobby(t)
		var mu sync.Mutex
		running, most := 0, 0
		slow := func() (message.Identity, error) {
			mu.Lock()
			running++
			most = max(most, running)
			mu.Unlock()
			time.Sleep(20 * time.Second)
			mu.Lock()
			running--
			mu.Unlock()
			return right()
		}
		var all sync.WaitGroup
		codes := make(chan int, 100)
		for range 20 {
			all.Go(func() {
				_, err := r.login(t.Context(), office, "printer", slow)
				codes <- code(err)
			})
		}
		synctest.Wait()
		other := office
		other.Address = netip.MustParseAddrPort("198.51.100.8:1")
		began := time.Now()
		if _, err := r.login(t.Context(), other, "printer", right); err != nil || time.Since(began) != 0 {
			t.Errorf("another client: %v after %v", err, time.Since(began))
		}
		all.Wait()
		close(codes)
		told := map[int]int{}
		for c := range codes {
			told[c]++
		}
		if most != maxProving || told[0] != 2*maxProving || told[454] != 20-2*maxProving {
			t.Errorf("%d at once; answers %v", most, told)
		}
		if len(r.turns.by) != 0 {
			t.Errorf("%d clients are remembered", len(r.turns.by))
		}
	})
}

// code is that of a reply; 0 for nil, -1 for another error.
func code(err error) int {
	var r *message.Reply
	switch {
	case err == nil:
		return 0
	case errors.As(err, &r):
		return r.Code
	}
	return -1
}

// steps is a Challenge that gives the name in its first step, and is answered in
// its second.
type steps struct{ name, secret string }

func (s *steps) Name() string { return s.name }

func (s *steps) Identity() message.Identity { return message.Identity{Account: s.name} }

func (s *steps) Next(response []byte) ([]byte, bool, error) {
	if s.name == "" {
		s.name = string(response)
		return []byte("secret?"), false, nil
	}
	if string(response) != s.secret {
		_, err := wrong()
		return []byte("e=invalid-proof"), false, err
	}
	return nil, true, nil
}

func TestAChallengeIsALoginToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := lobby(t)
		exchange := func(name, secret string) (said []byte, took time.Duration, err error) {
			began := time.Now()
			c := challenge{Challenge: &steps{secret: "right"}, relay: r, ctx: t.Context(), client: office}
			if said, _, err = c.Next([]byte(name)); err == nil {
				said, _, err = c.Next([]byte(secret))
			}
			return said, time.Since(began), err
		}
		if _, took, err := exchange("printer", "right"); err != nil || took != 0 {
			t.Errorf("a right answer: %v after %v", err, took)
		}
		for i, want := range []time.Duration{1, 2, 4, 8, 16} {
			said, took, err := exchange("printer", "wrong")
			if code(err) != 535 || took != want*time.Second || string(said) != "e=invalid-proof" {
				t.Errorf("failure %d: %q, %v after %v", i+1, said, err, took)
			}
		}
		if _, _, err := exchange("printer", "right"); code(err) != 454 {
			t.Errorf("banned, it was answered %v", err)
		}
		if _, _, err := exchange("scanner", "right"); err != nil {
			t.Errorf("its neighbour was answered %v", err)
		}
	})
}
