package throttle_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"postern/relay/setting"
	"postern/relay/upstream/throttle"
)

// Whatever comes when, and however long each takes, no period sees more messages
// or recipients arrive than were configured, wherever it begins.
func TestNoPeriodHoldsMoreThanIsConfigured(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		per := rapid.SampledFrom([]time.Duration{time.Second, time.Minute, 24 * time.Hour})
		limits := throttle.Limits{
			Connections: rapid.IntRange(1, 5).Draw(rt, "connections"),
			Messages:    setting.Rate{Count: rapid.IntRange(1, 40).Draw(rt, "messages"), Per: per.Draw(rt, "per")},
			Recipients:  setting.Rate{Count: rapid.IntRange(5, 100).Draw(rt, "recipients"), Per: per.Draw(rt, "per")},
		}
		var th throttle.Throttle
		th.Configure(limits)
		type flight struct {
			turn       throttle.Turn
			recipients int
			arrival    time.Duration // at the provider, some time between its beginning and its end
		}
		var flying, arrived []flight
		now := time.Duration(0)
		for range rapid.IntRange(1, 200).Draw(rt, "steps") {
			now += time.Duration(rapid.Int64Range(0, int64(limits.Messages.Per)/10).Draw(rt, "pause"))
			if len(flying) > 0 && rapid.Bool().Draw(rt, "ends") {
				f := flying[0]
				flying = flying[1:]
				f.arrival += time.Duration(rapid.Int64Range(0, int64(now-f.arrival)).Draw(rt, "arrival"))
				refusal := rapid.SampledFrom([]throttle.Refusal{throttle.None, throttle.None, throttle.TooFast, throttle.TooMany}).Draw(rt, "refusal")
				delivered := f.recipients
				if refusal != throttle.None {
					delivered = 0
				} else {
					arrived = append(arrived, f)
				}
				th.End(throttle.Outcome{Turn: f.turn, Reserved: f.recipients, Delivered: delivered, Answered: true, Refusal: refusal}, now)
				continue
			}
			n, again := th.Room(now)
			if n > limits.Connections-len(flying) {
				rt.Fatalf("room for %d, with %d of %d connections in use", n, len(flying), limits.Connections)
			}
			if n == 0 {
				if again != 0 && again <= now {
					rt.Fatalf("at %v it says to come back at %v", now, again)
				}
				if again == 0 && len(flying) == 0 {
					rt.Fatal("nothing goes, and nothing will change that")
				}
				continue
			}
			turn, recipients := th.Begin(1, now), rapid.IntRange(1, 5).Draw(rt, "to")
			if _, ok := th.Reserve(recipients, now); !ok {
				th.GiveBack(now)
				continue
			}
			flying = append(flying, flight{turn, recipients, now})
		}
		most := func(per time.Duration, weight func(flight) int) (most int) {
			for _, end := range arrived {
				sum := 0
				for _, f := range arrived {
					if f.arrival <= end.arrival && end.arrival-f.arrival < per {
						sum += weight(f)
					}
				}
				most = max(most, sum)
			}
			return most
		}
		if n := most(limits.Messages.Per, func(flight) int { return 1 }); n > limits.Messages.Count {
			rt.Errorf("%d messages in a period, of %v", n, limits.Messages)
		}
		if n := most(limits.Recipients.Per, func(f flight) int { return f.recipients }); n > limits.Recipients.Count {
			rt.Errorf("%d recipients in a period, of %v", n, limits.Recipients)
		}
	})
}

func TestNothingIsHeldBackUnlessALimitIsKnown(t *testing.T) {
	var th throttle.Throttle
	for i := range 1000 {
		now := time.Duration(i) * time.Millisecond
		if n, _ := th.Room(now); n < 1000 {
			t.Fatalf("room for %d", n)
		}
		turn := th.Begin(1, now)
		th.Reserve(100, now)
		th.End(throttle.Outcome{Turn: turn, Reserved: 100, Delivered: 100, Answered: true}, now)
	}
	if th.Rate(time.Second) != 0 || th.Connections(time.Second) != 0 {
		t.Error("a limit out of nothing")
	}
}

