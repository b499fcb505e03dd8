package queue_test

import (
	"testing"
	"time"

	"postern/metrics"
	"postern/relay/message"
	"postern/relay/queue"
	"postern/relay/queue/queuetest"
	"postern/relay/setting"
)

const nineYears = 9 * 365 * 24 * time.Hour

// A box that boots with the year 2035 takes mail, and tries it, before its
// clock is set right.
func TestAClockSetBackLeavesNoMailWaiting(t *testing.T) {
	fromTheFuture := func(t *testing.T, s *queue.SQLite) (queued, deferred string) {
		ids := []string{"", ""}
		for i := range ids {
			m := queuetest.NewMessage("printer", 10, "a@example.com")
			m.Received = m.Received.Add(nineYears)
			if _, err := queuetest.Put(t.Context(), s, m, "office", ""); err != nil {
				t.Fatal(err)
			}
			if i == 1 {
				claims, err := s.Claim(t.Context(), "office", "m365", 2, 0)
				if err != nil || len(claims) != 2 {
					t.Fatalf("claims %v, %v", claims, err)
				}
				settleAs(t, s, claims[1], message.Deferred)
				if err := s.Return(t.Context(), claims[0], ""); err != nil {
					t.Fatal(err)
				}
			}
			ids[i] = m.ID
		}
		if err := s.Exec(`UPDATE deliveries SET next_at = next_at + ?`, nineYears.Milliseconds()); err != nil {
			t.Fatal(err)
		}
		return ids[0], ids[1]
	}
	isMended := func(t *testing.T, s *queue.SQLite, queued, deferred string) {
		claims, err := s.Claim(t.Context(), "office", "m365", 10, 0)
		if err != nil || len(claims) != 1 || claims[0].Message.ID != queued {
			t.Errorf("due at once: %v, %v, want %s", claims, err, queued)
		}
		e, err := s.Show(t.Context(), deferred)
		if err != nil {
			t.Fatal(err)
		}
		if in := time.Until(e.Deliveries[0].NextAt); in <= 0 || in > 4*time.Hour+24*time.Minute {
			t.Errorf("next attempt in %s", in)
		}
		cfg := queuetest.Config()
		cfg.Expire = -setting.Duration(time.Hour) // long ago, for what was received now
		s.Configure(cfg)
		if given, err := s.Sweep(t.Context(), nil); err != nil || len(given) != 1 || given[0].ID != deferred {
			t.Errorf("given up: %v, %v", given, err)
		}
	}
	t.Run("at a sweep", func(t *testing.T) {
		s := openIn(t, t.TempDir(), queuetest.Config())
		queued, deferred := fromTheFuture(t, s)
		if _, err := s.Sweep(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		isMended(t, s, queued, deferred)
	})
	t.Run("at the next start", func(t *testing.T) {
		var queued, deferred string
		s := reopened(t, t.TempDir(), queuetest.Config(), metrics.New("test", ""), func(s *queue.SQLite) { queued, deferred = fromTheFuture(t, s) })
		isMended(t, s, queued, deferred)
	})
}

func settleAs(t *testing.T, s *queue.SQLite, c *queue.Claim, o message.Outcome) queue.Settled {
	t.Helper()
	settled, err := s.Settle(t.Context(), c, []queue.Outcome{{Result: message.Result{Outcome: o}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return settled[0]
}

func TestASweepLeavesTimesWithinReach(t *testing.T) {
	s := openIn(t, t.TempDir(), queuetest.Config())
	c := putClaimed(t, s)
	next := settleAs(t, s, c, message.Deferred).NextAt
	if _, err := s.Sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	e, err := s.Show(t.Context(), c.Message.ID)
	if err != nil || !e.Deliveries[0].NextAt.Equal(next) || e.Received.UnixMilli() != c.Message.Received.UnixMilli() {
		t.Errorf("%+v, %v, want %s", e, err, next)
	}
}

// A clock that jumps a day ahead makes mail a day older: what waits is due at
// once, and nothing is given up that is not near its end. One that jumps a day
// back leaves nothing waiting for longer than the longest retry.
func TestTheClockJumpsADay(t *testing.T) {
	const day = 24 * time.Hour
	for name, jump := range map[string]time.Duration{"ahead": day, "back": -day} {
		t.Run(name, func(t *testing.T) {
			s := openIn(t, t.TempDir(), queuetest.Config())
			c := putClaimed(t, s)
			settleAs(t, s, c, message.Deferred)
			if err := s.Exec(`UPDATE deliveries SET next_at = next_at - ?`, jump.Milliseconds()); err != nil {
				t.Fatal(err)
			}
			if err := s.Exec(`UPDATE messages SET received = received - ?`, jump.Milliseconds()); err != nil {
				t.Fatal(err)
			}
			if given, err := s.Sweep(t.Context(), nil); err != nil || len(given) != 0 {
				t.Fatalf("given up: %v, %v", given, err)
			}
			e, err := s.Show(t.Context(), c.Message.ID)
			if err != nil {
				t.Fatal(err)
			}
			now := time.Now()
			if jump > 0 && e.Deliveries[0].NextAt.After(now) || e.Deliveries[0].NextAt.After(now.Add(4*time.Hour+24*time.Minute)) || e.Received.After(now) {
				t.Errorf("received %s, next attempt %s", e.Received, e.Deliveries[0].NextAt)
			}
		})
	}
}
