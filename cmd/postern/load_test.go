//go:build linux

package main_test

import (
	"math/rand/v2"
	"testing"
)

func TestEveryMessageArrivesOnce(t *testing.T) {
	host := needSmarthost(t)
	messages := 5000
	if testing.Short() {
		messages = 500
	}
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

// What got a 250 arrives, whenever the process dies. A message may arrive twice
// only if the relay died between sending it and noting the answer, and says so.
func TestKillNineLosesNothing(t *testing.T) {
	host := needSmarthost(t)
	kills := 20
	if testing.Short() {
		kills = 4
	}
	relay := startRelay(t, host.address, nil)
	s := startStorm(t, relay, host, 16, 0)
	for range kills {
		next := s.accepted.Load() + rand.Int64N(150)
		await(t, "the relay to take more mail", func() bool { return s.accepted.Load() >= next })
		relay.kill()
		relay.start()
	}
	s.stop()
	s.settle()
	s.judge()
}
