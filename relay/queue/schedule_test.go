package queue_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/relay/message"
	"postern/relay/queue"
	"postern/relay/queue/queuetest"
	"postern/relay/setting"
)

func TestNextAttempt(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	cfg := queue.DefaultConfig()
	for _, test := range []struct {
		name     string
		attempts int
		chance   float64
		want     time.Duration
	}{
		{"the first failure waits the first time", 1, 0.5, time.Minute},
		{"the second failure waits the second time", 2, 0.5, 5 * time.Minute},
		{"the last time in the list", 7, 0.5, 4 * time.Hour},
		{"the last time repeats", 8, 0.5, 4 * time.Hour},
		{"and repeats", 1000, 0.5, 4 * time.Hour},
		{"the least chance takes a tenth off", 2, 0, 5*time.Minute - 30*time.Second},
		{"the greatest chance adds a tenth", 2, 1, 5*time.Minute + 30*time.Second},
		{"an attempt that was not counted waits the first time", 0, 0.5, time.Minute},
	} {
		if got := queue.NextAttempt(cfg, test.attempts, now, test.chance).Sub(now); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
	if got := queue.NextAttempt(queue.Config{}, 3, now, 0); !got.Equal(now) {
		t.Errorf("without a list: %s", got)
	}
}

func TestExpired(t *testing.T) {
	received := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	cfg := queue.DefaultConfig()
	for after, want := range map[time.Duration]bool{0: false, 96*time.Hour - 1: false, 96 * time.Hour: true, 1000 * time.Hour: true} {
		if got := queue.Expired(cfg, received, received.Add(after)); got != want {
			t.Errorf("after %s: %v", after, got)
		}
	}
}

func TestWaitWakesAtTheNextAttempt(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		cfg := queuetest.Config()
		cfg.Retry = []setting.Duration{setting.Duration(3 * time.Hour)} // longer than the longest nap
		s := openIn(t, dir, cfg)
		m := queuetest.NewMessage("printer", 10, "a@example.com")
		c, err := queuetest.Put(t.Context(), s, m, "office", "m365")
		if err != nil {
			t.Fatal(err)
		}
		settled, err := s.Settle(t.Context(), c, []queue.Outcome{{Result: message.Result{Outcome: message.Deferred}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Wait(context.Background(), "office"); err != nil {
			t.Fatal(err)
		}
		if late := time.Since(settled[0].NextAt); late < 0 || late > time.Second {
			t.Errorf("woken %s after the time", late)
		}
		if claims, err := s.Claim(t.Context(), "office", "m365", 1, 0); err != nil || len(claims) != 1 {
			t.Errorf("claims %v, %v", claims, err)
		}
	})
}

func TestCheck(t *testing.T) {
	edit := func(f func(*queue.Config)) queue.Config {
		cfg := queue.DefaultConfig()
		f(&cfg)
		return cfg
	}
	second := setting.Duration(time.Second)
	for _, test := range []struct {
		name string
		cfg  queue.Config
		want string // key and part of the sentence
	}{
		{"the default is right", queue.DefaultConfig(), ""},
		{"no retries", edit(func(c *queue.Config) { c.Retry = nil }), "retry: it is empty"},
		{"a retry at once", edit(func(c *queue.Config) { c.Retry = []setting.Duration{second, 0} }), "retry[1]: 0 is too short"},
		{"expiry before the first retry", edit(func(c *queue.Config) { c.Expire = second }), "expire: 1s ends before the first retry after 1m"},
		{"an unknown policy", edit(func(c *queue.Config) { c.Uncertain = "bounce" }), `uncertain: "bounce" is not a choice`},
		{"no retention", edit(func(c *queue.Config) { c.Retention = 0 }), "retention: 0 would forget"},
		{"no room for history", edit(func(c *queue.Config) { c.HistoryMax = 10 }), "history_max: 10 holds next to nothing"},
	} {
		var got []string
		test.cfg.Check(func(key, format string, args ...any) { got = append(got, key+": "+fmt.Sprintf(format, args...)) })
		if all := strings.Join(got, "\n"); !strings.HasPrefix(all, test.want) || (test.want == "") != (all == "") || len(got) > 1 {
			t.Errorf("%s: %q, want %q", test.name, all, test.want)
		}
	}
}
