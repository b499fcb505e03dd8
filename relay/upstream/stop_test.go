package upstream_test

import (
	"context"
	"errors"
	"net"
	"testing"

	"postern/relay/upstream"
	"postern/relay/upstream/transport"
)

// stopAt has the server say reply at a step, and the Set stopped when it is
// reached.
func stopAt(s *server, step, reply string) (reached chan bool) {
	reached = make(chan bool, 100)
	s.fault = func(at, _ string) string {
		if at == step {
			reached <- true
			return reply
		}
		return ""
	}
	return reached
}

func TestStopCutsWhatHasNotReachedMail(t *testing.T) {
	for _, step := range []string{"GREETING", "EHLO", "STARTTLS", "TLS", "AUTH"} {
		t.Run(step, func(t *testing.T) {
			s := newServer(t)
			reached := stopAt(s, step, hang)
			o, _ := options(t)
			set := newSet(t, route(smarthost(t, s.listen(t))), o)
			go func() {
				<-reached
				set.Stop()
			}()
			for range 2 { // under way, and begun later
				expectStopped(t, set)
			}
		})
	}
}

func TestStopCutsADial(t *testing.T) {
	o, _ := options(t)
	set := newSet(t, route(smarthost(t, "mx.example.com:25")), o)
	dialing := make(chan bool, 1)
	set.Dial("smart", func(ctx context.Context) (net.Conn, error) {
		dialing <- true
		<-ctx.Done()
		return nil, ctx.Err()
	})
	go func() {
		<-dialing
		set.Stop()
	}()
	expectStopped(t, set)
}

// expectStopped sends and checks that our own end is not blamed on the upstream.
func expectStopped(t *testing.T, set *upstream.Set) {
	t.Helper()
	results, err := send(t, set, letter("x\r\n", "a@example.net"))
	if !errors.Is(err, transport.ErrStopping) || errors.As(err, new(*transport.Unreachable)) || results != nil {
		t.Errorf("%v, %v", results, err)
	}
	if !set.Up("default") {
		t.Error("the upstream is down")
	}
}

func TestStopReachesSlotsOfTheSetsBefore(t *testing.T) {
	s := newServer(t)
	reached := stopAt(s, "GREETING", hang)
	o, _ := options(t)
	cfg := route(smarthost(t, s.listen(t)))
	old := newSet(t, cfg, o)
	slot := old.TrySlot("default")
	defer slot.Release()
	cfg = route(cfg.Upstreams[0])
	cfg.Upstreams[0].Limits.Connections = 7
	next, err := upstream.New(cfg, o, old)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	old.Retire(next)
	go func() {
		<-reached
		next.Stop()
	}()
	if _, err := slot.Send(t.Context(), letter("x\r\n", "a@example.net"), nil); !errors.Is(err, transport.ErrStopping) {
		t.Error(err)
	}
}

func TestStopLetsWhatSaidMailGoOn(t *testing.T) {
	for _, step := range []string{"MAIL", "RCPT", "DATA", "DOT"} {
		t.Run(step, func(t *testing.T) {
			s := newServer(t)
			reached, stopped := make(chan bool), make(chan bool)
			s.fault = func(at, _ string) string {
				if at == step {
					reached <- true
					<-stopped
				}
				return ""
			}
			o, _ := options(t)
			set := newSet(t, route(smarthost(t, s.listen(t))), o)
			go func() {
				<-reached
				set.Stop()
				close(stopped)
			}()
			results, err := send(t, set, letter("x\r\n", "a@example.net"))
			if err != nil || outcomes(results) != "delivered" {
				t.Error(results, err)
			}
		})
	}
}
