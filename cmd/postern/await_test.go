//go:build linux

package main_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// patience is how long anything that must happen may take, on a busy machine
// with the race detector on. Nothing waits this long when all is well.
const patience = 2 * time.Minute

// await asks again and again until happened says yes. The test fails with what
// was waited for when patience ends, and at once when happened fails it.
func await(t testing.TB, what string, happened func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for !happened() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited %v in vain: %s", patience, what)
		}
	}
}

var givenAddresses sync.Map // by address

// freeAddress finds a loopback address nobody listens on. It is below the range
// the kernel takes ports for outgoing connections from: those are many here, and
// the port must still be free when a killed relay comes back for it. None is given
// twice.
func freeAddress(t testing.TB) string {
	t.Helper()
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 12000+rand.IntN(20000))
		if _, given := givenAddresses.LoadOrStore(address, true); given {
			continue
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		l.Close()
		return address
	}
	t.Fatal("no free port between 12000 and 32000")
	return ""
}

// listening tells whether somebody accepts connections there.
func listening(address string) bool {
	c, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return false
	}
	c.Close()
	return true
}
