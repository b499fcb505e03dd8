package upstream

import (
	"context"
	"net"
	"time"

	"postern/relay/upstream/smtp"
	"postern/relay/upstream/throttle"
	"postern/relay/upstream/transport"
)

// What the tests see of the inside.
func Pause(failures int, fault *transport.Unreachable) time.Duration {
	return pause(failures, *ofFault(fault).trouble)
}

// Dial has the upstream of that name use dial.
func (s *Set) Dial(name string, dial func(context.Context) (net.Conn, error)) {
	s.upstreams[name].transport.(*smtp.Client).Dial = dial
}

// Hurry shortens how long the upstream of that name is waited for at the end.
func (s *Set) Hurry(name string, block time.Duration) {
	s.upstreams[name].transport.(*smtp.Client).Patience.Block = block
}

// Patience has the upstream of that name be waited for as change says.
func (s *Set) Patience(name string, change func(*smtp.Patience)) {
	change(&s.upstreams[name].transport.(*smtp.Client).Patience)
}

// Through has the upstream of that name send through another transport.
func (s *Set) Through(name string, t transport.Transport) { s.upstreams[name].transport = t }

// Lesson is what follows from how a try ended, in words.
func Lesson(results []transport.Result, err error) string {
	l := lessonOf("one", results, err)
	switch {
	case l.trouble != nil && l.trouble.reason != "":
		return "held for " + l.trouble.reason
	case l.trouble != nil:
		return "down"
	case !l.reached:
		return "nothing"
	}
	return "up" + map[throttle.Refusal]string{throttle.TooFast: ", too fast", throttle.TooMany: ", too many"}[l.refusal]
}
