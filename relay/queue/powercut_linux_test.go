package queue_test

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"postern/metrics"
	"postern/relay/queue"
	"postern/relay/queue/queuetest"
	"postern/relay/queue/volumetest"
)

// powerCuts runs the store under load and cuts its power, that many times. It
// returns what was promised and how much of it was lost.
func powerCuts(t *testing.T, cuts int, env ...string) (promised, uncertain, lost int) {
	t.Helper()
	v := volumetest.Need(t)
	dir := filepath.Join(v.Dir, "data")
	promises := map[string]*promise{}
	for range cuts {
		killAfter(t, dir, 200+len(promises)%200, promises, func(p *os.Process) {
			p.Signal(unix.SIGSTOP)
			v.Cut()
			p.Kill()
		}, env...)
		v.Restore()
		s, err := queue.Open(queuetest.Config(), dir, metrics.New("test", ""), quiet())
		if err != nil { // without a sync not even the database may be whole
			t.Logf("open after the cut: %v", err)
			return len(promises), uncertain, len(promises)
		}
		uncertain, lost = 0, 0
		for id, p := range promises {
			e, err := s.Show(t.Context(), id)
			switch {
			case err != nil:
				lost++
			case e.Deliveries[0].State == queue.Uncertain:
				uncertain++
			}
			if len(env) == 0 {
				keep(t, s, id, p)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return len(promises), uncertain, lost
}

// What was acknowledged is there after the power was cut, and what was known
// to be sent is known.
func TestAPowerCutLosesNothing(t *testing.T) {
	t.Parallel()
	cuts, err := strconv.Atoi(os.Getenv("POSTERN_POWER_CUTS")) // "make durability" asks for more
	if err != nil {
		cuts = 2
	}
	promised, uncertain, lost := powerCuts(t, cuts)
	t.Logf("%d power cuts: %d messages acknowledged, %d uncertain, %d lost", cuts, promised, uncertain, lost)
	if lost > 0 || promised < 50 {
		t.Errorf("%d of %d acknowledged messages were lost", lost, promised)
	}
}

// The same store without a sync loses messages. If it did not, the test above
// would prove nothing.
func TestWithoutSyncAPowerCutLosesMessages(t *testing.T) {
	promised, _, lost := powerCuts(t, 1, crashUnsynced+"=1")
	t.Logf("%d messages acknowledged without a sync, %d lost", promised, lost)
	if lost == 0 {
		t.Error("none was lost: the power was not really cut")
	}
}
