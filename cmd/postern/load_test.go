//go:build linux

package main_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"postern/relay/queue/volumetest"
)

func TestEveryMessageArrivesOnce(t *testing.T) {
	host := needSmarthost(t)
	messages := times("POSTERN_MESSAGES", 1000, 500)
	relay := startRelay(t, host.address, nil)
	s := startStorm(t, relay, host, 32, messages)
	s.clients.Wait()
	if n := s.accepted.Load(); n != int64(messages) {
		t.Errorf("%d of %d messages were accepted", n, messages)
	}
	s.settle()
	if doubles := s.judge(); doubles > 0 {
		t.Errorf("%d messages arrived more than once, though nothing went wrong", doubles)
	}
}

// times is how often something is done: what "make durability" asks for, else
// usual, or few in a short run.
func times(variable string, usual, few int) int {
	if n, err := strconv.Atoi(os.Getenv(variable)); err == nil {
		return n
	}
	if testing.Short() {
		return few
	}
	return usual
}

// What got a 250 arrives, whenever the process dies. A message may arrive twice
// only if the relay died between sending it and noting the answer, and says so.
func TestKillNineLosesNothing(t *testing.T) {
	host := needSmarthost(t)
	relay := startRelay(t, host.address, nil)
	relay.dieUnderLoad(host, times("POSTERN_KILLS", 10, 4), func() {
		relay.kill()
		relay.start()
	})
}

// The same holds when the power is cut: nothing that was not synced is left, and
// all that was told 250 was.
func TestAPowerCutLosesNothingOnItsWay(t *testing.T) {
	host := needSmarthost(t)
	disk := volumetest.Need(t)
	relay := startRelay(t, host.address, sections{"data_dir": filepath.Join(disk.Dir, "data")})
	t.Cleanup(relay.leave) // before the disk goes
	relay.dieUnderLoad(host, times("POSTERN_POWER_CUTS", 4, 1), func() {
		relay.signal(syscall.SIGSTOP)
		disk.Cut()
		relay.kill()
		disk.Restore()
		relay.start()
	})
}

// dieUnderLoad has the relay die and come back, again and again, while clients
// submit. What was accepted must arrive, and nothing twice without a reason.
func (r *relay) dieUnderLoad(host *smarthost, deaths int, dieAndComeBack func()) {
	r.t.Helper()
	s := startStorm(r.t, r, host, 16, 0)
	for range deaths {
		next := s.accepted.Load() + rand.Int64N(150)
		await(r.t, "the relay to take more mail", func() bool { return s.accepted.Load() >= next })
		dieAndComeBack()
	}
	s.stop()
	s.settle()
	s.judge()
	r.t.Logf("it died %d times", deaths)
}
