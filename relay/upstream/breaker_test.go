package upstream_test

import (
	"io"
	"testing"
	"time"

	"postern/relay/message"
	"postern/relay/upstream"
	"postern/relay/upstream/transport"
)

func TestPause(t *testing.T) {
	dead := &transport.Unreachable{Phase: "connect", Err: io.EOF}
	wrong := &transport.Unreachable{Phase: "auth", Err: &message.Reply{Code: 535}}
	later := &transport.Unreachable{Phase: "auth", Err: &message.Reply{Code: 454}}
	for _, c := range []struct {
		fault    *transport.Unreachable
		failures int
		want     time.Duration
	}{
		{dead, 1, time.Second}, {dead, 2, 2 * time.Second}, {dead, 6, 32 * time.Second}, {dead, 7, time.Minute}, {dead, 1 << 30, time.Minute},
		{wrong, 1, time.Minute}, {wrong, 4, 8 * time.Minute}, {wrong, 5, 15 * time.Minute}, {later, 1, time.Second},
	} {
		if got := upstream.Pause(c.failures, c.fault); got != c.want {
			t.Errorf("%d times %s: %v; want %v", c.failures, c.fault.Phase, got, c.want)
		}
	}
}
