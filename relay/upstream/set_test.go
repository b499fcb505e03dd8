package upstream_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"postern/relay/message"
	"postern/relay/setting"
	"postern/relay/upstream"
	"postern/relay/upstream/preset"
	"postern/relay/upstream/transport"
)

func TestLane(t *testing.T) {
	patterns, err := message.ParsePatterns("@example.com")
	if err != nil {
		t.Fatal(err)
	}
	cfg := upstream.Config{
		Upstreams: []upstream.Upstream{{Name: "a", Preset: "capture"}, {Name: "b", Preset: "capture"}},
		Routes:    []upstream.Route{{Name: "office", Senders: patterns, Upstreams: []upstream.Group{{"b"}, {"a"}}}, {Name: "rest", Upstreams: []upstream.Group{{"a"}}}},
	}
	o, _ := options(t)
	o.Accounts = map[string]upstream.Account{"erp": {Route: "rest"}, "printer": {}}
	set := newSet(t, cfg, o)
	for _, c := range []struct {
		name, account string
		from          message.Address
		want          string
	}{
		{"the first route that matches", "printer", address("scan@EXAMPLE.com"), "office"},
		{"a route without senders takes all", "printer", address("scan@example.net"), "rest"},
		{"and the null sender", "printer", message.Address{}, "rest"},
		{"the account's own route", "erp", address("erp@example.com"), "rest"},
	} {
		if got := set.Routes(upstream.Mail{Account: c.account, From: c.from}); !slices.Equal(got, []string{c.want}) {
			t.Errorf("%s: %q", c.name, got)
		}
	}
	if got, want := set.Lanes(), []string{"office", "rest", "upstream:a", "upstream:b"}; !slices.Equal(got, want) {
		t.Errorf("lanes %q", got)
	}
	for lane, want := range map[string]string{"office": "b", "rest": "a", "upstream:b": "b"} {
		if slot := set.TrySlot(lane); slot == nil || slot.Upstream() != want {
			t.Errorf("lane %s: %v", lane, slot)
		}
	}
	if _, err := set.Slots(t.Context(), "upstream:gone", 1); err == nil || set.TrySlot("upstream:gone") != nil {
		t.Error("slots of a lane that is not there")
	}
	cfg.Routes = cfg.Routes[:1]
	o.Accounts = nil
	if routes := newSet(t, cfg, o).Routes(upstream.Mail{Account: "printer"}); len(routes) > 0 {
		t.Errorf("<> goes by %s, whose senders do not name it", routes)
	}
}

