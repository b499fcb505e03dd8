package upstream_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postern/relay/upstream"
	"postern/relay/upstream/transport"
)

// beside is a route through the upstream "smart" at bad, and "good" if that is
// down.
func beside(t *testing.T, bad upstream.Upstream) (*upstream.Set, *server) {
	good := newServer(t)
	second := smarthost(t, good.listen(t))
	second.Name = "good"
	o, _ := options(t)
	return newSet(t, route(bad, second), o), good
}

// costsItself sends two messages: what the first upstream does to them must not
// fail them for good, and what it did not take the second must get when the first
// is down.
func costsItself(t *testing.T, set *upstream.Set, good *server, want string) {
	t.Helper()
	results, err := send(t, set, letter("x\r\n", "a@example.net"))
	got := outcomes(results)
	fault := new(transport.Unreachable)
	if errors.As(err, &fault) {
		got = "unreachable at " + fault.Phase
	}
	if got != want {
		t.Fatalf("%q: %v, %v; want %q", got, results, err, want)
	}
	if err == nil {
		return
	}
	if results, err := send(t, set, letter("x\r\n", "a@example.net")); err != nil || outcomes(results) != "delivered" || len(good.got()) != 1 {
		t.Errorf("the second upstream: %v, %v", results, err)
	}
}

func TestABadServerCostsOnlyItself(t *testing.T) {
	endless := strings.Repeat("250-more and more and more and more and more and more and more and more\n", 100<<20/72)
	for _, c := range []struct {
		name  string
		fault func(step, line string) string
		want  string
	}{
		{"greets with 554", at("GREETING", "554 5.7.1 go away"), "unreachable at greeting"},
		{"greets with 100 MB", at("GREETING", strings.ReplaceAll(endless, "250-", "220-")), "unreachable at greeting"},
		{"offers 100 MB", at("EHLO", endless), "unreachable at greeting"},
		{"answers 100 MB to MAIL", at("MAIL", endless), "deferred"},
		{"closes after EHLO", at("EHLO", "250 mx.example.com\n"+drop), "unreachable at tls"},
		{"offers no STARTTLS", at("EHLO", "250-mx.example.com\n250 PIPELINING"), "unreachable at tls"},
		{"greets twice", at("GREETING", "220 one\n220 two"), "unreachable at greeting"},
		{"answers EHLO twice", at("EHLO", "250 mx.example.com\n250 mx.example.com"), "unreachable at tls"},
		{"answers AUTH twice", at("AUTH", "235 ok\n235 ok"), "deferred"},
		{"answers MAIL twice", at("MAIL", "250 ok\n250 ok"), "deferred"},
		{"says 250 behind 354", at("DATA", "354 go on\n250 queued as 1"), "deferred"},
		{"answers DATA before RCPT", twoFaults(at("RCPT", "354 go on"), at("DATA", "250 ok")), "deferred"},
		{"answers MAIL with 354", at("MAIL", "354 go on"), "unreachable at greeting"},
		{"counts from 600", at("MAIL", "600 ok"), "deferred"},
		{"counts to 99", at("GREETING", "99 ok"), "unreachable at greeting"},
		{"says 150", at("DATA", "150 wait"), "deferred"},
		{"writes control characters", at("GREETING", "421 4.3.2 \x00\x1b[2J\x07 no"), "unreachable at greeting"},
		{"421 at EHLO", at("EHLO", "421 4.3.2 later"), "unreachable at greeting"},
		{"421 at STARTTLS", at("STARTTLS", "421 4.3.2 later"), "unreachable at tls"},
		{"421 at AUTH", at("AUTH", "421 4.3.2 later"), "unreachable at auth"},
		{"421 at MAIL", at("MAIL", "421 4.3.2 later"), "unreachable at greeting"},
		{"421 at RCPT", at("RCPT", "421 4.3.2 later"), "deferred"},
		{"421 at DATA", at("DATA", "421 4.3.2 later"), "deferred"},
		{"421 at the dot", at("DOT", "421 4.3.2 later"), "deferred"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			s.fault = c.fault
			set, good := beside(t, smarthost(t, s.listen(t)))
			costsItself(t, set, good, c.want)
		})
	}
}

func TestControlCharactersOfAServerAreNotPassedOn(t *testing.T) {
	s := newServer(t)
	s.fault = at("MAIL", "550 5.7.1 a\x00b\x1b[2Jc\rd\xffe")
	results, err := send(t, newSet(t, route(smarthost(t, s.listen(t))), optionsOf(t)), letter("x\r\n", "a@example.net"))
	if err != nil || results[0].Reply.Text != "a b [2Jc d?e" {
		t.Errorf("%q, %v", results[0].Reply.Text, err)
	}
}

func optionsOf(t *testing.T) upstream.Options {
	o, _ := options(t)
	return o
}

// A server that drips an octet per second, or says nothing at all, is left after
// a time that it cannot stretch. The time is that of a bubble, over pipes.
func TestAServerThatDripsIsLeft(t *testing.T) {
	replies := []string{"220 ready\r\n", "250-mx\r\n250 PIPELINING\r\n", "250 ok\r\n", strings.Repeat("250-ok\r\n", 20) + "250 ok\r\n", "354 go\r\n", "250 ok\r\n"}
	for _, c := range []struct {
		name    string
		replies []string
		want    string
		least   time.Duration
		most    time.Duration
	}{
		{"nothing", nil, "unreachable at greeting", 5 * time.Minute, 5 * time.Minute},
		{"an endless greeting", []string{strings.Repeat("220-x\r\n", 400)}, "unreachable at greeting", 5 * time.Minute, 5 * time.Minute},
		{"everything, in time", replies, "delivered", time.Minute, 10 * time.Minute},
		{"steps that take too long together", []string{strings.Repeat("220-x\r\n", 40) + "220 x\r\n", strings.Repeat("500-x\r\n", 40) + "500 x\r\n", strings.Repeat("250-x\r\n", 40) + "250 x\r\n"}, "unreachable at greeting", 10 * time.Minute, 10 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ended := make(chan struct{})
				o, _ := options(t)
				set := newSet(t, route(upstream.Upstream{Name: "smart", Address: "h:25", TLS: "none"}), o)
				var dripping sync.WaitGroup
				set.Dial("smart", func(context.Context) (net.Conn, error) {
					ours, theirs := net.Pipe()
					dripping.Go(func() { drip(theirs, c.replies, ended) })
					return ours, nil
				})
				began := time.Now()
				results, err := send(t, set, letter("x\r\n", "a@example.net"))
				got := outcomes(results)
				if fault := new(transport.Unreachable); errors.As(err, &fault) {
					got = "unreachable at " + fault.Phase
				}
				if took := time.Since(began); got != c.want || took < c.least || took > c.most {
					t.Errorf("%s after %s: %v, %v", got, took, results, err)
				}
				close(ended)
				set.Close()
				dripping.Wait()
			})
		})
	}
}

// drip writes an octet of the replies each second and reads whatever comes.
func drip(nc net.Conn, replies []string, ended <-chan struct{}) {
	defer nc.Close()
	var reading sync.WaitGroup
	reading.Go(func() {
		b := make([]byte, 1024)
		for {
			if _, err := nc.Read(b); err != nil {
				return
			}
		}
	})
	for _, b := range []byte(strings.Join(replies, "")) {
		<-time.After(time.Second)
		if _, err := nc.Write([]byte{b}); err != nil {
			break
		}
	}
	<-ended
	nc.Close()
	reading.Wait()
}
