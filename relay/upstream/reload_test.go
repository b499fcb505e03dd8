package upstream_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"postern/relay/upstream"
)

// next is a Set made from that of p.
func (p pair) next(t *testing.T, cfg upstream.Config) *upstream.Set {
	t.Helper()
	next, err := upstream.New(cfg, p.o, p.set)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { next.Close() })
	return next
}

func TestReloadEndsThePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUnlike(t)
		answer := answerMail(u.first, "530 5.7.0 authentication required")
		for _, pause := range []time.Duration{1, 2, 4} {
			u.expect(t, "one unreachable", "two")
			time.Sleep(pause * time.Minute)
		}
		u.expect(t, "one unreachable", "two")

		u.next(t, u.cfg).Retire(u.set)
		u.expect(t, "two") // that reload was refused

		next := u.next(t, u.cfg)
		waiting := make(chan []*upstream.Slot)
		go func() {
			slots, _ := next.Slots(t.Context(), "upstream:one", 5)
			waiting <- slots
		}()
		synctest.Wait()
		began := time.Now()
		u.set.Retire(next)
		u.set = next
		if probe := <-waiting; len(probe) != 1 || time.Since(began) != 0 {
			t.Errorf("%d slots after %v", len(probe), time.Since(began))
		} else {
			probe[0].Release()
		}
		u.expect(t, "one unreachable", "two")
		time.Sleep(time.Minute) // as after the first failure
		answer.Store("")
		u.expect(t, "one", "one")
	})
}

func TestProbeUnderWayAtAReloadIsTheFirstFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, upstream.Limits{})
		p.dead["one"].Store(true)
		for range 6 {
			p.expect(t, "one unreachable")
			time.Sleep(time.Minute)
		}
		probe := p.set.TrySlot("default")
		next := p.next(t, p.cfg)
		p.set.Retire(next)
		p.set = next
		if _, err := probe.Send(t.Context(), letter("x\r\n", "a@example.net"), nil); err == nil {
			t.Fatal("the probe arrived")
		}
		probe.Release()
		p.dead["one"].Store(false)
		time.Sleep(time.Second)
		p.expect(t, "one")
	})
}

// TestStateIsThatOfTheSetInForce also holds that an upstream that is gone is
// neither up nor down.
func TestStateIsThatOfTheSetInForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, upstream.Limits{})
		state := func(name string) string {
			value := func(state string) float64 {
				return testutil.ToFloat64(p.o.Metrics.UpstreamState.WithLabelValues(name, state))
			}
			return fmt.Sprintf("up %v down %v", value("up"), value("down"))
		}
		expect := func(when, one, two, three string) {
			t.Helper()
			for name, want := range map[string]string{"one": one, "two": two, "three": three} {
				if got := state(name); got != want {
					t.Errorf("%s %s is %s; want %s", when, name, got, want)
				}
			}
		}
		const up, down, none = "up 1 down 0", "up 0 down 1", "up 0 down 0"
		p.dead["one"].Store(true)
		p.expect(t, "one unreachable")
		expect("at first", down, up, none)

		one := p.cfg.Upstreams[0]
		one.Limits.Connections = 7
		cfg := route(one, upstream.Upstream{Name: "three", Preset: "capture"})
		p.next(t, cfg).Retire(p.set)
		expect("after a reload that was refused", down, up, none)

		next := p.next(t, cfg)
		expect("before the reload is done", down, up, none)
		p.set.Retire(next)
		expect("after the reload", up, none, up)
	})
}

func TestReloadThatIsRefusedChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, upstream.Limits{})
		p.expect(t, "one")
		p.next(t, p.cfg).Retire(p.set)
		p.expect(t, "one")
		if heard := p.s.heard(); p.s.count() != 1 || slices.Contains(heard, "QUIT") {
			t.Errorf("%d sessions: %q", p.s.count(), heard)
		}
	})
}
