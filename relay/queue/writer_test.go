package queue_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	sqlite3 "modernc.org/sqlite/lib"

	"go.uber.org/goleak"

	"postern/metrics"
	"postern/relay/message"
	"postern/relay/queue"
	"postern/relay/queue/queuetest"
)

// commits is how many the store has made.
func commits(t *testing.T, m *metrics.Metrics) uint64 {
	t.Helper()
	families, err := m.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "postern_queue_commit_seconds" {
			return f.GetMetric()[0].GetHistogram().GetSampleCount()
		}
	}
	t.Fatal("no postern_queue_commit_seconds")
	return 0
}

func TestCommitsAreShared(t *testing.T) {
	m := metrics.New("test", "")
	s, err := queue.Open(queuetest.Config(), t.TempDir(), m, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const producers = 300
	before := commits(t, m)
	var group sync.WaitGroup
	var failed atomic.Int64
	for range producers {
		msg := queuetest.NewMessage("printer", 1000, "a@example.com")
		group.Go(func() {
			if _, err := queuetest.Put(t.Context(), s, msg, "office", ""); err != nil {
				failed.Add(1)
			}
		})
	}
	group.Wait()
	if n := commits(t, m) - before; failed.Load() != 0 || n > producers/3 {
		t.Errorf("%d commits for %d messages, %d failed", n, producers, failed.Load())
	}
}

func TestAFailingPutHurtsNoOther(t *testing.T) {
	t.Parallel()
	s := openIn(t, t.TempDir(), queuetest.Config())
	first := queuetest.NewMessage("printer", 10, "a@example.com")
	if _, err := queuetest.Put(t.Context(), s, first, "office", ""); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	var accepted, refused atomic.Int64
	for i := range 100 {
		m := queuetest.NewMessage("printer", 10, "a@example.com")
		if i%10 == 0 {
			m.ID = first.ID
		}
		group.Go(func() {
			if _, err := queuetest.Put(t.Context(), s, m, "office", ""); err != nil {
				refused.Add(1)
				return
			}
			if _, err := s.Show(t.Context(), m.ID); err == nil {
				accepted.Add(1)
			}
		})
	}
	group.Wait()
	if accepted.Load() != 90 || refused.Load() != 10 {
		t.Errorf("%d accepted, %d refused, want 90 and 10", accepted.Load(), refused.Load())
	}
}

// fault is an error of SQLite.
type fault int

func (f fault) Error() string { return fmt.Sprintf("SQLite error %d", int(f)) }
func (f fault) Code() int     { return int(f) }

// put makes a message that is claimed at once.
func putClaimed(t *testing.T, s *queue.SQLite) *queue.Claim {
	t.Helper()
	c, err := queuetest.Put(t.Context(), s, queuetest.NewMessage("printer", 100, "a@example.com"), "office", "m365")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func isReply(t *testing.T, err error, code int) {
	t.Helper()
	var reply *message.Reply
	if !errors.As(err, &reply) || reply.Code != code {
		t.Fatalf("error %v, want a reply %d", err, code)
	}
}

var deliveredOne = []queue.Outcome{{Result: message.Result{Outcome: message.Delivered}}}

func TestAFailedSyncIsFinal(t *testing.T) {
	defer goleak.VerifyNone(t)
	s, err := queue.Open(queuetest.Config(), t.TempDir(), metrics.New("test", ""), quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c := putClaimed(t, s)
	body, spool := queuetest.Spooled(t, s, queuetest.Octets(100_000))
	waiting := make(chan error, 1)
	go func() { waiting <- s.Wait(t.Context(), "office") }()
	var once atomic.Bool
	if err := s.FailCommits(func() error {
		if once.CompareAndSwap(false, true) {
			return fault(sqlite3.SQLITE_IOERR_FSYNC)
		}
		return nil
	}); err == nil {
		t.Fatal("the commit did not fail")
	}
	<-s.Failed()
	if err := <-waiting; err == nil || !strings.Contains(err.Error(), "can no longer be trusted") {
		t.Errorf("wait: %v", err)
	}
	if err := s.Err(); err == nil || !strings.Contains(err.Error(), "check the disk") {
		t.Errorf("sentence: %v", err)
	}
	isReply(t, s.Ready(), 451)
	m := queuetest.NewMessage("printer", 0, "a@example.com")
	m.Body = body
	_, err = queuetest.Put(t.Context(), s, m, "office", "")
	isReply(t, err, 451)
	spool.Discard()
	// Nothing is tried again: the next commit would succeed.
	if _, err := s.Settle(t.Context(), c, deliveredOne, nil); err == nil {
		t.Error("settled after a failed sync")
	}
	if accepts, outcomes := s.InFlight(); accepts != 0 || outcomes != 0 {
		t.Errorf("still expected: %d, %d", accepts, outcomes)
	}
}

func TestAFullDiskRefusesMessagesAndKeepsOutcomes(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir, queuetest.Config())
	c := putClaimed(t, s)
	reserve := filepath.Join(dir, "reserve")
	if _, err := os.Stat(reserve); err != nil {
		t.Fatal(err)
	}
	var full atomic.Bool
	if err := s.FailCommits(func() error {
		if _, err := os.Stat(reserve); err == nil && full.Load() {
			return fault(sqlite3.SQLITE_FULL)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	full.Store(true)
	m := queuetest.NewMessage("printer", 100_000, "a@example.com")
	_, err := queuetest.Put(t.Context(), s, m, "office", "")
	isReply(t, err, 452)
	if files, err := os.ReadDir(filepath.Join(dir, "spool")); err != nil || len(files) != 0 {
		t.Errorf("left in the spool: %v, %v", files, err)
	}
	if _, err := s.Settle(t.Context(), c, deliveredOne, nil); err != nil {
		t.Fatalf("the reserve did not help: %v", err)
	}
	isReply(t, s.Ready(), 452) // the reserve is spent
	full.Store(false)
	if _, err := s.Sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Ready(); err != nil {
		t.Fatal(err)
	}
	if _, err := queuetest.Put(t.Context(), s, m, "office", ""); err != nil {
		t.Fatal(err)
	}
}

func TestNothingIsSentWhileOutcomesCannotBeKept(t *testing.T) {
	s := openIn(t, t.TempDir(), queuetest.Config())
	c := putClaimed(t, s)
	if _, err := queuetest.Put(t.Context(), s, queuetest.NewMessage("printer", 10, "b@example.com"), "office", ""); err != nil {
		t.Fatal(err)
	}
	full := make(chan struct{}) // closed when there is space again
	tried := make(chan struct{}, 100)
	if err := s.FailCommits(func() error {
		select {
		case <-full:
			return nil
		default:
			tried <- struct{}{}
			return fault(sqlite3.SQLITE_FULL)
		}
	}); err == nil {
		t.Fatal("the commit did not fail")
	}
	<-tried
	settled := make(chan error, 1)
	go func() {
		_, err := s.Settle(t.Context(), c, deliveredOne, nil)
		settled <- err
	}()
	<-tried
	<-tried // with the reserve
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	waited := make(chan error, 1)
	go func() { waited <- s.Wait(ctx, "office") }()
	for claims := range 3 {
		if got, err := s.Claim(t.Context(), "office", "m365", 1, 0); err == nil && len(got) > 0 {
			t.Fatalf("claim %d was handed out", claims)
		}
	}
	close(full)
	if err := <-settled; err != nil {
		t.Fatal(err)
	}
	if err := <-waited; err != nil {
		t.Fatal(err)
	}
	if got, err := s.Claim(t.Context(), "office", "m365", 1, 0); err != nil || len(got) != 1 {
		t.Fatalf("claims %v, %v", got, err)
	}
}

func TestTheLogStaysShort(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openIn(t, dir, queuetest.Config())
	const limit = 256 << 10
	if err := s.LimitLog(limit); err != nil {
		t.Fatal(err)
	}
	var longest int64
	for range 150 { // some 5 MB
		if _, err := queuetest.Put(t.Context(), s, queuetest.NewMessage("printer", 30_000, "a@example.com"), "office", ""); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(dir, "queue.db-wal"))
		if err != nil {
			t.Fatal(err)
		}
		longest = max(longest, info.Size())
	}
	if longest < limit || longest > 10*limit {
		t.Errorf("the log grew to %d octets, limit %d", longest, limit)
	}
}

func TestTheLogStaysShortAfterItCouldNotBeCopied(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openIn(t, dir, queuetest.Config())
	const limit = 256 << 10
	if err := errors.Join(s.LimitLog(limit), s.FailCopy(fault(sqlite3.SQLITE_FULL))); err != nil {
		t.Fatal(err)
	}
	for range 150 {
		if _, err := queuetest.Put(t.Context(), s, queuetest.NewMessage("printer", 30_000, "a@example.com"), "office", ""); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "queue.db-wal")); err != nil || info.Size() > 10*limit {
		t.Errorf("the log grew to %d octets, limit %d; %v", info.Size(), limit, err)
	}
}

func TestNothingIsExpectedFromThoseWhoLeft(t *testing.T) {
	s := openIn(t, t.TempDir(), queuetest.Config())
	body, spool := queuetest.Spooled(t, s, []byte("text"))
	m := queuetest.NewMessage("printer", 0, "a@example.com")
	m.Body = body
	c, err := queuetest.Put(t.Context(), s, m, "office", "m365")
	if err != nil {
		t.Fatal(err)
	}
	if accepts, outcomes := s.InFlight(); accepts != 0 || outcomes != 1 {
		t.Errorf("after put: %d, %d", accepts, outcomes)
	}
	spool.Discard()
	if _, err := s.Settle(t.Context(), c, deliveredOne, nil); err != nil {
		t.Fatal(err)
	}
	if accepts, outcomes := s.InFlight(); accepts != 0 || outcomes != 0 {
		t.Errorf("at the end: %d, %d", accepts, outcomes)
	}
}
