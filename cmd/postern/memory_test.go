//go:build linux

package main_test

import (
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
)

// What the relay may hold in memory, in KiB. The race detector multiplies it,
// so it is asked for without that only.
const (
	mostWhileLarge = 150 << 10
	mostWhileIdle  = 80 << 10
)

// memory is a field of /proc/PID/status in KiB, such as VmRSS.
func (r *relay) memory(field string) int {
	r.t.Helper()
	status := readFile(r.t, fmt.Sprintf("/proc/%d/status", r.cmd.Process.Pid))
	found := regexp.MustCompile(field + `:\s+(\d+) kB`).FindSubmatch(status)
	if found == nil {
		r.t.Fatalf("no %s in\n%s", field, status)
	}
	n, err := strconv.Atoi(string(found[1]))
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}

// mustFit checks a number of KiB.
func mustFit(t *testing.T, what string, got, most int) {
	t.Helper()
	t.Logf("%s: %d MiB of %d", what, got>>10, most>>10)
	if got > most && !raceDetector {
		t.Errorf("%s: %d KiB, and it may be %d", what, got, most)
	}
}

// sink is a smarthost that reads what it is given and keeps none of it.
type sink struct {
	address string
	octets  atomic.Int64
	mails   atomic.Int64
}

func startSink(t *testing.T) *sink {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &sink{address: l.Addr().String()}
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return draining{s}, nil }))
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return s
}

// upstreams is the configuration that sends everything there.
func (s *sink) upstreams() sections {
	return sections{
		"upstreams": fmt.Sprintf("[{name: sink, address: %q, tls: none}]", s.address),
		"routes":    "[{name: default, upstreams: [sink]}]",
	}
}

type draining struct{ sink *sink }

func (draining) Mail(string, *smtp.MailOptions) error { return nil }
func (draining) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (draining) Reset()                               {}
func (draining) Logout() error                        { return nil }

func (d draining) Data(r io.Reader) error {
	n, err := io.Copy(io.Discard, r)
	d.sink.octets.Add(n)
	d.sink.mails.Add(1)
	return err
}

func TestLargeMessagesPassThroughLittleMemory(t *testing.T) {
	const clients = 8
	size := 50 << 20
	if raceDetector {
		size = 5 << 20 // ten times slower, and its memory is not asked for
	}
	sink := startSink(t)
	relay := startRelay(t, sink.address, sink.upstreams().with(sections{"policy": "{limits: {size: 60MiB}}"}))
	l := newLetter(strings.Repeat(strings.Repeat("page ", 15)+"\r\n", size/77))
	var all sync.WaitGroup
	began := time.Now()
	for range clients {
		d := relay.session()
		all.Go(func() {
			if _, _, err := d.send(l); err != nil {
				t.Errorf("a large message: %v", err)
			}
		})
	}
	all.Wait()
	taken := time.Since(began)
	await(t, "the messages to be sent on", func() bool { return sink.mails.Load() == clients })
	t.Logf("%d messages of %d MiB taken in %v, sent on after %v", clients, size>>20, taken, time.Since(began))
	if got := sink.octets.Load(); got < clients*int64(len(l.data)) {
		t.Errorf("%d octets arrived, and %d were sent", got, clients*len(l.data))
	}
	mustFit(t, "resident at most", relay.memory("VmHWM"), mostWhileLarge)
}

// crowd is logged-in sessions that say nothing more, each hundred of them from
// an address of its own as the relay takes only so many from one.
func (r *relay) crowd(n int) []*dialogue {
	r.t.Helper()
	roots := trust(r.t, needKeys(r.t).ca)
	all := make([]*dialogue, n)
	var logins sync.WaitGroup
	for worker := range 10 {
		logins.Go(func() {
			for i := worker; i < n; i += 10 {
				from := netip.AddrFrom4([4]byte{127, 0, 1, byte(i / 100)})
				d, err := logInFrom(from, r.address.submission, roots, user)
				if err != nil {
					r.t.Errorf("session %d: %v", i, err)
					return
				}
				all[i] = d
			}
		})
	}
	logins.Wait()
	if r.t.Failed() {
		r.t.FailNow()
	}
	r.t.Cleanup(func() {
		for _, d := range all {
			d.close()
		}
	})
	return all
}

// logInFrom is logIn with an account, from one of the addresses of this machine.
func logInFrom(from netip.Addr, address string, roots *x509.CertPool, account string) (*dialogue, error) {
	dialer := net.Dialer{Timeout: patience, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	conn, err := dialer.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	d, err := greet(conn)
	if err != nil {
		return nil, err
	}
	if err := steps(d.hello, func() error { return d.startTLS(roots) }, d.hello, func() error { return d.auth(account, password) }); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func TestIdleSessionsCostLittleMemory(t *testing.T) {
	const sessions = 1000
	sink := startSink(t)
	relay := startRelay(t, sink.address, sink.upstreams())
	before := relay.memory("VmRSS")
	all := relay.crowd(sessions)
	t.Logf("resident before: %d MiB; at most: %d MiB", before>>10, relay.memory("VmHWM")>>10)
	mustFit(t, fmt.Sprintf("resident with %d idle sessions", sessions), relay.memory("VmRSS"), mostWhileIdle)
	for i, d := range all { // they are not only open
		if _, _, err := d.send(newLetter("still here\r\n")); err != nil {
			t.Fatalf("session %d: %v", i, err)
		}
	}
	t.Logf("resident once each has sent a message: %d MiB", relay.memory("VmRSS")>>10)
	page, _ := relay.get("/metrics")
	if !strings.Contains(page, fmt.Sprintf(`postern_submission_connections{listener="submission"} %d`+"\n", sessions)) {
		t.Errorf("the relay does not count %d connections", sessions)
	}
}
