package relay_test

import (
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	netsmtp "net/smtp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/relay/upstream/cuttest"
)

// pairs is how many upstreams are cut at the same time, each with a route of its
// own whose next upstream is one that is never cut.
const pairs = 24

// TestCutAtEveryOctet cuts the connection after each octet of a delivery, in
// either direction, or after every step-th, and of these after every eighth unless
// POSTERN_CUTS is "all": TestCutAtEveryOctetOfATransaction of relay/upstream leaves none out. Whatever happens, a message is delivered once, or it is
// uncertain and that is recorded; never twice without a record, and never
// through the second upstream once the first may have it.
func TestCutAtEveryOctet(t *testing.T) {
	for _, c := range []struct {
		name     string
		offers   string
		keys     string // of each upstream that is cut
		messages int    // handed over at once
		policy   string
		below    bool // counts the octets of TLS
		step     int
	}{
		{"one command at a time", "AUTH PLAIN", "limits: {messages_per_connection: 1}", 1, "retry", false, 5},
		{"pipelined", "PIPELINING\r\n250-8BITMIME\r\n250-AUTH PLAIN", "limits: {messages_per_connection: 1}", 1, "hold", false, 1},
		{"with look-ahead", "PIPELINING\r\n250-AUTH PLAIN", "lookahead: true, limits: {connections: 1, messages_per_connection: 2}", 2, "hold", false, 3},
		{"below TLS", "PIPELINING\r\n250-AUTH PLAIN", "limits: {messages_per_connection: 1}", 1, "hold", true, 41},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			all := os.Getenv("POSTERN_CUTS") == "all" // as "make durability" asks for
			if !all {
				c.step *= 8
			}
			cc := &cutCase{t: t, messages: c.messages, step: c.step, outcome: map[string][]string{}}
			certificate, ca := borrowedCertificate(t)
			for i := range pairs {
				h := &cuttest.Host{Offers: []string{c.offers}, BelowTLS: c.below, Took: func(subject string) { cc.note(subject, fmt.Sprintf("took one%d", i)) }}
				h.Start(t, certificate)
				cc.hosts = append(cc.hosts, h)
			}
			two := &cuttest.Host{Took: func(subject string) { cc.note(subject, "took two") }}
			two.Start(t, certificate)
			cc.start(c.keys, ca, c.policy, two.Address)
			for _, read := range []bool{true, false} {
				cc.everyOctet(read)
			}
			cc.settle(c.policy == "hold")
			ahead := 0
			for _, h := range cc.hosts {
				ahead += h.Ahead()
			}
			if c.messages > 1 && ahead == 0 && all { // of a few cuts perhaps none finds two messages at once
				t.Error("no message was announced ahead of an answer")
			}
			t.Logf("%d messages, %d cuts, %d uncertain, %d through the second, %d ahead", len(cc.sent), cc.cuts, cc.uncertain, cc.second, ahead)
		})
	}
}

// borrowedCertificate is that of net/http/httptest, and its root in a file.
func borrowedCertificate(t *testing.T) (tls.Certificate, string) {
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return s.TLS.Certificates[0], ca
}

// cutCase is one relay, its upstreams and what became of its mail.
type cutCase struct {
	t        *testing.T
	r        *running
	hosts    []*cuttest.Host
	sessions []*netsmtp.Client
	messages int
	step     int
	sent     []string
	cuts     int

	mu      sync.Mutex
	change  chan struct{}       // closed at each change of outcome
	outcome map[string][]string // by subject: "took one3", "delivered one3", "uncertain one3", ...

	uncertain, second int
}

func (c *cutCase) start(keys, ca, policy, two string) {
	var upstreams, routes []string
	for i, h := range c.hosts {
		upstreams = append(upstreams, fmt.Sprintf(`{name: one%d, address: "%s", ca: %s, username: u, password: p, %s}`, i, h.Address, ca, keys))
		routes = append(routes, fmt.Sprintf(`{name: r%d, senders: [s%d@example.com], upstreams: [one%d, two]}`, i, i, i))
	}
	upstreams = append(upstreams, fmt.Sprintf(`{name: two, address: "%s", ca: %s}`, two, ca))
	text := fmt.Sprintf("upstreams: [%s]\nroutes: [%s]", strings.Join(upstreams, ", "), strings.Join(routes, ", "))
	c.change = make(chan struct{})
	c.r = (&running{t: c.t, queue: "{retry: [1s], min_free: 1MiB, uncertain: " + policy + "}"}).start(text)
	ctx := c.t.Context()
	go func() {
		for ctx.Err() == nil {
			select {
			case line := <-c.r.log.lines:
				c.logged(line)
			case <-ctx.Done():
			}
		}
	}()
	for range c.hosts {
		c.sessions = append(c.sessions, c.r.dial())
	}
}

