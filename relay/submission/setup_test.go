package submission

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postern/metrics"
	"postern/relay/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gateway is the other side of the Gateway boundary: one account, "printer-3f",
// that may do anything but what its words say.
type gateway struct {
	maxSize int64
	stall   time.Duration                                       // before each write of a spool
	accept  func(ctx context.Context, m *message.Message) error // nil: yes
	expires time.Time                                           // of what a password proves
	connect func(c message.Client) error                        // nil: yes

	mu       sync.Mutex
	messages []*message.Message
	logins   []message.Client
	visits   []message.Visit
	spools   int // not discarded
	largest  int // octets written to a spool at once
}

func (g *gateway) Connect(c message.Client) error {
	if g.connect != nil {
		return g.connect(c)
	}
	return nil
}

func (g *gateway) Password(_ context.Context, c message.Client, name, password string) (message.Identity, error) {
	account, err := g.password(c, name, password)
	return message.Identity{Account: account, Expires: g.expires}, err
}

// Bearer knows the token canary-secret, and others by what is wrong with them.
func (g *gateway) Bearer(_ context.Context, _ message.Client, name, token string) (message.Identity, error) {
	refuse := func(status, scope, configuration, text string) error {
		return &message.TokenRefusal{Status: status, Scope: scope, Configuration: configuration, Reply: message.Refuse(535, "5.7.8", "%s", text)}
	}
	switch {
	case token == "issuer-away":
		return message.Identity{}, &message.TokenRefusal{Status: "invalid_token", Reply: message.Refuse(454, "4.7.0", "the issuer does not answer")}
	case token == "issuer-broken":
		return message.Identity{}, errors.New("idp.internal: connection refused")
	case token == "expired":
		return message.Identity{}, refuse("invalid_token", "smtp.send", "", "the token has expired")
	case token == "narrow":
		return message.Identity{}, refuse("insufficient_scope", "smtp.send", "", "the token lacks a scope")
	case token == "odd":
		return message.Identity{}, refuse("invalid_request", "", "https://idp.example.com/.well-known/openid-configuration", "what the client sent is no token")
	case name != "" && name != "printer" && name != "user@example.com":
		return message.Identity{}, refuse("invalid_token", "", "", "the token is not for "+name)
	}
	return message.Identity{Account: "printer-3f"}, nil
}

// Certificate knows the device by the common name of its certificate.
func (g *gateway) Certificate(_ context.Context, _ message.Client, name string, chain []*x509.Certificate) (message.Identity, error) {
	if cn := chain[0].Subject.CommonName; cn != "device" || name != "" && name != cn {
		return message.Identity{}, message.Refuse(535, "5.7.8", "no account has this certificate")
	}
	return message.Identity{Account: "printer-3f"}, nil
}

// Challenge knows an exchange of one more step than the mechanism has.
func (g *gateway) Challenge(_ context.Context, c message.Client, mechanism string) (Challenge, error) {
	if c.Hello == "busy" {
		return nil, message.Refuse(454, "4.7.0", "busy")
	}
	return &riddle{mechanism: mechanism}, nil
}

// riddle asks one thing after another, and wants "canary-secret" for each.
type riddle struct {
	mechanism string
	asked     int
}

func (r *riddle) Next(response []byte) (challenge []byte, done bool, err error) {
	switch {
	case r.asked == 0 && r.mechanism == "CRAM-MD5" && response == nil:
	case string(response) == "trouble":
		return []byte("who reads this?"), false, errors.New("secret store: permission denied")
	case string(response) != "canary-secret":
		return []byte("who reads this?"), false, errCredentials
	}
	r.asked++
	return fmt.Appendf(nil, "question %d", r.asked), r.asked == 3, nil
}

func (r *riddle) Identity() message.Identity {
	if r.asked < 3 {
		return message.Identity{Account: "nobody: asked before it is known"}
	}
	return message.Identity{Account: "printer-3f"}
}

// Trust knows a device that says so.
func (g *gateway) Trust(c message.Client) (message.Identity, error) {
	switch c.Hello {
	case "trusted":
		return message.Identity{Account: "scanner"}, nil
	case "nobody":
		return message.Identity{}, nil
	}
	return message.Identity{}, errNeedAuth
}

func (g *gateway) Left(v message.Visit) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.visits = append(g.visits, v)
}

func (g *gateway) password(c message.Client, name, password string) (string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.logins = append(g.logins, c)
	switch {
	case name == "" || password == "": // as LDAP binds succeed that name nobody
		return "printer-3f", nil
	case strings.EqualFold(name, "printer") && password == "canary-secret":
		return "printer-3f", nil
	case name == "directory-down":
		return "", errors.New("dial ldap.internal: connection refused")
	case name == "pool-full":
		return "", message.Refuse(454, "4.7.0", "busy")
	case name == "panic":
		var none *gateway
		return none.messages[0].ID, nil
	}
	return "", message.Refuse(535, "5.7.8", "Authentication credentials invalid")
}

