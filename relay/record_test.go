package relay

import (
	"testing"
	"time"

	"postern/relay/message"
)

func TestDelaysSumUp(t *testing.T) {
	phases := []message.Phase{{Phase: waited, Seconds: 0.5}, {Phase: "connect", Seconds: 0.02}, {Phase: "tls", Seconds: 0.03}, {Phase: "envelope", Seconds: 0.1}, {Phase: "data", Seconds: 0.2}}
	for name, row := range map[string]struct {
		whole, before time.Duration
		phases        []message.Phase
		want          string
	}{
		"at once":                 {900 * time.Millisecond, 0, phases, "0/0.5/0.05/0.35"},
		"after an hour of pauses": {time.Hour + time.Second, time.Hour, phases, "3600/0.5/0.05/0.45"},
		"never reached":           {time.Second, 0, phases[:2], "0/0.5/0.02/0.48"},
		"a clock set back":        {0, -time.Hour, phases, "0/0.5/0.05/0"},
		"nothing is known of it":  {time.Second, time.Second, nil, "1/0/0/0"},
	} {
		if got := delays(row.whole, row.before, row.phases); got != row.want {
			t.Errorf("%s: %s, want %s", name, got, row.want)
		}
	}
}