// note adds to what became of a message.
func (c *cutCase) note(subject, what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outcome[subject] = append(c.outcome[subject], what)
	close(c.change)
	c.change = make(chan struct{})
}

func (c *cutCase) logged(line string) {
	var l struct{ Msg, To, Upstream string }
	if json.Unmarshal([]byte(line), &l) == nil && slices.Contains([]string{"delivered", "uncertain", "held", "failed"}, l.Msg) {
		subject, _, _ := strings.Cut(l.To, "@")
		c.note(subject, l.Msg+" "+l.Upstream)
	}
}

// became is what became of a message, and closes next when that changes.
func (c *cutCase) became(subject string) (what []string, next <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.outcome[subject]), c.change
}

// everyOctet cuts one connection after another, each an octet later, up to the
// length of a delivery that is not cut.
func (c *cutCase) everyOctet(read bool) {
	length := c.length(read)
	for n := 0; n <= length; {
		var round sync.WaitGroup
		for i := range c.hosts {
			after, subjects := n, c.name(n)
			n += c.step
			round.Go(func() { c.cutOne(i, read, after, subjects) })
		}
		round.Wait()
		if err := c.r.Reload(c.r.configFile()); err != nil { // those that are down are tried again at once
			c.t.Fatal(err)
		}
	}
}

// length is how many octets go one way when nothing is cut.
func (c *cutCase) length(read bool) int {
	const long = 1 << 20
	cut := c.hosts[0].Cut(read, long)
	subjects := c.name(long)
	for _, subject := range subjects {
		c.submit(0, subject)
		c.await(subject, nil)
	}
	return long - cut.Left()
}

// name makes the subjects of messages.
func (c *cutCase) name(n int) (subjects []string) {
	for i := range c.messages {
		subjects = append(subjects, fmt.Sprintf("m%d-%d-%d", len(c.sent), n, i))
	}
	c.sent = append(c.sent, subjects...)
	return subjects
}

// cutOne waits until the connection was cut, or the messages got through although
// it was to be.
func (c *cutCase) cutOne(i int, read bool, after int, subjects []string) {
	cut := c.hosts[i].Cut(read, after)
	for _, subject := range subjects {
		c.submit(i, subject)
	}
	for _, subject := range subjects {
		if c.await(subject, cut.Hit) {
			c.mu.Lock()
			c.cuts++
			c.mu.Unlock()
			return
		}
	}
}

// await waits for the end of a message, and tells whether hit came first.
func (c *cutCase) await(subject string, hit <-chan struct{}) bool {
	timeout := time.After(patience)
	for {
		what, next := c.became(subject)
		if over(what) {
			return false
		}
		select {
		case <-hit:
			return true
		case <-next:
		case <-timeout:
			c.t.Errorf("no end of %s: %q", subject, what)
			return false
		}
	}
}

func (c *cutCase) submit(i int, subject string) {
	s := c.sessions[i]
	if err := s.Mail(fmt.Sprintf("s%d@example.com", i)); err != nil {
		c.t.Error(err)
		return
	}
	if err := s.Rcpt(subject + "@example.net"); err != nil {
		c.t.Error(err)
		return
	}
	w, err := s.Data()
	if err != nil {
		c.t.Error(err)
		return
	}
	fmt.Fprintf(w, "From: s%d@example.com\r\nSubject: %s\r\n\r\n.x\r\n", i, subject)
	if err := w.Close(); err != nil {
		c.t.Error(err)
	}
}

// settle waits for the end of every message and judges it.
func (c *cutCase) settle(hold bool) {
	for _, subject := range c.sent {
		c.await(subject, nil)
		what, _ := c.became(subject)
		c.judge(subject, what, hold)
	}
}

func over(what []string) bool {
	return slices.ContainsFunc(what, func(s string) bool {
		return strings.HasPrefix(s, "delivered") || strings.HasPrefix(s, "held") || strings.HasPrefix(s, "failed")
	})
}

func (c *cutCase) judge(subject string, what []string, hold bool) {
	count := func(prefix string) (n int) {
		for _, w := range what {
			if strings.HasPrefix(w, prefix) {
				n++
			}
		}
		return n
	}
	one, two := count("took one"), count("took two")
	records := count("uncertain") + count("held")
	c.uncertain += min(records, 1)
	c.second += two
	switch {
	case count("failed") > 0:
		c.t.Errorf("%s was given up: %q", subject, what)
	case one+two == 0 && records == 0, one+two == 0 && count("delivered") > 0:
		c.t.Errorf("%s is lost: %q", subject, what)
	case one+two > 1+records, hold && one+two > 1:
		c.t.Errorf("%s was delivered %d times, %d records: %q", subject, one+two, records, what)
	case two > 0 && (records > 0 || one > 0):
		c.t.Errorf("%s went to the second upstream too: %q", subject, what)
	}
}
