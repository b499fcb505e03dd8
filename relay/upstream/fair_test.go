package upstream_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"postern/relay/message"
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

// A session that was kept may hide that an upstream has fallen silent: what was to go
// over it goes on through the next all the same.
func TestAKeptSessionHidesNoSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, upstream.Limits{})
		p.expect(t, "one")
		p.s.fault = once(at("MAIL", hang))
		p.fellSilent(t, "GREETING")
		began := time.Now()
		p.expect(t, "one unreachable", "two")
		if waited := time.Since(began); waited != 30*time.Second || len(p.s.got()) != 2 {
			t.Errorf("sent after %s, %d messages", waited, len(p.s.got()))
		}
	})
}

// With look-ahead, messages wait for one another, and not for a silent upstream.
func TestLookAheadDoesNotWaitForASilentUpstream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, upstream.Limits{Connections: 2})
		p.cfg.Upstreams[0].LookAhead = true
		p.reopen(t)
		p.fellSilent(t, "GREETING")
		began, ended := time.Now(), make(chan string)
		for range 4 {
			go func() { ended <- p.try(t) }()
		}
		for range 4 {
			if got := <-ended; got != "one unreachable" {
				t.Errorf("sent through %s", got)
			}
		}
		if waited := time.Since(began); waited != 10*time.Second {
			t.Errorf("given back after %s", waited)
		}
		p.expect(t, "two")
	})
}

// slow has the first of the pair greet only after a while.
func (p *pair) slow(after time.Duration) {
	p.set.Dial("one", func(context.Context) (net.Conn, error) {
		ours, theirs := net.Pipe()
		time.AfterFunc(after, func() { p.s.serve(theirs) })
		return ours, nil
	})
}

// One that makes everybody wait before its greeting is known for that after its first
// message, and not down again for each.
func TestOneThatIsAlwaysSlowIsNotDownEachTime(t *testing.T) {
	for _, c := range []struct {
		name      string
		upstreams int
		want      []string
	}{
		{"the only one", 1, []string{"one", "one", "one"}},
		{"with another, which has what comes until a probe", 2, []string{"one unreachable", "two", "one", "one"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t, upstream.Limits{MessagesPerConnection: 1})
				p.cfg.Routes[0].Upstreams = p.cfg.Routes[0].Upstreams[:c.upstreams]
				p.reopen(t)
				p.slow(20 * time.Second)
				for i, want := range c.want {
					p.expect(t, want)
					if i > 0 {
						time.Sleep(time.Minute)
					}
				}
				if downs := strings.Count(p.log.String(), "upstream down"); downs != 1 {
					t.Errorf("it is down %d times:\n%s", downs, p.log)
				}
			})
		})
	}
}

// A server that answers some connections and lets the others stand is short of them,
// and not down.
func TestOneThatAnswersOthersIsNotDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, upstream.Limits{})
		var dialed atomic.Int32
		p.set.Dial("one", func(context.Context) (net.Conn, error) {
			ours, theirs := net.Pipe()
			if dialed.Add(1) > 1 { // it stands until another ends, which is never
				go func() { <-t.Context().Done(); theirs.Close() }()
				return ours, nil
			}
			p.s.serve(theirs)
			return ours, nil
		})
		slots, err := p.set.Slots(t.Context(), "default", 2)
		if err != nil || len(slots) != 2 {
			t.Fatal(len(slots), err)
		}
		m, ended := letter("x\r\n", "a@example.net"), make(chan error)
		if _, err := slots[0].Send(t.Context(), m, nil); err != nil {
			t.Fatal(err)
		}
		go func() { // over the same session
			_, err := slots[0].Send(t.Context(), m, func(transport.Offer) (*message.Message, error) {
				time.Sleep(5 * time.Second)
				return m, nil
			})
			slots[0].Release()
			ended <- err
		}()
		synctest.Wait()
		began := time.Now()
		go func() {
			_, err := slots[1].Send(t.Context(), m, nil)
			slots[1].Release()
			ended <- err
		}()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.As(err, new(*transport.Unreachable)) || time.Since(began) != 10*time.Second {
			t.Errorf("the one that stands ended with %v after %s", err, time.Since(began))
		}
		p.expect(t, "one")
		if log := p.log.String(); strings.Contains(log, "upstream down") {
			t.Errorf("it is down:\n%s", log)
		}
	})
}

// A session that is ready at the very moment at which it would be given up carries its
// message, or another does, never both.
func TestNothingIsGivenUpThatMayHaveBeenSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, upstream.Limits{Connections: 50})
		p.slow(10 * time.Second)
		slots, err := p.set.Slots(t.Context(), "default", 50)
		if err != nil {
			t.Fatal(err)
		}
		var sent atomic.Int32
		var all sync.WaitGroup
		for _, slot := range slots {
			all.Go(func() {
				defer slot.Release()
				results, err := slot.Send(t.Context(), letter("x\r\n", "a@example.net"), nil)
				switch {
				case err == nil && results[0].Outcome == message.Delivered:
					sent.Add(1)
				case !errors.As(err, new(*transport.Unreachable)):
					t.Errorf("%v, %v", results, err)
				}
			})
		}
		all.Wait()
		if len(slots) != 50 || len(p.s.got()) != int(sent.Load()) {
			t.Errorf("%d of %d are known to be sent, and %d were", sent.Load(), len(slots), len(p.s.got()))
		}
	})
}

// late is ready a moment after it was given up, and has not noticed that yet.
type late struct{ transport.Transport }

func (late) Offer() transport.Offer { return transport.Anything }
func (late) Close()                 {}

func (late) Send(_ context.Context, l transport.Letter) ([]transport.Result, error) {
	l.Connecting()
	time.Sleep(10*time.Second + 1)
	if _, err := l.Prepare(transport.Anything); err != nil {
		return nil, transport.Unprepared{Err: err}
	}
	return []transport.Result{{Result: message.Result{Outcome: message.Delivered}}}, nil
}

func TestNothingIsSentOnceItIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, upstream.Limits{})
		p.set.Through("one", late{})
		p.expect(t, "one unreachable", "two")
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
