package submission

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"postern/relay/message"
)

func TestTheGatewayLearnsWhatTheClientSaid(t *testing.T) {
	p := open(t)
	c := p.readyOver(t, tls.VersionTLS13)
	c.ask(`EHLO HP_Scanner(3.OG)`+"\x01\xfc ignored", "250")
	c.ask("MAIL FROM:<scan@example.com> SIZE=200 BODY=8BITMIME RET=HDRS ENVID=a+2Bb SMTPUTF8", "250")
	c.ask(`RCPT TO:<"a b"@example.com> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+2Bb@example.com`, "250")
	c.ask("RCPT TO:<user@[192.0.2.1]>", "250")
	c.ask("DATA", "354")
	reply := c.ask("Subject: hi\r\n\r\n.", "250 2.0.0 queued as ")
	m := p.accepted()[0]
	if m.ID != strings.TrimPrefix(reply, "250 2.0.0 queued as ") || len(m.ID) != 16 {
		t.Errorf("the id is %q, the client was told %q", m.ID, reply)
	}
	if m.Received.IsZero() || time.Since(m.Received) > time.Hour {
		t.Errorf("received at %v", m.Received)
	}
	want := message.Client{
		Identity: message.Identity{Account: "printer-3f"}, Mechanism: "PLAIN", Hello: "HP_Scanner(3.OG)??", Extended: true, Listener: "submissions",
		TLSVersion: "TLS 1.3", TLSCipher: m.Client.TLSCipher, Address: m.Client.Address,
	}
	if !reflect.DeepEqual(m.Client, want) {
		t.Errorf("got client %+v, want %+v", m.Client, want)
	}
	if !strings.HasPrefix(m.Client.TLSCipher, "TLS_") || m.Client.Address.String() != c.conn.LocalAddr().String() {
		t.Errorf("cipher %q, address %s", m.Client.TLSCipher, m.Client.Address)
	}
	got := fmt.Sprintf("%+v", m.Envelope)
	wantEnvelope := fmt.Sprintf("%+v", message.Envelope{
		From: message.Address{Local: "scan", Domain: "example.com"},
		To: []message.Recipient{
			{Address: message.Address{Local: "a b", Domain: "example.com"}, Notify: []string{"SUCCESS", "DELAY"}, OriginalType: "rfc822", Original: "a+b@example.com"},
			{Address: message.Address{Local: "user", Domain: "[192.0.2.1]"}},
		},
		Return: "HDRS", EnvelopeID: "a+b", BodyType: "8BITMIME", SMTPUTF8: true, DeclaredSize: 200,
	})
	if got != wantEnvelope {
		t.Errorf("got envelope\n%s, want\n%s", got, wantEnvelope)
	}
	if login := p.logins[0]; login.Mechanism != "PLAIN" || login.Account != "" || login.TLSVersion == "" {
		t.Errorf("the login was asked with %+v", login)
	}
}

func TestHELOIsNotExtended(t *testing.T) {
	p := open(t)
	c := p.dial(t, "submissions")
	c.expect("220")
	c.ask("HELO "+strings.Repeat("x", 300), "250")
	c.ask("AUTH PLAIN "+b64("\x00printer\x00canary-secret"), "235")
	c.envelope()
	c.ask("DATA", "354")
	c.ask("Subject: hi\r\n\r\n.", "250")
	if got := p.accepted()[0].Client; got.Extended || got.Hello != strings.Repeat("x", maxHello) {
		t.Errorf("got client %+v", got)
	}
}

