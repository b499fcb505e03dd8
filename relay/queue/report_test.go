package queue_test

import (
	"errors"
	"iter"
	"sync/atomic"
	"testing"
	"time"

	"postern/metrics"
	"postern/relay/message"
	"postern/relay/queue"
	"postern/relay/queue/queuetest"
	"postern/relay/setting"
)

// tellBack reports on all there is to tell, to the sender.
func tellBack(m *message.Message, settled []queue.Settled) queue.Told {
	r := queuetest.NewMessage(m.Client.Account, 10, m.From.String())
	r.From, r.About = message.Address{}, m.ID
	return queue.Told{Reports: []queue.Report{{Message: r, Lane: "office", Of: []int{0}}}, Digest: []int{0}}
}

var failedOne = []queue.Outcome{{Result: message.Result{Outcome: message.Failed, Reply: message.Reply{Code: 550, Text: "no such user"}}}}

// reportsOn is how many messages of the store are about that one.
func reportsOn(t *testing.T, s queue.Reader, id string) (n int) {
	t.Helper()
	entries, err := s.List(t.Context(), queue.Filter{All: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.About == id {
			n++
		}
	}
	return n
}

// What a process that dies leaves is what was committed, so a commit that fails
// stands for a death at the worst moment.
func TestNoFailureWithoutItsReport(t *testing.T) {
	dir := t.TempDir()
	s, _ := openImpatient(t, dir)
	c := putClaimed(t, s)
	var left atomic.Int32 // commits that fail
	if err := s.FailCommits(func() error {
		if left.Add(-1) >= 0 {
			return errors.New("dying")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	left.Store(1)
	asked := 0
	_, err := s.Settle(t.Context(), c, failedOne, func(m *message.Message, settled []queue.Settled) queue.Told {
		if asked++; asked == 2 { // the first commit has failed, and nothing of it may be there
			if e, err := s.Show(t.Context(), m.ID); err != nil || e.Deliveries[0].State != queue.Sending || reportsOn(t, s, m.ID) != 0 {
				t.Errorf("half of it is there: %+v, %v", e, err)
			}
		}
		return tellBack(m, settled)
	})
	if err != nil || asked != 2 {
		t.Fatalf("asked %d times, %v", asked, err)
	}
	if n := reportsOn(t, s, c.Message.ID); n != 1 {
		t.Errorf("%d reports, want 1", n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := openIn(t, dir, queuetest.Config())
	e, err := again.Show(t.Context(), c.Message.ID)
	if err != nil || e.Deliveries[0].State != queue.Failed || reportsOn(t, again, c.Message.ID) != 1 {
		t.Errorf("after a restart: %+v, %v", e, err)
	}
}

func TestADelayIsToldOfOnceAcrossRestarts(t *testing.T) {
	cfg := queuetest.Config()
	cfg.WarnAfter = setting.Duration(time.Hour)
	dir := t.TempDir()
	m := queuetest.NewMessage("printer", 10, "a@example.com")
	m.Received = time.Now().Add(-2 * time.Hour)
	for _, want := range []int{1, 0} {
		s, err := queue.Open(cfg, dir, metrics.New("test", ""), quiet())
		if err != nil {
			t.Fatal(err)
		}
		if want == 1 {
			if _, err := queuetest.Put(t.Context(), s, m, "office", ""); err != nil {
				t.Fatal(err)
			}
		}
		if warned, err := s.Warn(t.Context(), tellBack); err != nil || len(warned) != want {
			t.Errorf("warned of %+v, %v", warned, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestADigestIsDueAcrossRestarts(t *testing.T) {
	dir := t.TempDir()
	var id string
	s := reopened(t, dir, queuetest.Config(), metrics.New("test", ""), func(s *queue.SQLite) {
		c := putClaimed(t, s)
		id = c.Message.ID
		if _, err := s.Settle(t.Context(), c, failedOne, tellBack); err != nil {
			t.Fatal(err)
		}
	})
	var named []string
	made, err := s.Digest(t.Context(), 0, func(failures iter.Seq[queue.Failure]) queue.Report {
		for f := range failures {
			named = append(named, f.ID)
		}
		r := queuetest.NewMessage("", 10, "it@example.com")
		r.From, r.About = message.Address{}, "digest"
		return queue.Report{Message: r, Lane: "office"}
	})
	if err != nil || made == "" || len(named) != 1 || named[0] != id {
		t.Errorf("digest %q of %q, %v", made, named, err)
	}
}

// A message whose content is lost is given up as any other, and reported without
// it.
func TestADamagedMessageIsReportedWithoutItsContent(t *testing.T) {
	cfg := queuetest.Config()
	cfg.Expire = cfg.Retry[0]
	s := openIn(t, t.TempDir(), cfg)
	m := queuetest.NewMessage("printer", 10, "a@example.com")
	m.Received = time.Now().Add(-time.Hour)
	if _, err := queuetest.Put(t.Context(), s, m, "office", ""); err != nil {
		t.Fatal(err)
	}
	if err := s.Exec(`UPDATE contents SET header_sum = header_sum + 1`); err != nil {
		t.Fatal(err)
	}
	var told *message.Message
	settled, err := s.Sweep(t.Context(), func(m *message.Message, settled []queue.Settled) queue.Told {
		told = m
		return tellBack(m, settled)
	})
	if err != nil || len(settled) != 1 || settled[0].Report == "" {
		t.Fatalf("given up: %+v, %v", settled, err)
	}
	if told.ID != m.ID || told.From != m.From || len(told.To) != 1 || told.Header != nil || told.Body != nil {
		t.Errorf("the reporter was told of %+v", told)
	}
}
