package upstream

import (
	"errors"
	"strings"
	"time"

	"postern/relay/message"
	"postern/relay/upstream/throttle"
	"postern/relay/upstream/transport"
)

// lesson is what a try to send says of the upstream and of its mailbox.
type lesson struct {
	// reached: the upstream took part, so it is up.
	reached bool
	// trouble is why it takes nothing; nil for none.
	trouble *trouble
	// turnedAway is its trouble if there was nothing else on its way: then it was
	// not us who asked too much of it.
	turnedAway *trouble
	// refusal is what was too much, and wait how long to pause for it.
	refusal throttle.Refusal
	wait    time.Duration
	// delivered is to how many it was handed over.
	delivered int
	// said is what it had against us, hint what to do about it.
	said, hint string
}

// lessonOf is what follows from how a try ended. One that our own side ended
// teaches nothing.
func lessonOf(upstream string, results []transport.Result, err error) lesson {
	var fault *transport.Unreachable
	switch {
	case errors.As(err, &fault):
		return ofFault(fault)
	case err == nil:
		return ofResults(upstream, results)
	}
	return lesson{reached: errors.As(err, new(*transport.Unfit)) || errors.As(err, new(transport.Unprepared))}
}

// ofFault is the lesson of an upstream that could not be reached. One that says
// that it was asked too much is there.
func ofFault(fault *transport.Unreachable) lesson {
	l := lesson{said: fault.Phase + ": " + fault.Err.Error(), hint: fault.Hint}
	if fault.Advice.Hint != "" {
		l.hint = fault.Advice.Hint
	}
	var lasting transport.Lasting
	switch {
	case errors.As(fault.Err, &lasting) && lasting.Lasting():
		l.hint = lasting.Hint()
		l.trouble = &trouble{fault: fault, reason: heldForConsent}
	case fault.Advice.Action == transport.Slow:
		l.reached = true
		l.refusal, l.wait = tooMuch(fault.Err.Error()), fault.Advice.For
		l.turnedAway = &trouble{fault: fault}
	case fault.Advice.Action == transport.Hold:
		l.trouble = &trouble{fault: fault, reason: heldForQuota, wait: fault.Advice.For}
	case fault.Advice.Action == transport.Configure || fault.Advice.Action == transport.Reauth || fault.LoginRefused():
		l.trouble = &trouble{fault: fault, reason: heldForConfiguration}
	default:
		l.trouble = &trouble{fault: fault}
	}
	return l
}

// ofResults is the lesson of replies, of which the weightiest counts.
func ofResults(upstream string, results []transport.Result) lesson {
	l := lesson{reached: true}
	var worst transport.Result
	for _, r := range results {
		if r.Outcome == message.Delivered || r.Outcome == message.Uncertain {
			l.delivered++
		}
		if weight(r.Advice.Action) > weight(worst.Advice.Action) {
			worst = r
		}
	}
	if weight(worst.Advice.Action) == 0 {
		return l
	}
	reply, advice := worst.Reply, worst.Advice
	l.said, l.hint = reply.String(), advice.Hint
	if advice.Action == transport.Slow {
		l.refusal, l.wait = tooMuch(l.said), advice.For
		return l
	}
	fault := &transport.Unreachable{Upstream: upstream, Phase: transport.PhaseHeld, Err: &reply, Hint: advice.Hint, Advice: advice}
	l.reached, l.trouble = false, &trouble{fault: fault, reason: heldForConfiguration}
	if advice.Action == transport.Hold {
		l.trouble.reason, l.trouble.wait = heldForQuota, advice.For
	}
	return l
}

// weight orders the advice that is about the upstream; 0 is about the mail.
func weight(a transport.Action) int {
	switch a {
	case transport.Slow:
		return 1
	case transport.Hold:
		return 2
	case transport.Configure, transport.Reauth:
		return 3
	}
	return 0
}

// tooMuch tells from the words of a refusal whether fewer connections would have
// been taken, such as "432 4.3.2 ... sender thread limit exceeded" or "421 Too
// many concurrent SMTP connections"; else it was too fast.
func tooMuch(said string) throttle.Refusal {
	said = strings.ToLower(said)
	for _, word := range []string{"connection", "concurren", "thread limit", "sessions"} {
		if strings.Contains(said, word) && !strings.Contains(said, "closing connection") {
			return throttle.TooMany
		}
	}
	return throttle.TooFast
}
