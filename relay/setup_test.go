package relay_test

import (
	"cmp"
	"context"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	netsmtp "net/smtp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"go.uber.org/goleak"

	"postern/relay"
	"postern/relay/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait; it is reached only when a test fails.
const patience = 30 * time.Second

// smarthost is an upstream that keeps what it is given. fault, if set, is asked
// about each message after its content was read, and may hold it or lose it.
type smarthost struct {
	address string
	server  *smtp.Server
	got     chan string
	fault   func(content string, c *smtp.Conn) error
	// rcpt, if set, is asked about each recipient, after those of the transaction
	// before it.
	rcpt func(before []string, to string) error

	mu    sync.Mutex
	taken [][]string // the recipients of each message that was taken
}

func newSmarthost(t *testing.T, address string) *smarthost {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	h := &smarthost{address: l.Addr().String(), got: make(chan string, 100)}
	h.server = smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) { return &receiving{host: h, conn: c}, nil }))
	h.server.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	done := make(chan struct{})
	go func() { defer close(done); h.server.Serve(l) }()
	t.Cleanup(func() { h.server.Close(); l.Close(); <-done })
	return h
}

// freeAddress is one that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

type receiving struct {
	host *smarthost
	conn *smtp.Conn
	to   []string
}

func (*receiving) Mail(string, *smtp.MailOptions) error { return nil }
func (r *receiving) Reset()                             { r.to = nil }
func (*receiving) Logout() error                        { return nil }

func (r *receiving) Rcpt(to string, _ *smtp.RcptOptions) error {
	if r.host.rcpt != nil {
		if err := r.host.rcpt(r.to, to); err != nil {
			return err
		}
	}
	r.to = append(r.to, to)
	return nil
}

func (r *receiving) Data(in io.Reader) error {
	b, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	if r.host.fault != nil {
		if err := r.host.fault(string(b), r.conn); errors.Is(err, errLost) {
			defer r.conn.Conn().Close()
		} else if err != nil {
			return err
		}
	}
	r.host.mu.Lock()
	r.host.taken = append(r.host.taken, r.to)
	r.host.mu.Unlock()
	r.host.got <- string(b)
	return nil
}

// errLost is that of a fault after which the message was taken, and nobody is told.
var errLost = errors.New("the answer is lost")

// transactions are the recipients of each message that was taken.
func (h *smarthost) transactions() [][]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.taken)
}

// receive waits for a message that holds text.
func (h *smarthost) receive(t *testing.T, text string) string {
	t.Helper()
	for {
		select {
		case m := <-h.got:
			if strings.Contains(m, text) {
				return m
			}
		case <-time.After(patience):
			t.Fatalf("no message with %q came", text)
		}
	}
}

// records is a log that a test can wait on.
type records struct{ lines chan string }

func (r records) Write(b []byte) (int, error) {
	select {
	case r.lines <- string(b):
		return len(b), nil
	default:
		return 0, errors.New("nobody reads the log")
	}
}

// await waits for a log line that holds all of the texts.
func (r records) await(t *testing.T, texts ...string) string {
	t.Helper()
	timeout := time.After(patience)
	var seen []string
next:
	for {
		select {
		case line := <-r.lines:
			seen = append(seen, line)
			for _, text := range texts {
				if !strings.Contains(line, text) {
					continue next
				}
			}
			return line
		case <-timeout:
			t.Fatalf("no log line with %q; there were\n%s", texts, strings.Join(seen, ""))
		}
	}
}

// running is a relay under test with one account, "printer", password "paper".
type running struct {
	*relay.Relay
	t       *testing.T
	dir     string
	address string
	// accounts are those of the configuration; the one that is named above if empty.
	accounts string
	// listeners are further ones.
	listeners []string
	// queue is the section of the configuration; a quick one if empty.
	queue string
	// before is called with the data directory before the relay has it.
	before func(dir string)
	log    records
	stop   context.CancelFunc
	ended  chan error
}

// paperHash costs next to nothing to compare with: what passwords cost is the
// matter of auth.
var paperHash = func() string {
	salt := []byte("salt of the test")
	key, err := pbkdf2.Key(sha256.New, "paper", salt, 1, sha256.Size)
	if err != nil {
		panic(err)
	}
	adapted := base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789./").WithPadding(base64.NoPadding)
	return "$pbkdf2-sha256$1$" + adapted.EncodeToString(salt) + "$" + adapted.EncodeToString(key)
}()