func TestNewRefuses(t *testing.T) {
	one := upstream.Upstream{Name: "one", Preset: "capture"}
	for _, c := range []struct {
		name string
		cfg  upstream.Config
		want string
	}{
		{"a route to nowhere", upstream.Config{Routes: []upstream.Route{{Name: "r", Upstreams: []upstream.Group{{"one"}}}}}, `no upstream "one"`},
		{"a route without upstreams", upstream.Config{Routes: []upstream.Route{{Name: "r"}}}, "names no upstream"},
		{"an account's unknown route", route(one), `no route "office"; the routes are default`},
		{"an unreadable CA", route(upstream.Upstream{Name: "x", CA: "/nowhere.pem", Address: "a:25"}), "/nowhere.pem"},
		{"a bad address", route(upstream.Upstream{Name: "x", Address: "a"}), "host:port"},
	} {
		o, _ := options(t)
		o.Accounts = map[string]upstream.Account{"erp": {Route: "office"}}
		if _, err := upstream.New(c.cfg, o, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// pair is a Set of the upstreams "one" and "two" over pipes, and what takes
// them down.
type pair struct {
	t    *testing.T
	set  *upstream.Set
	cfg  upstream.Config
	o    upstream.Options
	log  *logBuffer
	dead map[string]*atomic.Bool
	s    *server
}

func newPair(t *testing.T, limits upstream.Limits) pair {
	p := pair{t: t, s: newServer(t), dead: map[string]*atomic.Bool{}}
	p.o, p.log = options(t)
	var us []upstream.Upstream
	for _, name := range []string{"one", "two"} {
		us = append(us, upstream.Upstream{Name: name, Address: name + ":25", TLS: "none", Limits: limits, Replies: []preset.Rule{
			{Text: preset.Words{"daily sending quota"}, Action: "hold", For: setting.Duration(time.Hour)},
			{Text: preset.Words{"mailbox full"}, Action: "configure"},
		}})
	}
	p.cfg = route(us...)
	p.reopen(t)
	return p
}

// reopen makes the Set anew, after its configuration was changed.
func (p *pair) reopen(t *testing.T) {
	p.set = newSet(t, p.cfg, p.o)
	for _, name := range []string{"one", "two"} {
		dead := new(atomic.Bool)
		p.dead[name] = dead
		p.set.Dial(name, func(context.Context) (net.Conn, error) {
			if dead.Load() {
				return nil, errors.New("connection refused")
			}
			ours, theirs := net.Pipe()
			p.s.serve(theirs)
			return ours, nil
		})
	}
}

// try takes a slot without waiting, sends, and tells by whom and whether it
// arrived.
func (p pair) try(t *testing.T) string {
	slot := p.set.TrySlot("default")
	if slot == nil {
		return "none"
	}
	defer slot.Release()
	if _, err := slot.Send(t.Context(), letter("x\r\n", "a@example.net"), nil); err != nil {
		return slot.Upstream() + " unreachable"
	}
	return slot.Upstream()
}

func (p pair) expect(t *testing.T, want ...string) {
	t.Helper()
	for i, w := range want {
		if got := p.try(t); got != w {
			t.Errorf("try %d: %s; want %s", i+1, got, w)
		}
	}
}

func TestFailoverAndRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, upstream.Limits{MessagesPerConnection: 1})
		p.expect(t, "one", "one")
		p.dead["one"].Store(true)
		p.expect(t, "one unreachable", "two", "two")
		if down := testutil.ToFloat64(p.o.Metrics.UpstreamState.WithLabelValues("one", "down")); down != 1 {
			t.Error("the state is not down")
		}
		for _, pause := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
			time.Sleep(pause - 1)
			p.expect(t, "two")
			time.Sleep(time.Nanosecond)
			p.expect(t, "one unreachable", "two")
		}
		p.dead["one"].Store(false)
		time.Sleep(8 * time.Second)
		probe := p.set.TrySlot("default")
		p.expect(t, "two") // one probe at a time
		if _, err := probe.Send(t.Context(), letter("x\r\n", "a@example.net"), nil); err != nil || probe.Upstream() != "one" {
			t.Error(err)
		}
		p.expect(t, "one", "one")
		probe.Release()
		if log := p.log.String(); strings.Count(log, "upstream down") != 1 || strings.Count(log, "upstream up") != 1 || strings.Count(log, "\n") != 2 {
			t.Errorf("the log: %s", log)
		}
		if up := testutil.ToFloat64(p.o.Metrics.UpstreamState.WithLabelValues("one", "up")); up != 1 {
			t.Error("the state is not up")
		}
	})
}

// answerMail has the server answer MAIL so, until another reply is stored.
func answerMail(s *server, reply string) *atomic.Value {
	answer := new(atomic.Value)
	answer.Store(reply)
	s.fault = func(step, line string) string { return at("MAIL", answer.Load().(string))(step, line) }
	return answer
}

func TestFailureOfAnotherKindIsCountedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUnlike(t)
		u.dead["one"].Store(true)
		for _, pause := range []time.Duration{1, 2, 4, 8, 16} {
			u.expect(t, "one unreachable")
			time.Sleep(pause * time.Second)
		}
		u.dead["one"].Store(false)
		answerMail(u.first, "530 5.7.0 authentication required")
		for _, pause := range []time.Duration{1, 2, 4} {
			u.expect(t, "one unreachable")
			time.Sleep(pause*time.Minute - 1)
			u.expect(t, "two")
			time.Sleep(time.Nanosecond)
		}
		u.dead["one"].Store(true)
		u.expect(t, "one unreachable")
		time.Sleep(time.Second)
		u.expect(t, "one unreachable", "two")
	})
}

func TestUpstreamThatTurnsMailAwayIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUnlike(t)
		answer := answerMail(u.first, "421 4.7.0 too fast")
		u.expect(t, "one unreachable", "two", "two") // nothing else was on its way: it is not us who are too many
		if u.first.count() != 1 {
			t.Errorf("%d connections", u.first.count())
		}
		answer.Store("")
		time.Sleep(2 * time.Second)
		u.expect(t, "one")
	})
}

func TestUnusedProbeMakesRoomForAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, upstream.Limits{})
		p.dead["one"].Store(true)
		p.expect(t, "one unreachable")
		time.Sleep(time.Second)
		probe := p.set.TrySlot("default")
		probe.Release()
		p.dead["one"].Store(false)
		p.expect(t, "one")
	})
}

func TestSlotTakenBeforeTheUpstreamWentDownTriesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, upstream.Limits{})
		early := p.set.TrySlot("default")
		p.dead["one"].Store(true)
		p.expect(t, "one unreachable")
		p.dead["one"].Store(false)
		fault := new(transport.Unreachable)
		if _, err := early.Send(t.Context(), letter("x\r\n", "a@example.net"), nil); !errors.As(err, &fault) || p.s.count() != 0 {
			t.Error(err)
		}
		early.Release()
	})
}

func TestSlotsWaitsForAFreeOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, upstream.Limits{Connections: 2})
		taken, err := p.set.Slots(t.Context(), "default", 5)
		if err != nil || len(taken) != 2 {
			t.Fatal(len(taken), err)
		}
		var got []*upstream.Slot
		go func() { got, _ = p.set.Slots(t.Context(), "default", 5) }()
		synctest.Wait()
		if got != nil {
			t.Fatalf("%d slots of %s though the first is only full", len(got), got[0].Upstream())
		}
		taken[0].Release()
		if p.set.TrySlot("default") != nil {
			t.Error("TrySlot overtook who waits")
		}
		synctest.Wait()
		if len(got) != 1 || got[0].Upstream() != "one" {
			t.Error(got)
		}
	})
}

func TestSlotsWaitsWhileAllAreDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, upstream.Limits{})
		p.dead["one"].Store(true)
		p.dead["two"].Store(true)
		p.expect(t, "one unreachable")
		if !p.set.Up("default") || p.set.Up("upstream:one") || !p.set.Up("upstream:two") {
			t.Error("not the first alone is down")
		}
		p.expect(t, "two unreachable", "none")
		if p.set.Up("default") {
			t.Error("one of two that are down is available")
		}
		began := time.Now()
		slots, err := p.set.Slots(t.Context(), "default", 5)
		if err != nil || len(slots) != 1 || time.Since(began) != time.Second {
			t.Fatal(len(slots), err, time.Since(began))
		}
		waiting := make(chan []*upstream.Slot)
		go func() {
			more, _ := p.set.Slots(t.Context(), "upstream:one", 5)
			waiting <- more
		}()
		synctest.Wait()
		p.dead["one"].Store(false)
		if _, err := slots[0].Send(t.Context(), letter("x\r\n", "a@example.net"), nil); err != nil {
			t.Fatal(err)
		}
		if more := <-waiting; len(more) != 1 || time.Since(began) != time.Second { // one more than the probe's
			t.Errorf("%d slots after the probe", len(more))
		}
	})
}

func TestSlotsEndsWithItsContextAndItsSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, upstream.Limits{Connections: 1})
		p.set.TrySlot("default")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := p.set.Slots(ctx, "default", 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		time.AfterFunc(time.Minute, func() { p.set.Retire(nil) })
		if _, err := p.set.Slots(t.Context(), "default", 1); !errors.Is(err, upstream.ErrRetired) {
			t.Error(err)
		}
	})
}

