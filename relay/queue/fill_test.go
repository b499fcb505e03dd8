package queue_test

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"postern/metrics"
	"postern/relay/queue"
	"postern/relay/queue/queuetest"
	"postern/relay/setting"
)

// What has ended goes into the index within seconds, what waits after a minute, and
// what becomes of it then is found too.
func TestTheIndexIsFilledBehindTheMail(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, err := queue.Open(queuetest.Config(), dir, metrics.New("test", ""), quiet())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		known := func(what string, after time.Duration, want int) {
			t.Helper()
			time.Sleep(after)
			if n := s.Known(); n != want {
				t.Errorf("%s: the index knows %d messages, want %d", what, n, want)
			}
		}
		if _, err := s.Settle(t.Context(), putClaimed(t, s), deliveredOne, nil); err != nil {
			t.Fatal(err)
		}
		waiting := putClaimed(t, s)
		known("just ended", 0, 0)
		known("ended", 5*time.Second, 1)
		known("ended, and waiting", 2*time.Minute, 2)
		if _, err := s.Settle(t.Context(), waiting, deliveredOne, nil); err != nil {
			t.Fatal(err)
		}
		known("changed", 0, 1)
		if n := s.Terms(); n != 1 {
			t.Errorf("a search meets %d messages, one of them as it is no more", n)
		}
		known("changed, and ended", 5*time.Second, 2)
		found, err := s.Search(t.Context(), queue.Filter{All: true, States: []queue.State{queue.Delivered}})
		if err != nil || len(found.Entries) != 2 {
			t.Errorf("found %d, %v", len(found.Entries), err)
		}
		cfg := queuetest.Config()
		cfg.Retention = setting.Duration(time.Minute)
		s.Configure(cfg)
		time.Sleep(2 * time.Minute)
		if _, err := s.Sweep(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if n := s.Terms(); n != 0 {
			t.Errorf("the index keeps %d messages that are forgotten", n)
		}
	})
}

// However much mail there is all the time, the index follows: it only goes more slowly.
func TestTheIndexFollowsBusyMail(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, err := queue.Open(queuetest.Config(), dir, metrics.New("test", ""), quiet())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for range 200 { // never quiet for 50 ms
			time.Sleep(25 * time.Millisecond)
			if _, err := s.Settle(t.Context(), putClaimed(t, s), deliveredOne, nil); err != nil {
				t.Fatal(err)
			}
		}
		if n := s.Known(); n < 100 {
			t.Errorf("after five seconds of 40 messages each the index knows %d", n)
		}
	})
}

// A store that an earlier version has written is open at once, and filled in while
// mail goes on.
func TestAnOldHistoryIsFilledInBehindTheMail(t *testing.T) {
	dir := t.TempDir()
	s, err := queue.Open(queuetest.Config(), dir, metrics.New("test", ""), quiet())
	if err != nil {
		t.Fatal(err)
	}
	fillHistory(t, s, queue.FreshReach+500)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	toFirstSchema(t, dir)
	if s, err = queue.Open(queuetest.Config(), dir, metrics.New("test", ""), quiet()); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	f := queue.Filter{All: true, Account: "account7", Limit: 1000}
	found, err := s.Search(t.Context(), f)
	if err != nil || found.Reach.IsZero() {
		t.Errorf("at once: %d, back to %v, %v", len(found.Entries), found.Reach, err)
	}
	if _, err := s.Settle(t.Context(), putClaimed(t, s), deliveredOne, nil); err != nil {
		t.Error(err)
	}
	s.StopFilling()
	if err := s.Fill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if found, err = s.Search(t.Context(), f); err != nil || !found.Reach.IsZero() || len(found.Entries) != (queue.FreshReach+500)/50 {
		t.Errorf("filled: %d, back to %v, %v", len(found.Entries), found.Reach, err)
	}
}

// Whenever the process is killed, a search finds the same afterwards.
func TestKilledWhileTheIndexIsFilled(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir, queuetest.Config())
	s.StopFilling()
	fillHistory(t, s, 500)
	filled := make(chan error, 1)
	go func() { filled <- s.Fill(t.Context()) }()
	const known = 200
	for s.Known() < known {
		time.Sleep(time.Millisecond)
	}
	copied := t.TempDir()
	for _, name := range []string{"queue.db", "queue.db-wal"} { // in this order: what is in the log only is added to it
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(copied, name), content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	left := openIn(t, copied, queuetest.Config())
	left.StopFilling()
	if left.Known() < known || left.Known() != left.Terms() {
		t.Errorf("%d messages are said to be in the index, at least %d were, and %d are", left.Known(), known, left.Terms())
	}
	found, err := left.Search(t.Context(), queue.Filter{All: true, Recipient: "all@example.net", Reply: "queued mail", Limit: 1000, After: idOf(100)})
	if err != nil || len(found.Entries) != 399 { // of 400 one has failed
		t.Errorf("after the kill %d are found, %v", len(found.Entries), err)
	}
	if err := left.Fill(t.Context()); err != nil || left.Known() != 500 || left.Terms() != 500 {
		t.Errorf("filled to its end the index has %d, %v", left.Terms(), err)
	}
	if err := <-filled; err != nil {
		t.Fatal(err)
	}
}