// start runs a relay with these upstreams and routes.
func start(t *testing.T, upstreams string) *running {
	t.Helper()
	return startWith(t, "", upstreams)
}

// startWith runs one with other accounts.
func startWith(t *testing.T, accounts, upstreams string) *running {
	t.Helper()
	return (&running{t: t, accounts: accounts}).start(upstreams)
}

// start runs r with these upstreams and routes.
func (r *running) start(upstreams string) *running {
	t := r.t
	t.Helper()
	r.dir, r.log = t.TempDir(), records{make(chan string, 10_000)}
	r.address = freeAddress(t)
	r.writeCertificate()
	r.configure(upstreams)
	t.Cleanup(func() {
		if r.stop != nil {
			r.stop()
			r.end()
		}
	})
	r.run()
	return r
}

// run runs what is configured, again if it has ended.
func (r *running) run() {
	t := r.t
	t.Helper()
	cfg, err := config.Load(r.configFile())
	if err != nil {
		t.Fatal(err)
	}
	cfg.Queue.AllowVolatile = true // a temporary directory may be
	if r.before != nil {
		r.before(cfg.DataDir)
	}
	listening := make(chan struct{})
	next, err := relay.New(cfg, relay.Options{Log: slog.New(slog.NewJSONHandler(r.log, nil)), Listening: func() { close(listening) }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	r.Relay, r.stop, r.ended = next, cancel, ended
	go func() { ended <- next.Run(ctx) }()
	select {
	case <-listening:
	case err := <-ended:
		ended <- err
		t.Fatalf("it did not start: %v", err)
	}
}

// end waits until the relay has stopped and returns what Run returned.
func (r *running) end() error {
	err := <-r.ended
	r.ended <- err
	return err
}

func (r *running) configFile() string { return filepath.Join(r.dir, "config.yaml") }

func (r *running) configure(upstreams string) {
	r.t.Helper()
	text := fmt.Sprintf(`
hostname: relay.example.com
data_dir: %[1]s/data
listeners: [{name: submission, address: "%[2]s", tls: starttls}%[6]s]
tls: {certificates: [{certificate: %[1]s/tls.crt, key: %[1]s/tls.key}]}
accounts: [%[3]s]
queue: %[5]s
%[4]s
`, r.dir, r.address, cmp.Or(r.accounts, fmt.Sprintf(`{name: printer, password_hash: "%s", senders: ["@example.com"]}`, paperHash)), upstreams, cmp.Or(r.queue, "{retry: [1s], min_free: 1MiB}"),
		strings.Join(append([]string{""}, r.listeners...), ", "))
	r.write("config.yaml", []byte(text))
}

func (r *running) write(name string, content []byte) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), content, 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// writeCertificate borrows the certificate of net/http/httptest, which is for
// 127.0.0.1 and example.com.
func (r *running) writeCertificate() {
	r.t.Helper()
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	key, err := x509.MarshalPKCS8PrivateKey(s.TLS.Certificates[0].PrivateKey)
	if err != nil {
		r.t.Fatal(err)
	}
	r.write("tls.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	r.write("tls.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
}

// dial opens a session that is logged in.
func (r *running) dial() *netsmtp.Client {
	r.t.Helper()
	c := r.greet()
	if err := c.Auth(netsmtp.PlainAuth("", "printer", "paper", "127.0.0.1")); err != nil {
		r.t.Fatal(err)
	}
	return c
}

// greet opens a session under TLS.
func (r *running) greet() *netsmtp.Client {
	r.t.Helper()
	c, err := netsmtp.Dial(r.address)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	pool := x509.NewCertPool()
	if pemBytes, err := os.ReadFile(filepath.Join(r.dir, "tls.crt")); err != nil || !pool.AppendCertsFromPEM(pemBytes) {
		r.t.Fatal("no certificate: ", err)
	}
	if err := c.StartTLS(&tls.Config{ServerName: "127.0.0.1", RootCAs: pool}); err != nil {
		r.t.Fatal(err)
	}
	return c
}

// submit sends one message from scan@example.com and returns the error of the
// step that was refused, or nil after the 250.
func (r *running) submit(text string) error { return r.submitTo(text, "you@example.org") }

// submitTo is submit to these recipients.
func (r *running) submitTo(text string, to ...string) error {
	r.t.Helper()
	c := r.dial()
	if err := c.Mail("scan@example.com"); err != nil {
		return err
	}
	for _, a := range to {
		if err := c.Rcpt(a); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, strings.ReplaceAll(text, "\n", "\r\n")); err != nil {
		return err
	}
	return w.Close()
}
