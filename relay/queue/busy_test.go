package queue_test

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postern/metrics"
	"postern/relay/message"
	"postern/relay/queue"
	"postern/relay/queue/queuetest"
)

// occupy locks the database under dir as another program does, until it is told
// to let go.
func occupy(t *testing.T, dir string) (release func()) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, "queue.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1) // the one that holds the lock
	if _, err := db.Exec("BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	return func() {
		if _, err := db.Exec("ROLLBACK"); err != nil {
			t.Error(err)
		}
	}
}

// warnings is a log that tells of each line.
type warnings chan string

func (w warnings) Write(line []byte) (int, error) {
	w <- string(line)
	return len(line), nil
}

// openImpatient opens a store that does not wait for other programs; its
// warnings come with it.
func openImpatient(t *testing.T, dir string) (*queue.SQLite, warnings) {
	t.Helper()
	w := make(warnings, 100)
	s, err := queue.Open(queuetest.Config(), dir, metrics.New("test", ""), slog.New(slog.NewTextHandler(w, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Impatient(); err != nil {
		t.Fatal(err)
	}
	return s, w
}

func TestABusyDatabaseLosesNoOutcome(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		end  func(s *queue.SQLite, c *queue.Claim) error
		want queue.State
	}{
		{"settled", func(s *queue.SQLite, c *queue.Claim) error {
			_, err := s.Settle(t.Context(), c, deliveredOne, nil)
			return err
		}, queue.Delivered},
		{"returned", func(s *queue.SQLite, c *queue.Claim) error { return s.Return(t.Context(), c, "") }, queue.Queued},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			s, log := openImpatient(t, dir)
			defer s.Close()
			c := putClaimed(t, s)
			release := occupy(t, dir)
			ended := make(chan error, 1)
			go func() { ended <- test.end(s, c) }()
			select {
			case line := <-log:
				if !strings.Contains(line, "trying again") || !strings.Contains(line, c.Message.ID) {
					t.Errorf("logged %s", line)
				}
			case err := <-ended:
				t.Fatalf("given up: %v", err)
			}
			if claims, err := s.Claim(t.Context(), "office", "m365", 1, 0); err != nil || claims != nil {
				t.Errorf("claimed meanwhile: %v, %v", claims, err)
			}
			release()
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			e, err := s.Show(t.Context(), c.Message.ID)
			if err != nil || e.Deliveries[0].State != test.want {
				t.Errorf("%+v, %v", e, err)
			}
			if _, outcomes := s.InFlight(); outcomes != 0 {
				t.Errorf("%d outcomes expected", outcomes)
			}
			if again, err := queuetest.Put(t.Context(), s, queuetest.NewMessage("printer", 10, "b@example.com"), "office", "m365"); err != nil || again == nil {
				t.Errorf("nothing is claimed afterwards: %v", err)
			}
		})
	}
}

func TestAnOutcomeGivenUpIsNotExpected(t *testing.T) {
	dir := t.TempDir()
	s, log := openImpatient(t, dir)
	c := putClaimed(t, s)
	release := occupy(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := s.Settle(ctx, c, deliveredOne, nil)
		ended <- err
	}()
	select {
	case <-log:
	case err := <-ended:
		t.Fatalf("given up: %v", err)
	}
	cancel()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "locked") && !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	release()
	second := putClaimed(t, s)
	if _, err := s.Settle(t.Context(), c, deliveredOne, nil); err != nil { // once more, by a caller that does not give up
		t.Error(err)
	}
	if _, err := s.Settle(t.Context(), c, deliveredOne, nil); err == nil {
		t.Error("settled twice")
	}
	if _, outcomes := s.InFlight(); outcomes != 1 {
		t.Errorf("%d outcomes expected, want that of the second claim", outcomes)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Return(t.Context(), second, ""); err == nil {
		t.Error("a closed store takes a claim back")
	}
	if _, outcomes := s.InFlight(); outcomes != 0 {
		t.Errorf("%d outcomes expected of a closed store", outcomes)
	}
}

func TestABusyDatabaseTakesNothingOn(t *testing.T) {
	dir := t.TempDir()
	s, _ := openImpatient(t, dir)
	defer s.Close()
	putClaimed(t, s)
	release := occupy(t, dir)
	m := queuetest.NewMessage("printer", 100_000, "b@example.com")
	_, err := queuetest.Put(t.Context(), s, m, "office", "m365")
	var reply *message.Reply
	if err == nil || errors.As(err, &reply) && reply.Permanent() {
		t.Errorf("put: %v", err)
	}
	if claims, err := s.Claim(t.Context(), "office", "m365", 1, 0); err == nil {
		t.Errorf("claimed %v", claims)
	}
	release()
	if files, err := os.ReadDir(filepath.Join(dir, "spool")); err != nil || len(files) != 0 {
		t.Errorf("left in the spool: %v, %v", files, err)
	}
	if accepts, outcomes := s.InFlight(); accepts != 0 || outcomes != 1 {
		t.Errorf("expected: %d, %d", accepts, outcomes)
	}
	if _, err := queuetest.Put(t.Context(), s, m, "office", ""); err != nil {
		t.Error(err)
	}
}

func TestOpenSaysThatTheDatabaseIsLocked(t *testing.T) {
	t.Parallel() // it waits
	dir := t.TempDir()
	s, err := queue.Open(queuetest.Config(), dir, metrics.New("test", ""), quiet())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	release := occupy(t, dir)
	if s, err = queue.Open(queuetest.Config(), dir, metrics.New("test", ""), quiet()); err == nil {
		s.Close()
		t.Fatal("opened")
	}
	if !strings.Contains(err.Error(), "another program has the database locked") {
		t.Error(err)
	}
	release()
	openIn(t, dir, queuetest.Config())
}