func TestWhatIsCounted(t *testing.T) {
	p := open(t)
	c := p.dial(t, "submission")
	c.expect("220")
	c.ask("EHLO x", "250")
	c.ask("STARTTLS", "220")
	c.startTLS(nil)
	c.ask("EHLO x", "250")
	c.ask("AUTH PLAIN "+b64("\x00printer\x00wrong"), "535")
	c.ask("AUTH LOGIN "+b64("pool-full"), "334")
	c.ask(b64("x"), "454")
	c.login()
	for _, subject := range []string{"hi", "refuse", "disk full"} {
		c.envelope()
		c.ask("DATA", "354")
		c.send("Subject: " + subject + "\r\n\r\n.\r\n")
		c.reply()
	}
	m := p.metrics
	if n := testutil.ToFloat64(m.Connections.WithLabelValues("submission")); n != 1 {
		t.Errorf("%v connections now", n)
	}
	c.ask("QUIT", "221")
	c.ended()
	p.close(t)
	for name, got := range map[string]float64{
		"served":               testutil.ToFloat64(m.ConnectionsTotal.WithLabelValues("submission", "served")),
		"tls 1.3":              testutil.ToFloat64(m.TLS.WithLabelValues("submission", "1.3", "ok")),
		"auth failed":          testutil.ToFloat64(m.Auth.WithLabelValues("PLAIN", "failed")),
		"auth unavailable":     testutil.ToFloat64(m.Auth.WithLabelValues("LOGIN", "unavailable")),
		"auth ok":              testutil.ToFloat64(m.Auth.WithLabelValues("PLAIN", "ok")),
		"messages accepted":    testutil.ToFloat64(m.Messages.WithLabelValues("submission", "accepted")),
		"messages refused":     testutil.ToFloat64(m.Messages.WithLabelValues("submission", "refused")),
		"messages unavailable": testutil.ToFloat64(m.Messages.WithLabelValues("submission", "unavailable")),
	} {
		if got != 1 {
			t.Errorf("%s: counted %v, want 1", name, got)
		}
	}
	if n := testutil.ToFloat64(m.Connections.WithLabelValues("submission")); n != 0 {
		t.Errorf("%v connections after the end", n)
	}
	if n := testutil.CollectAndCount(m.SubmissionPhase); n != 4 {
		t.Errorf("%d phases were measured, want 4", n)
	}
}

func TestAnIdleConnectionGivesWayToANewOneOfItsClient(t *testing.T) {
	p := open(t, func(p *post) { p.connections.limits = limits{total: 100, perClient: 2} })
	first := p.dial(t, "submission")
	first.expect("220") // so that it is the older one
	second := p.dial(t, "submission")
	second.expect("220")
	third := p.dial(t, "submission")
	third.expect("220")
	first.expect("421 4.4.2")
	first.ended()
	second.ask("NOOP", "250")
	third.ask("QUIT", "221")
}

// A client whose connections do not go when they are asked to has twice what one
// client may have, not all there are.
func TestWhoIsAskedToGoAndStaysShutsOutItselfOnly(t *testing.T) {
	c := newConnections()
	c.limits = limits{total: 100, perClient: 2}
	from := func(address string) string {
		ours, theirs := net.Pipe()
		t.Cleanup(func() { ours.Close(); theirs.Close() })
		return c.enter(&guard{Conn: ours, remote: netip.MustParseAddrPort(address), timeouts: defaultTimeouts})
	}
	for i := range 4 {
		if got := from("192.0.2.1:1000"); got != "" {
			t.Fatalf("connection %d: %s", i, got)
		}
	}
	if got := from("192.0.2.1:1000"); !strings.HasPrefix(got, "421 4.7.0 too many connections from your address") {
		t.Errorf("the fifth connection of a client got %q", got)
	}
	if got := from("192.0.2.2:1000"); got != "" {
		t.Errorf("another client got %q", got)
	}
}

func TestConnectionsAreLimited(t *testing.T) {
	for name, l := range map[string]limits{
		"per client": {total: 100, perClient: 2},
		"in total":   {total: 2, perClient: 100},
	} {
		t.Run(name, func(t *testing.T) {
			p := open(t, func(p *post) { p.connections.limits = l })
			first, second := p.ready(t), p.ready(t)
			for _, c := range []*wireClient{first, second} { // in a transaction, so that they need not give way
				c.ask("MAIL FROM:<scan@example.com>", "250")
			}
			third := p.dial(t, "submission")
			third.expect("421 4.7.0 too many connections")
			third.ended()
			first.ask("QUIT", "221")
			first.ended()
			for {
				c := p.dial(t, "submission")
				if strings.HasPrefix(c.reply(), "220") {
					break // the place of the first is free
				}
			}
			if n := testutil.ToFloat64(p.metrics.ConnectionsTotal.WithLabelValues("submission", "refused")); n < 1 {
				t.Error("the refused connection was not counted")
			}
		})
	}
}

