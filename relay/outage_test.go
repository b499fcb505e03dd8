package relay_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	netsmtp "net/smtp"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"postern/metrics"
	"postern/relay/queue"
	"postern/relay/queue/queuetest"
)

// crowd is an upstream that answers the final dots of as many connections as it
// expects together: of one, then of twice as many each time, up to most. After
// that it answers each at once.
type crowd struct {
	most  int
	spare int // further connections, for who has none

	mu       sync.Mutex
	expected int
	arrived  int
	together chan struct{} // closed when the expected are there
	open     int
	taken    int
	rounds   []int          // the connections open when each of them was complete
	tooMany  []string       // connections that were not expected
	fresh    map[string]int // how many were taken before it, by subject
	came     chan string    // the subjects of these
	full     chan struct{}  // closed when most came together
}

func newCrowd(most int) *crowd {
	return &crowd{most: most, expected: 1, together: make(chan struct{}), fresh: map[string]int{}, came: make(chan string, 10), full: make(chan struct{})}
}

// listen serves at address until the test ends.
func (c *crowd) listen(t *testing.T, address string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var sessions sync.WaitGroup
	sessions.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			sessions.Go(func() {
				defer nc.Close()
				defer context.AfterFunc(ctx, func() { nc.Close() })()
				c.serve(ctx, nc)
			})
		}
	})
	t.Cleanup(func() { l.Close(); cancel(); sessions.Wait() })
}

func (c *crowd) serve(ctx context.Context, nc net.Conn) {
	in := bufio.NewReader(nc)
	say := func(reply string) { io.WriteString(nc, reply+"\r\n") }
	hello := false
	for say("220 crowd"); ; {
		line, err := in.ReadString('\n')
		if err != nil {
			break
		}
		switch verb := strings.ToUpper(line[:min(4, len(line))]); verb {
		case "EHLO":
			hello = true
			c.enter()
			say("250-crowd\r\n250-8BITMIME\r\n250-DSN\r\n250 SMTPUTF8")
		case "DATA":
			say("354 go on")
			subject := content(in)
			c.take(ctx, subject)
			say("250 ok")
		default:
			say("250 ok")
		}
	}
	if hello {
		c.mu.Lock()
		c.open--
		c.mu.Unlock()
	}
}

// content reads up to the final dot and returns the subject.
func content(in *bufio.Reader) (subject string) {
	for {
		line, err := in.ReadString('\n')
		if err != nil || line == ".\r\n" {
			return subject
		}
		if s, ok := strings.CutPrefix(line, "Subject: "); ok && subject == "" {
			subject = strings.TrimSpace(s)
		}
	}
}

// enter counts those that said EHLO: anybody's tests may knock at a port.
func (c *crowd) enter() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open++; c.open > c.expected+c.spare {
		c.tooMany = append(c.tooMany, fmt.Sprintf("connection %d where %d were expected, %d messages taken", c.open, c.expected, c.taken))
	}
}

// take holds the message back until as many as are expected came together.
func (c *crowd) take(ctx context.Context, subject string) {
	c.mu.Lock()
	if strings.HasPrefix(subject, "fresh") {
		c.fresh[subject] = c.taken
		c.came <- subject
	}
	c.taken++
	if len(c.rounds) > 0 && c.rounds[len(c.rounds)-1] == c.most {
		c.mu.Unlock()
		return
	}
	together := c.together
	if c.arrived++; c.arrived == c.expected {
		c.rounds = append(c.rounds, c.open)
		if c.open == c.most {
			close(c.full)
		}
		c.expected, c.arrived = min(2*c.expected, c.most), 0
		c.together = make(chan struct{})
		close(together)
	}
	c.mu.Unlock()
	select {
	case <-together:
	case <-ctx.Done():
	}
}

// before is how many were taken before the message with that subject.
func (c *crowd) before(subject string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fresh[subject]
}

func (c *crowd) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.taken
}

// await waits for a fresh message.
func (c *crowd) await(t *testing.T, subject string) {
	t.Helper()
	select {
	case got := <-c.came:
		if got != subject {
			t.Fatalf("%q came, not %q", got, subject)
		}
	case <-time.After(patience):
		t.Fatalf("%q did not come within %s; %d others did", subject, patience, c.count())
	}
}

// fill has mail of accounts in the store before the relay has it.
func fill(t *testing.T, backlog map[string]int) func(dir string) {
	return func(dir string) {
		cfg := queuetest.Config()
		s, err := queue.Open(cfg, dir, metrics.New("test", ""), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for account, messages := range backlog {
			if err := queuetest.Fill(t.Context(), s, account, messages); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// hold holds an upstream as a person does.
func (r *running) hold(upstream string) {
	r.t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(r.dir, "data", "control.sock"))
	}}}
	answer, err := client.Post("http://postern/upstreams/"+upstream+"/hold", "", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		r.t.Fatalf("hold %s: %s", upstream, answer.Status)
	}
}

// silent takes connections and never says anything.
func silent(t *testing.T) (address string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String() // who connects waits in its backlog
}

