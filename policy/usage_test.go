package policy_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postern/policy"
	"postern/relay/message"
	"postern/relay/setting"
)

func rate(t testing.TB, s string) (r setting.Rate) {
	t.Helper()
	if s == "" {
		return r
	}
	if err := r.UnmarshalText([]byte(s)); err != nil {
		t.Fatal(err)
	}
	return r
}

// nothing is the history of a new store.
func nothing(time.Time, func(account, user string, at time.Time, recipients int)) error { return nil }

// limited is an office whose printer-3f has these limits.
func limited(t testing.TB, messages, recipients, all string) (*policy.Policy, *policy.Usage) {
	t.Helper()
	p := policy.New(
		policy.Config{Limits: policy.Limits{PerAccount: policy.Rates{Messages: rate(t, all)}}},
		map[string]policy.Account{
			"printer-3f": {Limits: policy.AccountLimits{Messages: rate(t, messages), Recipients: rate(t, recipients)}},
			"monitor":    {},
		})
	u := policy.NewUsage()
	if err := p.Recount(u, nothing); err != nil {
		t.Fatal(err)
	}
	return p, u
}

// send is a message that is accepted, or the refusal.
func send(p *policy.Policy, u *policy.Usage, c message.Client, recipients int) error {
	r, err := p.Reserve(u, c, recipients)
	if err != nil {
		return err
	}
	r.Count()
	return nil
}

// mustBeLimited checks that err is a refusal by that rule until a time from now.
func mustBeLimited(t *testing.T, err error, rule string, in time.Duration, text string) {
	t.Helper()
	var l *policy.Limited
	var reply *message.Reply
	if !errors.As(err, &l) || !errors.As(err, &reply) {
		t.Fatalf("the answer is %v, want a refusal by %s", err, rule)
	}
	if l.Rule != rule || time.Until(l.Until) != in {
		t.Errorf("rule %s, for %v more; want %s for %v", l.Rule, time.Until(l.Until), rule, in)
	}
	at := l.Until.UTC().Format("2006-01-02 15:04:05") + " UTC"
	if reply.Code != 450 || reply.Enhanced != "4.7.1" || !strings.Contains(reply.Text, text) || !strings.HasSuffix(reply.Text, "; try again after "+at) {
		t.Errorf("the reply is %v, want %q and %s", reply, text, at)
	}
}

func TestALimitOfMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, u := limited(t, "3/m", "", "")
		for range 3 {
			if err := send(p, u, client, 1); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Second)
		}
		want := "account printer-3f has reached its limit for messages, 3 per minute (limits.messages of the account)"
		mustBeLimited(t, p.Room(u, client, 0), "messages", 30*time.Second, want)
		mustBeLimited(t, send(p, u, client, 1), "messages", 30*time.Second, want)
		if err := send(p, u, message.Client{Identity: message.Identity{Account: "monitor"}}, 1); err != nil {
			t.Errorf("another account is refused: %v", err)
		}
		time.Sleep(30*time.Second - time.Nanosecond)
		mustBeLimited(t, p.Room(u, client, 0), "messages", 1, want)
		time.Sleep(time.Nanosecond)
		if err := send(p, u, client, 1); err != nil {
			t.Errorf("when it was told to come: %v", err)
		}
		mustBeLimited(t, p.Room(u, client, 0), "messages", 10*time.Second, want)
	})
}

func TestALimitOfRecipients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, u := limited(t, "", "5/h", "")
		const want = "account printer-3f has reached its limit for recipients, 5 per hour (limits.recipients of the account)"
		if err := send(p, u, client, 4); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if err := p.Room(u, client, 1); err != nil {
			t.Errorf("the fifth recipient: %v", err)
		}
		mustBeLimited(t, p.Room(u, client, 2), "recipients", 59*time.Minute, want)
		mustBeLimited(t, p.Room(u, client, 6), "recipients", time.Hour, want)
		if err := p.Room(u, client, 0); err != nil {
			t.Errorf("at MAIL: %v", err)
		}
	})
}

func TestTheLimitThatLastsLongestIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, u := limited(t, "2/m", "2/d", "2/h")
		for range 2 {
			if err := send(p, u, client, 1); err != nil {
				t.Fatal(err)
			}
		}
		mustBeLimited(t, p.Room(u, client, 0), "per_account_messages", time.Hour, "messages, 2 per hour (policy.limits.per_account.messages)")
		mustBeLimited(t, p.Room(u, client, 1), "recipients", 24*time.Hour, "recipients, 2 per day")
	})
}

func TestUsersOfAnAccountAreCountedEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, u := limited(t, "1/d", "", "")
		for _, user := range []string{"", "jane", "joe"} {
			c := client
			c.User = user
			if err := send(p, u, c, 1); err != nil {
				t.Errorf("%q: %v", user, err)
			}
			text := "account printer-3f has reached its limit for messages, 1 per day"
			if user != "" {
				text = "user " + user + " of " + text
			}
			mustBeLimited(t, send(p, u, c, 1), "messages", 24*time.Hour, text)
		}
	})
}

func TestWhatIsReservedIsTakenUntilItIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, u := limited(t, "2/d", "", "")
		first, err := p.Reserve(u, client, 1)
		if err != nil {
			t.Fatal(err)
		}
		second, err := p.Reserve(u, client, 1)
		if err != nil {
			t.Fatal(err)
		}
		mustBeLimited(t, p.Room(u, client, 0), "messages", time.Second, "messages, 2 per day")
		second.GiveBack()
		second.GiveBack()
		second.Count()
		first.Count()
		first.GiveBack()
		if err := send(p, u, client, 1); err != nil {
			t.Errorf("what was given back: %v", err)
		}
		mustBeLimited(t, p.Room(u, client, 0), "messages", 24*time.Hour, "messages, 2 per day")
	})
}

func TestSessionsSideBySideStayWithinTheLimit(t *testing.T) {
	p, u := limited(t, "100/d", "", "")
	var accepted atomic.Int32
	var all sync.WaitGroup
	for i := range 32 {
		all.Go(func() {
			for range 20 {
				r, err := p.Reserve(u, client, 1)
				switch {
				case err != nil:
				case i%4 == 0:
					r.GiveBack()
				default:
					r.Count()
					accepted.Add(1)
				}
			}
		})
	}
	all.Wait()
	if n := accepted.Load(); n != 100 {
		t.Errorf("%d were accepted, want 100", n)
	}
}

// history is what a store has: newest last, told newest first.
type history []accepted

type accepted struct {
	account, user string
	at            time.Time
	recipients    int
}

func (h history) tell(since time.Time, each func(account, user string, at time.Time, recipients int)) error {
	for i := len(h) - 1; i >= 0; i-- {
		if a := h[i]; !a.at.Before(since) {
			each(a.account, a.user, a.at, a.recipients)
		}
	}
	return nil
}

func TestUsageIsReadBackFromTheHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := limited(t, "4/h", "", "")
		now := time.Now()
		h := history{
			{"printer-3f", "", now.Add(-2 * time.Hour), 1},
			{"printer-3f", "", now.Add(-50 * time.Minute), 1},
			{"printer-3f", "jane", now.Add(-40 * time.Minute), 1},
			{"printer-3f", "", now.Add(-30 * time.Minute), 1},
			{"monitor", "", now.Add(-20 * time.Minute), 1},
			{"printer-3f", "", now.Add(-10 * time.Minute), 1},
			{"printer-3f", "", now.Add(10 * time.Minute), 1}, // by a clock that was wrong
		}
		u := policy.NewUsage()
		if err := p.Recount(u, h.tell); err != nil {
			t.Fatal(err)
		}
		if err := send(p, u, client, 1); err != nil {
			t.Errorf("the fourth: %v", err)
		}
		mustBeLimited(t, send(p, u, client, 1), "messages", 10*time.Minute, "messages, 4 per hour")
		time.Sleep(10 * time.Minute)
		if err := send(p, u, client, 1); err != nil {
			t.Errorf("when the first of them is an hour old: %v", err)
		}
		mustBeLimited(t, send(p, u, client, 1), "messages", 20*time.Minute, "messages, 4 per hour")
	})
}

func TestAHistoryThatCannotBeReadChangesNothing(t *testing.T) {
	p, _ := limited(t, "1/h", "", "")
	u := policy.NewUsage()
	broken := errors.New("broken")
	if err := p.Recount(u, func(time.Time, func(string, string, time.Time, int)) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("the error is %v", err)
	}
}

// A reload keeps the counts; one with other periods reads them anew.
func TestAReloadKeepsTheCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, u := limited(t, "5/h", "", "")
		var h history
		for range 2 {
			if err := send(p, u, client, 1); err != nil {
				t.Fatal(err)
			}
			h = append(h, accepted{"printer-3f", "", time.Now(), 1})
			time.Sleep(time.Minute)
		}
		stricter, _ := limited(t, "2/h", "", "")
		if err := stricter.Recount(u, func(time.Time, func(string, string, time.Time, int)) error {
			t.Error("the history was read, although all is known")
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		mustBeLimited(t, send(stricter, u, client, 1), "messages", 58*time.Minute, "messages, 2 per hour")

		running, err := p.Reserve(u, client, 1)
		if err != nil {
			t.Fatal(err)
		}
		daily, _ := limited(t, "3/d", "", "")
		if err := daily.Recount(u, h.tell); err != nil {
			t.Fatal(err)
		}
		mustBeLimited(t, send(daily, u, client, 1), "messages", 24*time.Hour-time.Minute, "messages, 3 per day") // both together
		running.Count()
		mustBeLimited(t, send(daily, u, client, 1), "messages", 24*time.Hour, "messages, 3 per day")
	})
}

func TestWhoSendsNothingLatelyIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, u := limited(t, "1/m", "", "")
		for round := range 20 {
			for i := range 1000 {
				c := client
				c.User = fmt.Sprint(round, "-", i)
				if err := send(p, u, c, 1); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Minute)
		}
		if n := policy.Senders(u); n > 3000 {
			t.Errorf("%d senders are remembered", n)
		}
	})
}

func TestWithoutLimitsNothingIsCounted(t *testing.T) {
	p, u := limited(t, "", "", "")
	for range 10 {
		if err := send(p, u, client, 1000); err != nil {
			t.Fatal(err)
		}
	}
	if n := policy.Senders(u); n != 0 {
		t.Errorf("%d senders are remembered", n)
	}
}