func (g *gateway) Mail(_ context.Context, m *message.Message) (int64, error) {
	if m.From.Local == "boss" {
		return 0, message.Refuse(550, "5.7.1", "%s may not send as %s\nask the postmaster", m.Client.Account, m.From)
	}
	return g.maxSize, nil
}

func (g *gateway) Recipient(_ context.Context, m *message.Message, r message.Recipient) (message.Recipient, error) {
	switch r.Address.Local {
	case "nobody":
		return r, message.Refuse(550, "5.1.1", "no such mailbox")
	case "trouble":
		return r, errors.New("lookup failed at 10.0.0.1")
	}
	return r, nil
}

func (g *gateway) Spool() Spool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.spools++
	return &spool{gateway: g}
}

func (g *gateway) Accept(ctx context.Context, m *message.Message) error {
	switch m.Header.Get("Subject") {
	case "refuse":
		return message.Refuse(550, "5.7.1", "From is not yours")
	case "disk full":
		return errors.New("write /var/lib/postern: no space left on device")
	case "panic":
		var none *gateway
		none.messages = nil
	}
	if g.accept != nil {
		if err := g.accept(ctx, m); err != nil {
			return err
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.messages = append(g.messages, m)
	return nil
}

func (g *gateway) accepted() []*message.Message {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]*message.Message(nil), g.messages...)
}

func (g *gateway) openSpools() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.spools
}

// spool keeps a body of up to 1 MiB; of a larger one only its size.
type spool struct {
	gateway *gateway
	kept    bytes.Buffer
	size    int64
}

func (s *spool) Write(b []byte) (int, error) {
	if s.gateway.stall > 0 {
		time.Sleep(s.gateway.stall) // in time that is not real
	}
	s.gateway.mu.Lock()
	s.gateway.largest = max(s.gateway.largest, len(b))
	s.gateway.mu.Unlock()
	if s.size += int64(len(b)); s.size <= 1<<20 {
		s.kept.Write(b)
	}
	return len(b), nil
}

func (s *spool) Body() (message.Body, error) { return message.Bytes(s.kept.Bytes()), nil }

func (s *spool) Discard() {
	s.gateway.mu.Lock()
	defer s.gateway.mu.Unlock()
	s.gateway.spools--
}

// post is a server on loopback with everything a test asks of it.
type post struct {
	*Server
	*gateway
	config  Config
	metrics *metrics.Metrics
	log     *lockedBuffer
	roots   *x509.CertPool
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// open starts a server with the listeners submission (STARTTLS) and submissions
// (implicit TLS). At the end of the test it must come to rest: no session, no
// spool left, no secret logged.
func open(t testing.TB, change ...func(*post)) *post {
	t.Helper()
	dir := t.TempDir()
	p := &post{gateway: &gateway{}, metrics: metrics.New("test", ""), log: &lockedBuffer{}, roots: x509.NewCertPool()}
	p.config = Config{
		Hostname:   "relay.example.com",
		Mechanisms: []string{"PLAIN", "LOGIN"},
		MaxSize:    64 << 20,
		Listeners: []Listener{
			{Name: "submission", Address: "127.0.0.1:0", TLS: "starttls"},
			{Name: "submissions", Address: "127.0.0.1:0", TLS: "implicit"},
		},
		TLS: TLS{Certificates: []Certificate{
			p.issue(t, dir, "rsa", rsaKey, "localhost"),
			p.issue(t, dir, "ecdsa", ecdsaKey, "localhost"),
		}},
	}
	p.Server = NewServer(p.gateway, p.metrics, slog.New(slog.NewJSONHandler(p.log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	for _, c := range change {
		c(p)
	}
	if err := p.Start(p.config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.close(t) })
	return p
}

func (p *post) close(t testing.TB) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := p.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if n := p.openSpools(); n != 0 {
		t.Errorf("%d spools were not discarded", n)
	}
	connected := p.connected(t)
	p.gateway.mu.Lock()
	defer p.gateway.mu.Unlock()
	if len(p.visits) != connected {
		t.Errorf("of %d connections %d were told to the Gateway", connected, len(p.visits))
	}
	if strings.Contains(p.log.String(), "canary-secret") {
		t.Error("the log shows a password")
	}
}

// Addresses is where the server listens, by name of the listener.
func (p *post) Addresses() map[string]net.Addr {
	p.Server.mu.Lock()
	defer p.Server.mu.Unlock()
	addresses := make(map[string]net.Addr, len(p.doors))
	for _, d := range p.doors {
		addresses[d.name] = d.Addr()
	}
	return addresses
}

// connected is how many clients have come, let in or not.
func (p *post) connected(t testing.TB) (n int) {
	families, err := p.metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "postern_submission_connections_total" {
			for _, m := range f.GetMetric() {
				n += int(m.GetCounter().GetValue())
			}
		}
	}
	return n
}

// Keys are made once: RSA takes long.
var (
	rsaKey   = sync.OnceValue(func() crypto.Signer { k, _ := rsa.GenerateKey(rand.Reader, 2048); return k })
	ecdsaKey = sync.OnceValue(func() crypto.Signer { k, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader); return k })
)

