package upstream_test

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"postern/relay/setting"
	"postern/relay/upstream"
	"postern/relay/upstream/transport"
)

// fellSilent has the first of the pair stop at a step from now on: connections
// are made and then nothing is said any more, or not even that.
func (p *pair) fellSilent(t *testing.T, step string) {
	s := newServer(t)
	s.fault = func(at, _ string) string {
		if at == step {
			return hang
		}
		return ""
	}
	p.set.Dial("one", func(ctx context.Context) (net.Conn, error) {
		if step == "connect" {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		ours, theirs := net.Pipe()
		s.serve(theirs)
		return ours, nil
	})
}

// Wherever an upstream falls silent, the mail it was being given goes on through the
// next after ten seconds, and what comes then is not kept waiting at all.
func TestMailDoesNotWaitForASilentUpstream(t *testing.T) {
	for _, step := range []string{"connect", "GREETING", "EHLO", "AUTH"} {
		t.Run(step, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t, upstream.Limits{})
				if step == "AUTH" {
					p.cfg.Upstreams[0].Username, p.cfg.Upstreams[0].Password = username, setting.Plain(password)
					p.reopen(t)
				}
				p.fellSilent(t, step)
				slots, err := p.set.Slots(t.Context(), "default", 16)
				if err != nil {
					t.Fatal(err)
				}
				began, ended := time.Now(), make(chan error)
				for _, slot := range slots {
					go func() {
						defer slot.Release()
						_, err := slot.Send(t.Context(), letter("x\r\n", "a@example.net"), nil)
						ended <- err
					}()
				}
				for range slots {
					if err := <-ended; !errors.As(err, new(*transport.Unreachable)) {
						t.Errorf("it ended with %v", err)
					}
				}
				if waited := time.Since(began); len(slots) < 16 || waited > 10*time.Second {
					t.Errorf("%d messages were given back after %s", len(slots), waited)
				}
				began = time.Now()
				p.expect(t, "two", "two")
				if waited := time.Since(began); waited > 2*time.Second {
					t.Errorf("a fresh message left after %s", waited)
				}
			})
		})
	}
}

// One that is only slow is used all the same, as long as there is no other.
func TestASlowUpstreamIsWaitedForWhereThereIsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, upstream.Limits{})
		p.cfg.Routes[0].Upstreams = p.cfg.Routes[0].Upstreams[:1]
		p.reopen(t)
		p.set.Dial("one", func(context.Context) (net.Conn, error) {
			ours, theirs := net.Pipe()
			time.AfterFunc(20*time.Second, func() { p.s.serve(theirs) })
			return ours, nil
		})
		ended := make(chan string)
		go func() { ended <- p.try(t) }()
		is := func(state string) bool {
			return testutil.ToFloat64(p.o.Metrics.UpstreamState.WithLabelValues("one", state)) == 1
		}
		time.Sleep(10*time.Second + 1)
		synctest.Wait()
		if !is("down") || p.try(t) != "none" {
			t.Error("its connections are used up for nothing")
		}
		if got := <-ended; got != "one" || !is("up") {
			t.Errorf("sent through %s, up: %v", got, is("up"))
		}
	})
}

// Some slots are left for accounts that have nothing on its way.
func TestAFewSlotsAreKept(t *testing.T) {
	o, _ := options(t)
	o.Accounts = map[string]upstream.Account{"newsletter": {}, "printer": {}}
	s := newSet(t, route(upstream.Upstream{Name: "one", Preset: "capture", Limits: upstream.Limits{Connections: 20}}), o)
	slots, err := s.Slots(t.Context(), "default", 20)
	if err != nil || len(slots) != 18 {
		t.Fatalf("%d slots, %v", len(slots), err)
	}
	for _, slot := range slots {
		slot.Carries("newsletter")
	}
	if s.TrySlot("default") != nil || s.SpareSlot("default", "newsletter") != nil {
		t.Error("an account with all it may have gets more")
	}
	printer := s.SpareSlot("default", "printer")
	if printer == nil {
		t.Fatal("an account with nothing on its way has to wait")
	}
	if s.SpareSlot("default", "printer") != nil {
		t.Error("an account gets a second slot of those that are kept")
	}
	if s.SpareSlot("default", "scanner") == nil || s.SpareSlot("default", "erp") != nil {
		t.Error("there are not two that are kept")
	}
	printer.Release()
	if s.SpareSlot("default", "printer") == nil {
		t.Error("what was released is not kept again")
	}
	o.Accounts = map[string]upstream.Account{"newsletter": {}}
	s = newSet(t, route(upstream.Upstream{Name: "one", Preset: "capture", Limits: upstream.Limits{Connections: 20}}), o)
	if slots, err := s.Slots(t.Context(), "default", 20); err != nil || len(slots) != 20 {
		t.Errorf("the only account has %d slots, %v", len(slots), err)
	}
}

// What waits from an earlier run, or for an upstream that a reload has made anew, is
// not let loose at once.
func TestAStartIsARamp(t *testing.T) {
	o, _ := options(t)
	capture := func(weight int) upstream.Config {
		return route(upstream.Upstream{Name: "one", Preset: "capture", Weight: weight, Limits: upstream.Limits{Connections: 20}})
	}
	s := newSet(t, capture(1), o)
	s.Remember()
	next, err := upstream.New(capture(2), o, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { next.Close() })
	rise := func(what string, s *upstream.Set) {
		for _, want := range []int{1, 2, 4, 8, 16, 20} {
			slots, err := s.Slots(t.Context(), "default", 100)
			if err != nil || len(slots) != want {
				t.Errorf("%s: %d slots, want %d; %v", what, len(slots), want, err)
			}
			for _, slot := range slots {
				if _, err := slot.Send(t.Context(), letter("x\r\n", "a@example.net"), nil); err != nil {
					t.Error(err)
				}
				slot.Release()
			}
		}
	}
	rise("after a start", s)
	s.Retire(next)
	rise("after a reload", next)
}

// A session that was kept may be gone without a word, as a firewall forgets it:
// that is not waited for as a new one is.
func TestAKeptSessionThatIsGoneIsLeft(t *testing.T) {
	for _, step := range []string{"MAIL", "RSET"} {
		t.Run(step, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t, upstream.Limits{})
				if step == "RSET" { // a transaction that was not carried out goes before
					p.s.fault = at("DATA", "450 not now")
				}
				p.expect(t, "one")
				p.s.fault = once(at(step, hang))
				began := time.Now()
				p.expect(t, "one")
				if waited := time.Since(began); waited != 20*time.Second || len(p.s.got()) == 0 {
					t.Errorf("sent after %s, %d messages", waited, len(p.s.got()))
				}
			})
		})
	}
}

// once is a fault that happens once.
func once(fault func(step, line string) string) func(step, line string) string {
	var was atomic.Bool
	return func(step, line string) string {
		reply := fault(step, line)
		if reply == "" || was.Swap(true) {
			return ""
		}
		return reply
	}
}