func TestReloadKeepsWhatDidNotChange(t *testing.T) {
	kept, changed := newServer(t), newServer(t)
	cfg := func() upstream.Config {
		a, b := smarthost(t, kept.listen(t)), smarthost(t, changed.listen(t))
		a.Name, b.Name = "kept", "changed"
		return route(a, b)
	}()
	o, _ := options(t)
	old := newSet(t, cfg, o)
	useBoth := func(s *upstream.Set) {
		for _, lane := range []string{"upstream:kept", "upstream:changed"} {
			slot := s.TrySlot(lane)
			if _, err := slot.Send(t.Context(), letter("x\r\n", "a@example.net"), nil); err != nil {
				t.Fatal(err)
			}
			slot.Release()
		}
	}
	useBoth(old)
	cfg.Upstreams = slices.Clone(cfg.Upstreams)
	cfg.Upstreams[1].Limits.Connections = 7
	next, err := upstream.New(cfg, o, old)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { next.Close() })
	old.Retire(next)
	if heard := changed.heard(); heard[len(heard)-1] != "QUIT" {
		t.Error("the old connection stays open")
	}
	useBoth(next)
	if kept.count() != 1 || changed.count() != 2 {
		t.Errorf("%d and %d sessions", kept.count(), changed.count())
	}
	old.Close()
	if heard := kept.heard(); heard[len(heard)-1] == "QUIT" {
		t.Error("the connection taken over was closed with the old set")
	}
}

// TestPatience holds the times of RFC 5321, section 4.5.3.2.
func TestPatience(t *testing.T) {
	for _, c := range []struct {
		step string
		want time.Duration
		end  string
	}{
		{"GREETING", 5 * time.Minute, "unreachable"},
		{"EHLO", 5 * time.Minute, "unreachable"},
		{"MAIL", 5 * time.Minute, "deferred"},
		{"RCPT", 5 * time.Minute, "deferred"},
		{"DATA", 2 * time.Minute, "deferred"},
		{"BODY", 3*time.Minute + 2*time.Second, "deferred"},
		{"DOT", 10 * time.Minute, "uncertain"},
	} {
		t.Run(c.step, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t, upstream.Limits{})
				p.cfg.Routes[0].Upstreams = p.cfg.Routes[0].Upstreams[:1] // there is no other to turn to
				p.reopen(t)
				p.s.fault = at(c.step, hang)
				m := letter("", "a@example.net")
				m.Body = lines(4096)
				began := time.Now()
				results, err := send(t, p.set, m)
				got := outcomes(results)
				if err != nil {
					got = "unreachable"
				}
				if got != c.end || time.Since(began) != c.want {
					t.Errorf("%s after %v: %v %v", got, time.Since(began), results, err)
				}
			})
		})
	}
}

// A group that is busy is waited for, one known to stay so for long is passed over.
func TestOneThatWillBeBusyForLongIsPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, upstream.Limits{})
		p.cfg.Upstreams[0].Limits.Messages = setting.Rate{Count: 2, Per: time.Hour}
		p.reopen(t)
		p.expect(t, "one", "none")
		time.Sleep(10 * time.Second)
		p.expect(t, "one", "two", "two") // the next has to wait until the first is an hour old
		time.Sleep(time.Hour - 2*time.Minute)
		p.expect(t, "two")
		time.Sleep(time.Minute)
		p.expect(t, "none")
		time.Sleep(time.Minute)
		p.expect(t, "one")
	})
}

// With look-ahead there are two slots for each connection, of which the mailbox
// counts those that two upstreams share.
func TestLookAheadDoesNotDoubleTheConnectionsOfAMailbox(t *testing.T) {
	for _, c := range []struct {
		name          string
		first, second message.Address
		slots         int
	}{
		{"each has a mailbox", message.Address{Local: "a", Domain: "example.com"}, message.Address{Local: "b", Domain: "example.com"}, 6},
		{"both have the same", message.Address{Local: "a", Domain: "example.com"}, message.Address{Local: "a", Domain: "example.com"}, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t, upstream.Limits{Connections: 3})
			for i, box := range []message.Address{c.first, c.second} {
				u := &p.cfg.Upstreams[i]
				u.LookAhead, u.Mailbox, u.Address = true, box, "same:25"
			}
			p.reopen(t)
			for _, name := range []string{"one", "two"} {
				slots, err := p.set.Slots(t.Context(), "upstream:"+name, 100)
				if err != nil {
					t.Fatal(err)
				}
				if len(slots) != c.slots {
					t.Errorf("%d slots of %s, want %d", len(slots), name, c.slots)
				}
				for _, s := range p.set.Status() {
					if s.ConnectionLimit != 3 || s.Upstream == name && s.Connections != 3 {
						t.Errorf("%d of %d connections in use", s.Connections, s.ConnectionLimit)
					}
				}
				for _, slot := range slots {
					slot.Release()
				}
			}
		})
	}
}