func TestSilentClientsAreTold421(t *testing.T) {
	t.Run("before AUTH", func(t *testing.T) {
		p := open(t, func(p *post) { p.timeouts.command = 20 * time.Millisecond })
		c := p.dial(t, "submission")
		c.expect("220")
		c.expect("421 4.4.2")
		c.ended()
	})
	t.Run("one that only says NOOP and never logs in", func(t *testing.T) {
		p := open(t, func(p *post) { p.timeouts.login = 50 * time.Millisecond })
		c := p.dial(t, "submission")
		c.expect("220")
		for {
			c.send("NOOP\r\n")
			if got := c.reply(); !strings.HasPrefix(got, "250") {
				if !strings.HasPrefix(got, "421") {
					t.Errorf("got %q", got)
				}
				return
			}
		}
	})
}

func TestDeadlines(t *testing.T) {
	now := time.Unix(1000, 0)
	in := func(s time.Duration) time.Time { return now.Add(s * time.Second) }
	for name, row := range map[string]struct {
		g    *guard
		want time.Time
	}{
		"a command has its own before AUTH":   {&guard{command: in(300), login: in(900)}, in(300)},
		"AUTH must have succeeded by its own": {&guard{command: in(300), login: in(20)}, in(20)},
		"a command has its own after AUTH":    {&guard{command: in(300)}, in(300)},
		"each read of a message has one":      {&guard{command: in(20), rolling: true, message: in(3600), pace: newPace(time.Hour)}, in(180)},
		"a message that comes slowly has one": {&guard{rolling: true, message: in(3600), pace: newPace(time.Minute)}, in(60)},
		"a whole message has one":             {&guard{command: in(300), rolling: true, message: in(50), pace: newPace(time.Hour)}, in(50)},
	} {
		t.Run(name, func(t *testing.T) {
			row.g.timeouts = defaultTimeouts
			if got := row.g.deadline(now); !got.Equal(row.want) {
				t.Errorf("got %v, want %v", got, row.want)
			}
		})
	}
}

// What go-smtp writes line by line must leave together, or every reply to a
// pipelined command would take a packet, and under TLS a record.
func TestRepliesLeaveTogether(t *testing.T) {
	here, there := net.Pipe()
	g := newGuard(here, defaultTimeouts)
	g.gone = func() {}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 10 {
			g.Write([]byte("250-line\r\n"))
		}
		g.Read(make([]byte, 10)) // sends
		g.Write([]byte("221 bye\r\n"))
		g.Close() // sends
	}()
	b := make([]byte, 4096)
	if n, _ := there.Read(b); n != 100 {
		t.Errorf("got %d octets at first, want 100", n)
	}
	there.Write([]byte("QUIT\r\n"))
	if n, _ := there.Read(b); string(b[:n]) != "221 bye\r\n" {
		t.Errorf("got %q", b[:n])
	}
	<-done
}

