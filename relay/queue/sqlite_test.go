package queue_test

import (
	"io"
	"log/slog"
	"testing"

	"postern/metrics"
	"postern/relay/queue"
	"postern/relay/queue/queuetest"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// openIn opens the store in dir until the test ends.
func openIn(t testing.TB, dir string, cfg queue.Config) *queue.SQLite {
	t.Helper()
	s, err := queue.Open(cfg, dir, metrics.New("test", ""), quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestSQLite(t *testing.T) {
	queuetest.Run(t, func(t *testing.T, cfg queue.Config) queue.Store { return openIn(t, t.TempDir(), cfg) })
}
