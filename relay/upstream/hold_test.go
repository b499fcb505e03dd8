package upstream_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"postern/relay/upstream"
)

// state is that of "one", with its reason.
func (p pair) state(t *testing.T) string {
	t.Helper()
	for _, s := range p.set.Status() {
		if s.Upstream == "one" {
			value := testutil.ToFloat64(p.o.Metrics.UpstreamState.WithLabelValues("one", s.State))
			if value != 1 {
				t.Errorf("it is %s, but the metric is %v", s.State, value)
			}
			return strings.TrimSpace(s.State + " " + s.Reason)
		}
	}
	return "gone"
}

func (p pair) expectState(t *testing.T, want string) {
	t.Helper()
	if got := p.state(t); got != want {
		t.Errorf("it is %s; want %s", got, want)
	}
}

// reload puts the same configuration in force again.
func (p *pair) reload(t *testing.T) {
	next := p.next(t, p.cfg)
	p.set.Retire(next)
	p.set = next
}

func TestAQuotaHoldsUntilItsTimeThroughReloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newUnlike(t)
		answer := answerMail(p.first, "550 5.4.5 Daily sending quota exceeded")
		p.expect(t, "one", "two")
		p.expectState(t, "held quota")
		until := testutil.ToFloat64(p.o.Metrics.UpstreamHoldUntil.WithLabelValues("one"))
		if want := time.Now().Add(time.Hour).Unix(); int64(until) != want {
			t.Errorf("held until %v; want %v", until, want)
		}
		p.reload(t)
		p.expect(t, "two")
		time.Sleep(time.Hour - time.Second)
		p.expect(t, "two")
		time.Sleep(time.Second)
		p.expect(t, "one", "two") // the probe was refused again
		time.Sleep(time.Hour)
		answer.Store("")
		probe := p.set.TrySlot("default")
		p.expectState(t, "probing quota")
		probe.Release()
		p.expect(t, "one", "one")
		p.expectState(t, "up")
		if n := strings.Count(p.log.String(), "upstream held"); n != 1 {
			t.Errorf("%d lines in the log: %s", n, p.log)
		}
	})
}

func TestWhatIsConfiguredWronglyIsTriedAfterAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newUnlike(t)
		answerMail(p.first, "554 5.2.2 mailbox full")
		p.expect(t, "one", "two")
		p.expectState(t, "held configuration")
		time.Sleep(time.Minute - time.Second)
		p.expect(t, "two")
		p.reload(t)
		p.expect(t, "one", "two")
	})
}

func TestAPersonHoldsAndResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, upstream.Limits{})
		early := p.set.TrySlot("default")
		if err := p.set.Hold("one", 0, "ann: new mailbox"); err != nil {
			t.Fatal(err)
		}
		p.expect(t, "two")
		p.expectState(t, "held asked")
		if _, err := early.Send(t.Context(), letter("x\r\n", "a@example.net"), nil); err == nil || !strings.Contains(err.Error(), "postern upstreams resume one") {
			t.Errorf("a slot taken before: %v", err)
		}
		early.Release()
		if why := p.set.Waiting("upstream:one"); why != "one is held until it is resumed, by ann: new mailbox" || p.set.Waiting("default") != "" {
			t.Errorf("%q, %q", why, p.set.Waiting("default"))
		}
		p.cfg.Upstreams[0].Limits.Connections = 7
		p.reload(t) // even with other limits
		time.Sleep(30 * 24 * time.Hour)
		p.expect(t, "two")
		if err := p.set.Resume("one"); err != nil {
			t.Fatal(err)
		}
		p.expectState(t, "up")
		if p.set.Resume("one") == nil || p.set.Resume("nobody") == nil || p.set.Hold("nobody", 0, "ann") == nil {
			t.Error("what cannot be done is not refused")
		}
		if err := p.set.Hold("two", time.Hour, "ann"); err != nil {
			t.Fatal(err)
		}
		if why := p.set.Waiting("upstream:two"); !strings.HasPrefix(why, "two is held until ") {
			t.Error(why)
		}
	})
}

// After an outage the upstream sees one connection, then two, then four.
func TestAnUpstreamThatIsBackIsNotOverrun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, upstream.Limits{Connections: 16})
		p.dead["one"].Store(true)
		p.expect(t, "one unreachable")
		p.dead["one"].Store(false)
		time.Sleep(time.Second)
		for _, want := range []int{1, 2, 4, 8, 16, 16} {
			slots, err := p.set.Slots(t.Context(), "upstream:one", 100)
			if err != nil || len(slots) != want {
				t.Fatalf("%d slots; want %d: %v", len(slots), want, err)
			}
			if more := p.set.TrySlot("upstream:one"); more != nil {
				t.Fatal("and one more")
			}
			for _, slot := range slots {
				if _, err := slot.Send(t.Context(), letter("x\r\n", "a@example.net"), nil); err != nil {
					t.Fatal(err)
				}
			}
			for _, slot := range slots {
				slot.Release()
			}
		}
	})
}