// An upstream comes back to a crowd of waiting mail: connections are opened one,
// two, four, eight, never all at once. Mail of others goes in between, whatever
// waits of one account, on a route that is stuck, or behind an upstream that is held.
func TestAfterAnOutageComesARampAndOthersGoInBetween(t *testing.T) {
	backlog, err := strconv.Atoi(os.Getenv("POSTERN_BACKLOG")) // 20,000 by "make durability"
	stuck := backlog
	if err != nil {
		backlog, stuck = 2_000, 100
	}
	address, most := freeAddress(t), 18 // of 20 connections two are kept for who has none
	account := func(name string) string {
		return fmt.Sprintf(`{name: %s, password_hash: "%s", senders: ["@example.com"]}`, name, paperHash)
	}
	r := &running{t: t, accounts: strings.Join([]string{account("printer"), account("erp"), account("unlucky"), account("patient")}, ", ")}
	r.before = fill(t, map[string]int{"erp": backlog, "unlucky": stuck, "patient": 100})
	r.start(fmt.Sprintf(`
upstreams: [{name: back, address: %q, tls: none}, {name: stuck, address: %q, tls: none}, {name: held, address: %q, tls: none}]
routes:
  - {name: stuck, accounts: [unlucky], upstreams: [stuck]}
  - {name: held, accounts: [patient], upstreams: [held]}
  - {name: office, upstreams: [back]}
`, address, silent(t), freeAddress(t)))
	r.hold("held")
	r.log.await(t, `"upstream down"`, `"upstream":"back"`)
	if err := r.submit("Subject: fresh during the outage\n\n"); err != nil {
		t.Fatal(err)
	}
	c := newCrowd(most)
	c.spare = 2
	c.listen(t, address)
	c.await(t, "fresh during the outage")
	if n := c.before("fresh during the outage"); n >= backlog*9/10 {
		t.Errorf("what was sent during the outage came after %d others", n)
	}
	select {
	case <-c.full:
	case <-time.After(patience):
		t.Fatalf("never more than %v connections at once", c.rounds)
	}
	began := time.Now()
	if err := r.submit("Subject: fresh among many\n\n"); err != nil {
		t.Fatal(err)
	}
	accepted := c.count()
	c.await(t, "fresh among many")
	others := max(0, c.before("fresh among many")-accepted)
	t.Logf("%d waited; a fresh message was there %s after its connection, and %d others since it was accepted", backlog, time.Since(began), others)
	if others > 500 {
		t.Errorf("a fresh message came after %d others", others)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if want := "[1 2 4 8 16 18]"; fmt.Sprint(c.rounds) != want || len(c.tooMany) > 0 {
		t.Errorf("connections at once %v, want %s; %v", c.rounds, want, c.tooMany)
	}
}

// A restart is no reason for a wall of connections: what waited comes as after an
// outage.
func TestAfterARestartComesARamp(t *testing.T) {
	r := &running{t: t}
	r.before = fill(t, map[string]int{"printer": 200})
	c := newCrowd(20)
	address := freeAddress(t)
	c.listen(t, address)
	r.start(through(address))
	select {
	case <-c.full:
	case <-time.After(patience):
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if want := "[1 2 4 8 16 20]"; fmt.Sprint(c.rounds) != want || len(c.tooMany) > 0 {
		t.Errorf("connections at once %v, want %s; %v", c.rounds, want, c.tooMany)
	}
}

// One account has every connection it may have busy with mail that takes for ever. The
// message of another leaves as if nothing were.
func TestMailOfOneAccountDoesNotWaitForSlowMailOfAnother(t *testing.T) {
	host, goOn := newSmarthost(t, "127.0.0.1:0"), make(chan struct{})
	defer close(goOn)
	busy, ramp := make(chan bool, 100), new(atomic.Int64)
	host.fault = func(content string, _ *smtp.Conn) error {
		if !strings.Contains(content, "a scan") && ramp.Add(1) > 3 {
			busy <- true
			<-goOn
		}
		return nil
	}
	r := &running{t: t, accounts: fmt.Sprintf(`{name: printer, password_hash: %[1]q, senders: ["@example.com"]}, {name: newsletter, password_hash: %[1]q, senders: ["@example.com"]}`, paperHash)}
	r.before = fill(t, map[string]int{"newsletter": 50})
	r.start(fmt.Sprintf(`
upstreams: [{name: smart, address: %q, tls: none, limits: {connections: 4}}]
routes: [{name: default, upstreams: [smart]}]
`, host.address))
	for range 3 {
		select {
		case <-busy:
		case <-time.After(patience):
			t.Fatal("the newsletter is not sent over the connections it may have")
		}
	}
	more := r.greet()
	if err := errors.Join(more.Auth(netsmtp.PlainAuth("", "newsletter", "paper", "127.0.0.1")), more.Mail("news@example.com"), more.Rcpt("you@example.net")); err != nil {
		t.Fatal(err)
	}
	if err := write(more, "Subject: the newsletter goes on\n\n"); err != nil {
		t.Fatal(err)
	}
	if err := r.submit("Subject: a scan\n\n"); err != nil {
		t.Fatal(err)
	}
	host.receive(t, "Subject: a scan")
}
