package upstream

import (
	"time"

	"postern/relay/upstream/transport"
)

// Pauses after failures. A refused login is not tried soon again: repeats lock
// accounts.
const (
	firstPause      = time.Second
	longestPause    = time.Minute
	firstAuthPause  = time.Minute
	longestAuthWait = 15 * time.Minute
)

// breaker remembers whether an upstream can be reached. It holds no lock and
// no clock.
type breaker struct {
	fault    *transport.Unreachable // nil while up
	failures int                    // of one try after the other, all with the same kind of pause
	until    time.Time              // the pause
	probing  bool
}

func (b *breaker) down() bool { return b.fault != nil }

// succeed tells whether it brought the upstream up. While it is down only the
// probe counts: others may still live on connections made before.
func (b *breaker) succeed(probe bool) bool {
	if !b.down() || !probe {
		return false
	}
	*b = breaker{}
	return true
}

// fail tells whether it brought the upstream down, or down for another reason.
// Of many tries that fail together only the first counts.
func (b *breaker) fail(now time.Time, probe bool, fault *transport.Unreachable) bool {
	if b.down() && !probe {
		return false
	}
	changed := !b.down() || b.fault.Phase != fault.Phase
	if b.down() && b.fault.LoginRefused() != fault.LoginRefused() {
		b.failures = 0
	}
	b.failures++
	b.fault, b.until, b.probing = fault, now.Add(pause(b.failures, fault)), false
	return changed
}

// endPause lets a probe try at once. Failures count anew, that of a probe under
// way too: it may have begun before what it failed of was mended.
func (b *breaker) endPause() { b.failures, b.until = 0, time.Time{} }

// pause is how long an upstream is left alone after that many failures.
func pause(failures int, fault *transport.Unreachable) time.Duration {
	first, longest := firstPause, longestPause
	if fault.LoginRefused() {
		first, longest = firstAuthPause, longestAuthWait
	}
	for d := first; ; d *= 2 {
		if failures--; failures <= 0 || d >= longest {
			return min(d, longest)
		}
	}
}
