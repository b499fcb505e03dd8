package upstream

import (
	"time"

	"postern/relay/upstream/transport"
)

// Pauses after failures. What needs a person is not tried soon again: repeated
// logins lock accounts.
const (
	firstPause        = time.Second
	longestPause      = time.Minute
	firstHeldPause    = time.Minute
	longestHeldPause  = 15 * time.Minute
	quotaPause        = time.Hour // unless the upstream says how long
	longestQuotaPause = 7 * 24 * time.Hour
)

// Reasons to hold an upstream.
const (
	heldForQuota         = "quota"         // it takes no more for now
	heldForConsent       = "consent"       // its tokens have come to an end
	heldForConfiguration = "configuration" // it takes nothing as it is configured
	heldAsAsked          = "asked"         // by a person
)

// trouble is why an upstream takes no mail.
type trouble struct {
	// fault is what is said to those who would send; nil for no trouble.
	fault *transport.Unreachable
	// reason to hold it; "" when it is merely down.
	reason string
	// wait is how long it wants to be left alone; 0: the usual.
	wait time.Duration
}

// held is the trouble of an upstream that nobody tries for that reason.
func held(upstream, reason string, why error) trouble {
	t := trouble{reason: reason, fault: &transport.Unreachable{Upstream: upstream, Phase: transport.PhaseHeld, Err: why}}
	t.fault.Hint = t.hint(upstream)
	return t
}

// hint is what a person can do about a hold.
func (t trouble) hint(upstream string) string {
	if t.fault.Hint != "" {
		return t.fault.Hint
	}
	switch t.reason {
	case heldForQuota:
		return "it is tried again by itself; if its quota was raised, run: postern upstreams resume " + upstream
	case heldAsAsked:
		return "to end it, run: postern upstreams resume " + upstream
	}
	return "mend what its reply says, then run: postern upstreams resume " + upstream
}

// breaker remembers whether an upstream takes mail. It holds no lock and no
// clock.
type breaker struct {
	trouble             // none while up
	failures  int       // of one try after the other, all with the same kind of pause
	until     time.Time // the pause; zero and endless: until somebody resumes it
	endless   bool
	probing   bool
	silent    bool // it only let us wait: whoever gets through all the same brings it up
	slowStart int  // connections that may be used at once after it was down; 0: all
}

func (b *breaker) down() bool { return b.fault != nil }

// succeed tells whether it brought the upstream up. While it is down only the
// probe counts: others may still live on connections made before. What comes
// back is not overrun: each success makes room for one more connection.
func (b *breaker) succeed(probe bool) bool {
	switch {
	case !b.down():
		if b.slowStart > 0 {
			b.slowStart++
		}
		return false
	case !b.silent && (!probe || !b.probing):
		return false
	}
	*b = breaker{slowStart: 2}
	return true
}

// begin is the start of one of which nothing is known: what waits for it is not
// let loose at once.
func (b *breaker) begin() { *b = breaker{slowStart: 1} }

// fail tells whether it brought the upstream down, or down for another reason.
// Of many tries that fail together only the first counts.
func (b *breaker) fail(now time.Time, probe bool, t trouble) bool {
	if b.down() && !(probe && b.probing) {
		return false
	}
	changed := !b.down() || b.fault.Phase != t.fault.Phase || b.reason != t.reason
	if b.down() && b.reason != t.reason {
		b.failures = 0
	}
	failures := b.failures + 1
	*b = breaker{trouble: t, failures: failures, until: now.Add(pause(failures, t))}
	return changed
}

// hesitate is a fail of an upstream that has not answered yet.
func (b *breaker) hesitate(now time.Time, probe bool, t trouble) bool {
	was := b.down() && !(probe && b.probing)
	changed := b.fail(now, probe, t)
	b.silent = b.silent || !was
	return changed
}

// hold keeps the upstream from being used, for a time or, if that is zero,
// until it is resumed.
func (b *breaker) hold(now time.Time, t trouble) {
	*b = breaker{trouble: t, endless: t.wait == 0}
	if t.wait > 0 {
		b.until = now.Add(t.wait)
	}
}

// resume ends a pause or a hold. What a person asked for is over; of all else
// it is to be found out by a probe.
func (b *breaker) resume() {
	if b.reason == heldAsAsked {
		*b = breaker{slowStart: 1}
		return
	}
	b.failures, b.until = 0, time.Time{}
}

// mended lets a probe try at once what a new configuration may have mended. That
// is no quota, and nothing that a person asked for. Failures count anew, that of
// a probe under way too: it may have begun before what it failed of was mended.
func (b *breaker) mended() {
	if b.reason != heldForQuota && b.reason != heldAsAsked {
		b.resume()
	}
}

// pause is how long an upstream is left alone after that many failures.
func pause(failures int, t trouble) time.Duration {
	first, longest := firstPause, longestPause
	switch t.reason {
	case heldForQuota:
		if t.wait > 0 {
			return min(t.wait, longestQuotaPause)
		}
		return quotaPause
	case heldForConfiguration, heldForConsent:
		first, longest = firstHeldPause, longestHeldPause
	}
	for d := first; ; d *= 2 {
		if failures--; failures <= 0 || d >= longest {
			return min(d, longest)
		}
	}
}