// issue writes a self-signed pair that clients of p trust.
func (p *post) issue(t testing.TB, dir, name string, key func() crypto.Signer, host string) Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: host},
		DNSNames:     []string{host},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		IsCA:         true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key().Public(), key())
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key())
	if err != nil {
		t.Fatal(err)
	}
	c := Certificate{Certificate: filepath.Join(dir, name+".crt"), Key: filepath.Join(dir, name+".key")}
	writePEM(t, c.Certificate, "CERTIFICATE", der)
	writePEM(t, c.Key, "PRIVATE KEY", keyDER)
	cert, _ := x509.ParseCertificate(der)
	p.roots.AddCert(cert)
	return c
}

func writePEM(t testing.TB, name, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// wireClient is the other end of a session, octet by octet.
type wireClient struct {
	t    testing.TB
	conn net.Conn
	post *post
	in   []byte
}

func (p *post) dial(t testing.TB, listener string) *wireClient {
	t.Helper()
	conn, err := net.Dial("tcp", p.Addresses()[listener].String())
	if err != nil {
		t.Fatal(err)
	}
	c := &wireClient{t: t, conn: conn, post: p}
	t.Cleanup(func() { c.conn.Close() })
	if listener == "submissions" {
		c.startTLS(nil)
	}
	return c
}

// ready is a client that is logged in.
func (p *post) ready(t testing.TB) *wireClient {
	t.Helper()
	c := p.dial(t, "submissions")
	c.expect("220")
	c.login()
	return c
}

func (c *wireClient) login() {
	c.t.Helper()
	c.ask("EHLO client.example", "250")
	c.ask("AUTH PLAIN "+b64("\x00printer\x00canary-secret"), "235")
}

// envelope goes as far as RCPT.
func (c *wireClient) envelope() {
	c.t.Helper()
	c.ask("MAIL FROM:<scan@example.com>", "250")
	c.ask("RCPT TO:<user@example.com>", "250")
}

func (c *wireClient) tlsConfig() *tls.Config {
	return &tls.Config{RootCAs: c.post.roots, ServerName: "localhost"}
}

func (c *wireClient) startTLS(change func(*tls.Config)) {
	c.t.Helper()
	cfg := c.tlsConfig()
	if change != nil {
		change(cfg)
	}
	conn := tls.Client(c.conn, cfg)
	c.conn.SetDeadline(time.Now().Add(time.Minute))
	if err := conn.Handshake(); err != nil {
		c.t.Fatal(err)
	}
	c.conn, c.in = conn, nil
}

func (c *wireClient) send(octets string) {
	c.t.Helper()
	c.conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c.conn, octets); err != nil {
		c.t.Logf("send: %v", err) // the reply says why
	}
}

// reply reads one reply, its lines joined by "\n"; "" when the connection ends.
func (c *wireClient) reply() string {
	c.t.Helper()
	c.conn.SetDeadline(time.Now().Add(time.Minute))
	var lines []string
	for {
		i := bytes.IndexByte(c.in, '\n')
		for i < 0 {
			var b [4096]byte
			n, err := c.conn.Read(b[:])
			c.in = append(c.in, b[:n]...)
			i = bytes.IndexByte(c.in, '\n')
			if err != nil && i < 0 {
				if errors.Is(err, os.ErrDeadlineExceeded) {
					c.t.Fatal("no reply within a minute")
				}
				return strings.Join(lines, "\n")
			}
		}
		line := strings.TrimSuffix(string(c.in[:i]), "\r")
		c.in = c.in[i+1:]
		lines = append(lines, line)
		if len(line) < 4 || line[3] != '-' {
			return strings.Join(lines, "\n")
		}
	}
}

// expect reads a reply that must begin like that.
func (c *wireClient) expect(prefix string) string {
	c.t.Helper()
	got := c.reply()
	if !strings.HasPrefix(got, prefix) || (prefix == "" && got != "") {
		c.t.Fatalf("got reply %q, want %q", got, prefix)
	}
	return got
}

// ended expects that the connection is closed.
func (c *wireClient) ended() {
	c.t.Helper()
	c.expect("")
}

func (c *wireClient) ask(line, prefix string) string {
	c.t.Helper()
	c.send(line + "\r\n")
	return c.expect(prefix)
}
