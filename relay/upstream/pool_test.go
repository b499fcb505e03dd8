package upstream_test

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"postern/relay/setting"
	"postern/relay/upstream"
)

func TestConnectionIsUsedAgain(t *testing.T) {
	s := newServer(t)
	o, _ := options(t)
	set := newSet(t, route(smarthost(t, s.listen(t))), o)
	for range 3 {
		if results, err := send(t, set, letter("x\r\n", "a@example.net")); err != nil || outcomes(results) != "delivered" {
			t.Fatal(results, err)
		}
	}
	if s.count() != 1 || slices.Contains(s.heard(), "RSET") {
		t.Errorf("%d sessions: %q", s.count(), s.heard())
	}
	if n := testutil.ToFloat64(o.Metrics.UpstreamConnections.WithLabelValues("smart")); n != 1 {
		t.Errorf("%v connections counted", n)
	}
	set.Close()
	if heard := s.heard(); heard[len(heard)-1] != "QUIT" {
		t.Errorf("the last command is %q", heard[len(heard)-1])
	}
	if n := testutil.ToFloat64(o.Metrics.UpstreamConnections.WithLabelValues("smart")); n != 0 {
		t.Errorf("%v connections counted after Close", n)
	}
}

func TestRefusedTransactionIsResetBeforeTheNext(t *testing.T) {
	for _, c := range []struct{ name, rset string }{
		{"pipelined", ""}, {"without pipelining", ""}, {"RSET refused", "500 what?"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			if c.name == "without pipelining" {
				s.ext = without(s.ext, "PIPELINING")
			}
			s.fault = twoFaults(both("RCPT", "550 5.1.1 unknown", ""), at("RSET", c.rset))
			o, _ := options(t)
			set := newSet(t, route(smarthost(t, s.listen(t))), o)
			send(t, set, letter("x\r\n", "a@example.net"))
			results, err := send(t, set, letter("x\r\n", "b@example.net"))
			if err != nil || outcomes(results) != "delivered" || !slices.Contains(s.heard(), "RSET") {
				t.Error(results, err, s.heard())
			}
			if want := map[bool]int{true: 1, false: 2}[c.rset == ""]; s.count() != want {
				t.Errorf("%d sessions; want %d", s.count(), want)
			}
		})
	}
}

func TestStaleConnectionIsReplaced(t *testing.T) {
	for _, c := range []struct{ name, fault string }{
		{"closed", drop}, {"421", "421 4.4.2 idle too long"}, {"login forgotten", "530 5.7.0 authentication required"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			var mails atomic.Int32
			s.fault = func(step, _ string) string {
				if step == "MAIL" {
					if mails.Add(1) == 2 {
						return c.fault
					}
				}
				return ""
			}
			o, _ := options(t)
			set := newSet(t, route(smarthost(t, s.listen(t))), o)
			for range 2 {
				if results, err := send(t, set, letter("x\r\n", "a@example.net")); err != nil || outcomes(results) != "delivered" {
					t.Fatal(results, err)
				}
			}
			if s.count() != 2 || len(s.got()) != 2 {
				t.Errorf("%d sessions, %d mails", s.count(), len(s.got()))
			}
		})
	}
}

func TestConnectionsAreLimited(t *testing.T) {
	s := newServer(t)
	quit := make(chan bool, 10)
	s.fault = func(step, _ string) string {
		if step == "QUIT" {
			quit <- true
		}
		return ""
	}
	o, _ := options(t)
	u := smarthost(t, s.listen(t))
	u.Limits = upstream.Limits{Connections: 2, MessagesPerConnection: 2}
	set := newSet(t, route(u), o)
	slots, err := set.Slots(t.Context(), "default", 10)
	if err != nil || len(slots) != 2 || set.TrySlot("default") != nil {
		t.Fatal(len(slots), err)
	}
	for range 4 {
		if _, err := slots[0].Send(t.Context(), letter("x\r\n", "a@example.net"), nil); err != nil {
			t.Fatal(err)
		}
	}
	<-quit
	<-quit
	if s.count() != 2 {
		t.Errorf("%d sessions", s.count())
	}
	slots[0].Release()
	slots[0].Release()
	if set.TrySlot("default") == nil || set.TrySlot("default") != nil {
		t.Error("two releases of one slot are not one")
	}
}

func TestIdleConnectionIsEnded(t *testing.T) {
	s := newServer(t)
	quit := make(chan bool, 1)
	s.fault = func(step, _ string) string {
		if step == "QUIT" {
			quit <- true
		}
		return ""
	}
	o, _ := options(t)
	u := smarthost(t, s.listen(t))
	u.Limits.Idle = setting.Duration(time.Millisecond)
	set := newSet(t, route(u), o)
	if _, err := send(t, set, letter("x\r\n", "a@example.net")); err != nil {
		t.Fatal(err)
	}
	<-quit
}

func TestSlotOutlivesItsSetButKeepsNothingOpen(t *testing.T) {
	s := newServer(t)
	o, _ := options(t)
	set := newSet(t, route(smarthost(t, s.listen(t))), o)
	slot := set.TrySlot("default")
	set.Retire(nil)
	if results, err := slot.Send(t.Context(), letter("x\r\n", "a@example.net"), nil); err != nil || outcomes(results) != "delivered" {
		t.Fatal(results, err)
	}
	slot.Release()
	if n := testutil.ToFloat64(o.Metrics.UpstreamConnections.WithLabelValues("smart")); n != 0 {
		t.Errorf("%v connections stay open", n)
	}
}

func TestNumbers(t *testing.T) {
	s := newServer(t)
	s.fault = first("RCPT", "550 5.1.1 unknown")
	o, _ := options(t)
	set := newSet(t, route(smarthost(t, s.listen(t))), o)
	if _, err := send(t, set, letter("x\r\n", "a@example.net", "b@example.net")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		got  float64
	}{
		{"delivered", testutil.ToFloat64(o.Metrics.UpstreamAttempts.WithLabelValues("smart", "delivered"))},
		{"failed", testutil.ToFloat64(o.Metrics.UpstreamAttempts.WithLabelValues("smart", "failed"))},
		{"2xx", testutil.ToFloat64(o.Metrics.UpstreamReplies.WithLabelValues("smart", "2xx"))},
		{"5xx", testutil.ToFloat64(o.Metrics.UpstreamReplies.WithLabelValues("smart", "5xx"))},
		{"up", testutil.ToFloat64(o.Metrics.UpstreamState.WithLabelValues("smart", "up"))},
	} {
		if c.got != 1 {
			t.Errorf("%s: %v", c.name, c.got)
		}
	}
	var text strings.Builder
	families, err := o.Metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		text.WriteString(f.String())
	}
	for _, phase := range []string{"connect", "tls", "auth", "envelope", "data"} {
		if !strings.Contains(text.String(), `"`+phase+`"`) {
			t.Errorf("no time of phase %s", phase)
		}
	}
}