func TestBindErrorsSayWhatToDo(t *testing.T) {
	for want, err := range map[string]error{
		"port 587 needs CAP_NET_BIND_SERVICE":     syscall.EACCES,
		"another program already listens on :587": syscall.EADDRINUSE,
		"this machine has no address :587":        syscall.EADDRNOTAVAIL,
		"too many open files":                     syscall.EMFILE,
	} {
		if got := explain(":587", &net.OpError{Op: "listen", Err: err}); !strings.Contains(got.Error(), want) || !errors.Is(got, err) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestShutdown(t *testing.T) {
	shutdown := func(p *post, ctx context.Context) <-chan error {
		done := make(chan error, 1)
		go func() { done <- p.Shutdown(ctx) }()
		return done
	}
	t.Run("tells idle clients at once and lets a transaction end", func(t *testing.T) {
		p := open(t)
		fresh, idle, busy := p.dial(t, "submission"), p.ready(t), p.ready(t)
		fresh.expect("220")
		busy.envelope()
		done := shutdown(p, context.Background())
		fresh.expect("421 4.4.2")
		fresh.ended()
		idle.expect("421 4.4.2")
		idle.ended()
		busy.ask("DATA", "354")
		busy.ask("Subject: hi\r\n\r\n.", "250 2.0.0 queued")
		busy.expect("421 4.4.2")
		busy.ended()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if p.Reload(p.config) == nil {
			t.Error("a server that was shut down can be reloaded")
		}
	})
	t.Run("lets no new transaction begin", func(t *testing.T) {
		p := open(t)
		c := p.ready(t)
		c.envelope()
		done := shutdown(p, context.Background())
		for p.Addresses()["submission"] != nil {
		}
		idleIsGone(t, p)
		c.send("DATA\r\nSubject: hi\r\n\r\n.\r\nMAIL FROM:<scan@example.com>\r\n")
		c.expect("354")
		c.expect("250 2.0.0 queued")
		c.expect("421")
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Run("cuts off what is not done in time", func(t *testing.T) {
		p := open(t)
		c := p.ready(t)
		c.envelope()
		c.ask("DATA", "354")
		c.send("Subject: hi\r\n\r\nhalf")
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := <-shutdown(p, ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if len(p.accepted()) != 0 {
			t.Error("half a message was accepted")
		}
	})
	t.Run("waits for the Gateway's answer, whose context it ends", func(t *testing.T) {
		p := open(t, func(p *post) {
			p.accept = func(ctx context.Context, _ *message.Message) error { <-ctx.Done(); return ctx.Err() }
		})
		c := p.ready(t)
		c.envelope()
		c.ask("DATA", "354")
		c.send("Subject: hi\r\n\r\n.\r\n")
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		<-shutdown(p, ctx)
		if n := p.openSpools(); n != 0 {
			t.Errorf("%d spools are left", n)
		}
	})
}

// idleIsGone waits until the drain has reached every connection.
func idleIsGone(t *testing.T, p *post) {
	t.Helper()
	for {
		p.connections.mu.Lock()
		draining := p.connections.draining
		p.connections.mu.Unlock()
		if draining {
			return
		}
	}
}

func TestReload(t *testing.T) {
	p := open(t)
	session := p.ready(t)
	session.envelope()
	before := p.Addresses()

	cfg := p.config
	cfg.Hostname = "new.example.com"
	cfg.MaxSize = 10
	cfg.Listeners = []Listener{
		{Name: "renamed", Address: "127.0.0.1:0", TLS: "starttls"},
		{Name: "submissions", Address: "127.0.0.1:0", TLS: "implicit"},
		{Name: "third", Address: "127.0.0.1:0", TLS: "starttls"},
	}
	if err := p.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	after := p.Addresses()
	if len(after) != 3 || after["submissions"].String() != before["submissions"].String() || after["renamed"].String() != before["submission"].String() {
		t.Errorf("before %v, after %v", before, after)
	}
	p.dial(t, "third").expect("220 new.example.com")
	session.ask("DATA", "354")
	session.ask("Subject: longer than ten octets\r\n\r\n.", "250")

	c := p.ready(t)
	c.ask("MAIL FROM:<scan@example.com> SIZE=11", "552")

	cfg.Listeners = cfg.Listeners[1:2]
	if err := p.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := net.Dial("tcp", after["third"].String()); err == nil {
		t.Error("a listener that is gone still listens")
	}
	session.ask("NOOP", "250")
}

func TestAReloadThatFailsChangesNothing(t *testing.T) {
	p := open(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	before := fmt.Sprint(p.Addresses())
	good := p.config.Listeners
	for name, row := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"an address is taken": {func(c *Config) {
			c.Listeners = append(good[:2:2], Listener{Name: "a", Address: "127.0.0.1:0", TLS: "implicit"}, Listener{Name: "b", Address: taken.Addr().String(), TLS: "implicit"})
		}, "listener b: another program already listens on " + taken.Addr().String()},
		"an address is not ours":       {func(c *Config) { c.Listeners = []Listener{{Name: "a", Address: "192.0.2.1:0", TLS: "implicit"}} }, "this machine has no address 192.0.2.1:0"},
		"two names are the same":       {func(c *Config) { c.Listeners = append(good[:2:2], good[0]) }, `two listeners are named "submission"`},
		"a TLS mode does not exist":    {func(c *Config) { c.Listeners = []Listener{{Name: "a", Address: "127.0.0.1:0", TLS: "maybe"}} }, `"maybe" is not one of starttls`},
		"a mechanism does not exist":   {func(c *Config) { c.Mechanisms = []string{"DIGEST-MD5"} }, `"DIGEST-MD5" is not one of`},
		"there is no certificate":      {func(c *Config) { c.TLS.Certificates = nil }, "tls.certificates is empty"},
		"a TLS version does not exist": {func(c *Config) { c.TLS.MinVersion = "1.1" }, `"1.1" is neither 1.2 nor 1.3`},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := p.config
			row.change(&cfg)
			if err := p.Reload(cfg); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %q", err, row.want)
			}
			if after := fmt.Sprint(p.Addresses()); after != before {
				t.Errorf("it listens on %s, before on %s", after, before)
			}
			p.ready(t)
		})
	}
}

func TestClientsAreServedThroughoutReloads(t *testing.T) {
	p := open(t)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				if err := p.Reload(p.config); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	for range 20 {
		c := p.dial(t, "submission")
		c.expect("220")
		c.ask("QUIT", "221")
		p.ready(t).ask("QUIT", "221")
	}
	close(stop)
	<-stopped
}

func TestConfigurationsAreChecked(t *testing.T) {
	for name, row := range map[string]struct {
		check func(bad func(key, format string, args ...any))
		keys  string
	}{
		"a good listener":               {Listener{Name: "a", Address: ":587", TLS: "starttls"}.Check, ""},
		"an empty listener":             {Listener{}.Check, "name address tls"},
		"a port that is none":           {Listener{Name: "a", Address: "127.0.0.1:smtp", TLS: "implicit"}.Check, "address"},
		"no port":                       {Listener{Name: "a", Address: "127.0.0.1", TLS: "implicit"}.Check, "address"},
		"a TLS that is none":            {Listener{Name: "a", Address: ":587", TLS: "maybe"}.Check, "tls"},
		"an optional TLS for everybody": {Listener{Name: "a", Address: ":25", TLS: "optional"}.Check, "networks"},
		"no certificates, old version":  {TLS{MinVersion: "1.1"}.Check, "certificates min_version"},
		"no key":                        {Certificate{Certificate: "x"}.Check, "key"},
		"no certificate":                {Certificate{Key: "x"}.Check, "certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			var keys []string
			row.check(func(key, _ string, _ ...any) { keys = append(keys, key) })
			if got := strings.Join(keys, " "); got != row.keys {
				t.Errorf("complains of %q, want %q", got, row.keys)
			}
		})
	}
}

func TestRecipientsAreLimited(t *testing.T) {
	p := open(t, func(p *post) { p.config.MaxRecipients = 2 })
	c := p.ready(t)
	c.envelope()
	c.ask("RCPT TO:<second@example.com>", "250")
	c.ask("RCPT TO:<third@example.com>", "452 4.5.3")
	c.ask("DATA", "354")
	c.ask("Subject: hi\r\n\r\n.", "250")
	if m := p.accepted()[0]; len(m.To) != 2 {
		t.Errorf("accepted for %d recipients, want 2", len(m.To))
	}
}
