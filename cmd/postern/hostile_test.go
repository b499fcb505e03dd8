//go:build linux

package main_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// After a restart every device of a house logs in at once, and each password
// must be compared with its slow hash. All get in, and an account that is known
// already is served meanwhile. How long it took is for the reader of the log.
func TestAllAccountsLogInRightAfterARestart(t *testing.T) {
	const accounts = 200
	list := "\n" + account(user, needHash(t))
	for i := range accounts {
		list += account(fmt.Sprintf("device-%d", i), needHash(t))
	}
	sink := startSink(t)
	relay := startRelay(t, sink.address, sink.upstreams().with(sections{"accounts": list}))
	relay.stop()
	relay.start()
	relay.session().close() // the known account

	storm := exec.Command(os.Args[0], relay.address.submission, needKeys(t).ca, strconv.Itoa(accounts))
	storm.Env = append(os.Environ(), stormEnv+"=1")
	began := time.Now()
	over := make(chan struct{})
	var said []byte
	var err error
	go func() {
		said, err = storm.CombinedOutput()
		close(over)
	}()
	waits := logInAgainAndAgain(t, relay, over)
	if err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	t.Logf("%d accounts were in after %v, %s told to come again; the known account logged in %d times meanwhile, within %v, half of them within %v",
		accounts, time.Since(began), bytes.TrimSpace(said), len(waits), waits[len(waits)-1], waits[len(waits)/2])
}

// stormEnv makes the test program a storm: all accounts log in at once, from a
// process of its own, lest their work delays the client whose waits are measured.
const stormEnv = "POSTERN_TEST_STORM"

// logInAtOnce has the accounts log in at the address, and returns how often one was
// told to come again.
func logInAtOnce(address, ca string, accounts int) (unavailable int64, err error) {
	pem, err := os.ReadFile(ca)
	if err != nil {
		return 0, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	var again atomic.Int64
	var all errgroup.Group
	for i := range accounts {
		all.Go(func() error {
			from, name := netip.AddrFrom4([4]byte{127, 0, 2, byte(i / 100)}), fmt.Sprintf("device-%d", i)
			for {
				d, err := logInFrom(from, address, roots, name)
				if err == nil {
					d.close()
					return nil
				}
				if code(err) != 454 { // come again
					return fmt.Errorf("%s: %w", name, err)
				}
				again.Add(1)
			}
		})
	}
	err = all.Wait()
	return again.Load(), err
}

// logInAgainAndAgain has the known account log in until it is over, and returns
// how long AUTH took, shortest first.
func logInAgainAndAgain(t *testing.T, relay *relay, over <-chan struct{}) (waits []time.Duration) {
	t.Helper()
	roots := trust(t, needKeys(t).ca)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		d, err := dialTLS(relay.address.submissions, roots)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		err = steps(d.hello, func() error { return d.auth(user, password) })
		waits = append(waits, time.Since(began))
		d.close()
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-over:
			slices.Sort(waits)
			return waits
		case <-tick.C:
		}
	}
}

// An attack is one connection made to do harm. Whether it is refused, answered
// or cut off is the relay's choice.
type attack struct {
	does  string
	times int
	with  func(net.Conn)
}

var attacks = []attack{
	{"connects and goes", 3000, func(net.Conn) {}},
	{"a TLS ClientHello where STARTTLS is due", 100, func(c net.Conn) {
		tls.Client(c, &tls.Config{ServerName: "localhost"}).Handshake()
	}},
	{"a command of a megabyte", 100, func(c net.Conn) { c.Write(bytes.Repeat([]byte("A"), 1<<20)); io.Copy(io.Discard, c) }},
	{"ten thousand commands without waiting", 20, func(c net.Conn) {
		c.Write(append(bytes.Repeat([]byte("NOOP\r\n"), 10_000), "QUIT\r\n"...))
		io.Copy(io.Discard, c)
	}},
	{"garbage", 100, func(c net.Conn) {
		b := make([]byte, 64<<10)
		for i := range b {
			b[i] = byte(rand.Uint32())
		}
		c.Write(b)
	}},
	{"a greeting never answered", 100, func(c net.Conn) { c.Read(make([]byte, 1)) }},
}

// run attacks from an address of its own, ten connections at once.
func (a attack) run(from netip.Addr, address string) {
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			for range a.times / 10 {
				if conn, err := dialer.Dial("tcp", address); err == nil {
					conn.SetDeadline(time.Now().Add(10 * time.Second))
					a.with(conn)
					conn.Close()
				}
			}
		})
	}
	all.Wait()
}

// goesWithin is a client that logs in and is gone within its message.
func (r *relay) goesWithin(l letter) error {
	d, err := logIn(r.address.submission, trust(r.t, needKeys(r.t).ca))
	if err != nil {
		return err
	}
	defer d.close()
	if err := steps(saying(d, "MAIL FROM:<%s>", l.from), saying(d, "RCPT TO:<%s>", l.to[0]), saying(d, "DATA")); err != nil {
		return err
	}
	_, err = d.conn.Write(l.data)
	return err
}

func TestHostileClientsHarmNobodyElse(t *testing.T) {
	sink := startSink(t)
	relay := startRelay(t, sink.address, sink.upstreams())
	session := relay.session()
	neighbour := func() {
		t.Helper()
		if _, _, err := session.send(newLetter("good\r\n")); err != nil {
			t.Fatalf("a neighbour: %v", err)
		}
	}
	neighbour()
	sent := int64(1)
	base := relay.number("go_goroutines")

	over := make(chan struct{})
	var all sync.WaitGroup
	for i, a := range attacks {
		all.Go(func() { a.run(netip.AddrFrom4([4]byte{127, 0, 3, byte(i)}), relay.address.submission) })
	}
	all.Go(func() {
		l := newLetter(strings.Repeat("never ended\r\n", 100_000))
		for range 20 {
			if err := relay.goesWithin(l); err != nil {
				t.Errorf("a client that goes within its message: %v", err)
			}
		}
	})
	go func() { all.Wait(); close(over) }()
	for done := false; !done; sent++ {
		neighbour()
		select {
		case <-over:
			done = true
		default:
		}
	}
	t.Logf("the neighbour sent %d letters meanwhile", sent)
	await(t, "the hostile clients to be forgotten", func() bool {
		return relay.number(`postern_submission_connections{listener="submission"}`) == 1 && relay.number("go_goroutines") <= base+2
	})
	await(t, "the neighbour's letters to be sent on and settled", func() bool {
		return sink.mails.Load() >= sent && len(relay.queue()) == 0
	})
	if got := sink.mails.Load(); got != sent {
		t.Errorf("%d messages were sent on, and %d were accepted", got, sent)
	}
	mustFit(t, "resident at most", relay.memory("VmHWM"), mostWhileLarge)
}

// number is a sample of the metrics.
func (r *relay) number(sample string) float64 {
	r.t.Helper()
	page, _ := r.get("/metrics")
	found := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(sample) + ` (\S+)$`).FindStringSubmatch(page)
	if found == nil {
		r.t.Fatalf("no %s in the metrics", sample)
	}
	n, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}