// provider refuses what is beyond its limits, which nobody knows.
type provider struct {
	count       int // in any
	per         time.Duration
	connections int
	blames      bool // whatever is too much, it says that connections are
	took        []time.Duration
}

func (p *provider) hear(now time.Duration, inUse int) throttle.Refusal {
	lately := 0
	for i := len(p.took) - 1; i >= 0 && now-p.took[i] < p.per; i-- {
		lately++
	}
	switch {
	case inUse > p.connections:
		return throttle.TooMany
	case lately >= p.count && p.blames:
		return throttle.TooMany
	case lately >= p.count:
		return throttle.TooFast
	}
	p.took = append(p.took, now)
	return throttle.None
}

// flood sends as much as the throttle lets through, 20 at once and each in that
// time, until it has been going on for so long. It tells how many were refused.
func flood(th *throttle.Throttle, p *provider, takes, from, until time.Duration, each func(now time.Duration)) (refused int) {
	type flight struct {
		turn    throttle.Turn
		ends    time.Duration
		refusal throttle.Refusal
	}
	var flying []flight
	for now := from; now < until; {
		for len(flying) > 0 && flying[0].ends <= now {
			f := flying[0]
			flying = flying[1:]
			o := throttle.Outcome{Turn: f.turn, Reserved: 1, Delivered: 1, Answered: true, Refusal: f.refusal}
			if f.refusal != throttle.None {
				o.Delivered = 0
				refused++
			}
			th.End(o, now)
		}
		n, again := th.Room(now)
		for ; n > 0 && len(flying) < 20; n, again = th.Room(now) {
			turn := th.Begin(1, now)
			th.Reserve(1, now)
			flying = append(flying, flight{turn, now + takes, p.hear(now, len(flying)+1)})
		}
		each(now)
		next := now + time.Hour
		if len(flying) > 0 {
			next = flying[0].ends
		}
		if again > now {
			next = min(next, again)
		}
		now = max(next, now+1)
	}
	return refused
}

// From a quarter of an hour on the learned limits are within a tenth of those there are,
// whatever those are, and few messages are refused.
func TestWhatIsLearnedIsNearWhatIsAllowed(t *testing.T) {
	for _, c := range []struct {
		name  string
		p     provider
		takes time.Duration
	}{
		{"30 a minute over 3 connections", provider{count: 30, per: time.Minute, connections: 3}, 300 * time.Millisecond},
		{"30 a minute, each of which takes long", provider{count: 30, per: time.Minute, connections: 3}, 3 * time.Second},
		{"14 a second", provider{count: 14, per: time.Second, connections: 100}, 50 * time.Millisecond},
		{"600 a minute", provider{count: 600, per: time.Minute, connections: 10}, 100 * time.Millisecond},
		{"30 a second, and whatever is too much is blamed on connections", provider{count: 30, per: time.Second, connections: 3, blames: true}, 25 * time.Millisecond},
		{"12 a minute, over one connection", provider{count: 12, per: time.Minute, connections: 1}, time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			var th throttle.Throttle
			allowed := float64(c.p.count) * float64(time.Minute) / float64(c.p.per)
			worst := 0.0
			refused := flood(&th, &c.p, c.takes, 0, time.Hour, func(now time.Duration) {
				if now < 15*time.Minute {
					return
				}
				off := th.Rate(now)/allowed - 1
				if worst = max(worst, off, -off); worst > 0.1 {
					t.Fatalf("after %v it is %.1f a minute; allowed are %.1f", now, th.Rate(now), allowed)
				}
				if n := th.Connections(now); n != 0 && (n > c.p.connections+2 || n < min(c.p.connections, 2)-1) {
					t.Fatalf("after %v it uses %d connections; allowed are %d", now, n, c.p.connections)
				}
			})
			took := len(c.p.took)
			t.Logf("%d of %.0f taken, %d refused, at most %.1f %% off", took, allowed*60, refused, 100*worst)
			if float64(took) < 0.85*allowed*60 || refused > took/20+60 {
				t.Errorf("%d of %.0f taken, %d refused", took, allowed*60, refused)
			}
		})
	}
}
