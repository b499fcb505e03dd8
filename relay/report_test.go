package relay_test

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	msgauth "github.com/emersion/go-msgauth/dkim"
	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"postern/relay/dkim"
)

// mailServer is an upstream that knows nobody called nobody, has no time for
// later, and keeps what it takes with its envelope.
type mailServer struct {
	address string
	got     chan envelope
}

type envelope struct {
	from, to string
	notify   []smtp.DSNNotify
	content  string
}

func newMailServer(t *testing.T, dsn bool) *mailServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &mailServer{address: l.Addr().String(), got: make(chan envelope, 100)}
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &taking{host: h}, nil }))
	server.EnableDSN, server.AllowInsecureAuth = dsn, true
	server.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	done := make(chan struct{})
	go func() { defer close(done); server.Serve(l) }()
	t.Cleanup(func() { server.Close(); l.Close(); <-done })
	return h
}

type taking struct {
	host *mailServer
	envelope
}

func (s *taking) Mail(from string, _ *smtp.MailOptions) error { s.from = from; return nil }
func (s *taking) AuthMechanisms() []string                    { return []string{"PLAIN"} }
func (s *taking) Reset()                                      { s.envelope = envelope{} }
func (s *taking) Logout() error                               { return nil }

func (s *taking) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(string, string, string) error { return nil }), nil
}

func (s *taking) Rcpt(to string, o *smtp.RcptOptions) error {
	switch {
	case strings.HasPrefix(to, "nobody"):
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "User unknown"}
	case strings.HasPrefix(to, "later"):
		return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 2}, Message: "Not now"}
	}
	s.to, s.notify = to, o.Notify
	return nil
}

func (s *taking) Data(in io.Reader) error {
	b, err := io.ReadAll(in)
	s.content = string(b)
	s.host.got <- s.envelope
	return err
}

// receive waits for the next message to that recipient.
func (h *mailServer) receive(t *testing.T, to string) envelope {
	t.Helper()
	for {
		select {
		case e := <-h.got:
			if e.to == to {
				return e
			}
		case <-time.After(patience):
			t.Fatalf("nothing came for %s", to)
		}
	}
}

// say carries out a transaction of these commands and the usual message.
func (r *running) say(from string, to ...string) {
	r.t.Helper()
	c := r.dial()
	defer c.Close()
	for _, command := range append([]string{from}, to...) {
		if err := c.Text.PrintfLine("%s", command); err != nil {
			r.t.Fatal(err)
		}
		if _, _, err := c.Text.ReadResponse(250); err != nil {
			r.t.Fatalf("%s: %v", command, err)
		}
	}
	if err := write(c, fmt.Sprintf(scan, "4711")); err != nil {
		r.t.Fatal(err)
	}
}

const postmaster = "\npostmaster: it@example.com\n"

func TestTheSenderIsToldWhatFailed(t *testing.T) {
	for _, c := range []struct {
		name string
		mail string
		to   []string
		want []string // in the report; none at all without
	}{
		{"nothing was asked for", "MAIL FROM:<scan@example.com>", []string{"RCPT TO:<nobody@example.org>", "RCPT TO:<you@example.org>"},
			[]string{"Action: failed", "Final-Recipient: rfc822; nobody@example.org", "smtp; 550 5.1.1 User unknown", "There is no mailbox", "Subject: 4711"}},
		{"all was asked for", "MAIL FROM:<scan@example.com> RET=FULL ENVID=QQ+2B1", []string{"RCPT TO:<nobody@example.org> NOTIFY=FAILURE ORCPT=rfc822;x@example.org"},
			[]string{"Original-Envelope-Id: QQ+1", "Original-Recipient: rfc822; x@example.org", "message/rfc822", ".A line that begins with a dot"}},
		{"nobody wants to know", "MAIL FROM:<scan@example.com>", []string{"RCPT TO:<nobody@example.org> NOTIFY=NEVER"}, nil},
		{"only success was of interest", "MAIL FROM:<scan@example.com>", []string{"RCPT TO:<nobody@example.org> NOTIFY=SUCCESS"}, nil},
		{"there is nobody to tell", "MAIL FROM:<>", []string{"RCPT TO:<nobody@example.org>"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			host := newMailServer(t, true)
			account := fmt.Sprintf(`{name: printer, password_hash: "%s", senders: ["@example.com"], null_sender: true}`, paperHash)
			r := startWith(t, account, through(host.address)+postmaster)
			r.say(c.mail, c.to...)
			r.log.await(t, `"msg":"failed"`, "nobody@example.org")
			if c.want == nil {
				// Whatever had been told would come before this.
				r.say("MAIL FROM:<scan@example.com>", "RCPT TO:<nobody@example.org>")
			}
			e := host.receive(t, "scan@example.com")
			if c.want == nil {
				if left := r.log.rest(); slices.ContainsFunc(left, func(line string) bool { return strings.Contains(line, `"msg":"reported"`) }) {
					t.Errorf("another report was made:\n%s", left)
				}
				return
			}
			if e.from != "" || !slices.Equal(e.notify, []smtp.DSNNotify{smtp.DSNNotifyNever}) {
				t.Errorf("sent from <%s>, NOTIFY %q", e.from, e.notify)
			}
			for _, want := range append(c.want, "From: Mail Delivery System <it@example.com>", "Auto-Submitted: auto-replied") {
				if !strings.Contains(e.content, want) {
					t.Errorf("%q is not in\n%s", want, e.content)
				}
			}
			if n := strings.Count(e.content, "Final-Recipient"); n != 1 {
				t.Errorf("%d recipients are told of", n)
			}
		})
	}
}

// rest are the lines that were logged until now and not read; one report after
// the last that was awaited is the one that was waited for.
func (r records) rest() (lines []string) {
	reports := 0
	for {
		select {
		case line := <-r.lines:
			if strings.Contains(line, `"msg":"reported"`) {
				if reports++; reports == 1 {
					continue
				}
			}
			lines = append(lines, line)
		default:
			return lines
		}
	}
}

// A server that makes reports of its own is left to tell of success.
func TestSuccessIsToldOfOnce(t *testing.T) {
	for _, dsn := range []bool{true, false} {
		host := newMailServer(t, dsn)
		r := start(t, through(host.address)+postmaster)
		r.say("MAIL FROM:<scan@example.com>", "RCPT TO:<you@example.org> NOTIFY=SUCCESS,FAILURE")
		r.log.await(t, `"msg":"delivered"`, "you@example.org")
		r.say("MAIL FROM:<scan@example.com>", "RCPT TO:<nobody@example.org>")
		e := host.receive(t, "scan@example.com")
		if passed := strings.Contains(e.content, "Action: relayed"); passed == dsn {
			t.Errorf("DSN offered: %v; the first report is\n%s", dsn, e.content)
		}
	}
}

func TestADelayIsToldOf(t *testing.T) {
	host := newMailServer(t, true)
	r := (&running{t: t, queue: "{retry: [1s], min_free: 1MiB, warn_after: 1s}"}).start(through(host.address) + postmaster)
	r.say("MAIL FROM:<scan@example.com>", "RCPT TO:<later@example.org>", "RCPT TO:<later2@example.org> NOTIFY=FAILURE")
	e := host.receive(t, "scan@example.com")
	for _, want := range []string{"Action: delayed", "Final-Recipient: rfc822; later@example.org", "Status: 4.3.2", "Will-Retry-Until: ", "has not been delivered yet"} {
		if !strings.Contains(e.content, want) {
			t.Errorf("%q is not in\n%s", want, e.content)
		}
	}
	if strings.Contains(e.content, "Final-Recipient: rfc822; later2@") {
		t.Errorf("told of a recipient whose delay is of no interest:\n%s", e.content)
	}
}

func TestWhatExpiresIsToldOf(t *testing.T) {
	host := newMailServer(t, true)
	r := (&running{t: t, queue: "{retry: [1s], min_free: 1MiB, expire: 2s}"}).start(through(host.address) + postmaster)
	r.say("MAIL FROM:<scan@example.com>", "RCPT TO:<later@example.org>")
	e := host.receive(t, "scan@example.com")
	for _, want := range []string{"Action: failed", "Status: 5.4.7", "smtp; 451 4.3.2 Not now", "have now given up"} {
		if !strings.Contains(e.content, want) {
			t.Errorf("%q is not in\n%s", want, e.content)
		}
	}
}

// The route of the account is named for the account alone: no sender of a report,
// nor whom it goes to, would find it.
func TestAReportTakesTheRouteOfItsAccount(t *testing.T) {
	host, other := newMailServer(t, true), newMailServer(t, true)
	account := fmt.Sprintf(`{name: printer, password_hash: "%s", senders: ["@example.com"], route: own}`, paperHash)
	r := startWith(t, account, fmt.Sprintf(`
upstreams: [{name: own, address: %q, tls: none}, {name: other, address: %q, tls: none}]
routes: [{name: all, upstreams: [other]}, {name: own, senders: ["@elsewhere.example"], upstreams: [own]}]
`, host.address, other.address)+postmaster)
	r.say("MAIL FROM:<scan@example.com>", "RCPT TO:<nobody@example.org>")
	host.receive(t, "scan@example.com")
}

func TestAReportIsSigned(t *testing.T) {
	host := newMailServer(t, true)
	pair, err := dkim.Generate("example.com", "s1", dkim.Ed25519)
	if err != nil {
		t.Fatal(err)
	}
	path := t.TempDir() + "/key.pem"
	writeKey(t, path, pair.PEM)
	r := start(t, through(host.address)+postmaster+fmt.Sprintf("dkim: [{domain: example.com, selector: s1, key: %s, state: active}]\n", path))
	r.say("MAIL FROM:<scan@example.com>", "RCPT TO:<nobody@example.org>")
	e := host.receive(t, "scan@example.com")
	found, err := msgauth.VerifyWithOptions(strings.NewReader(e.content), &msgauth.VerifyOptions{
		LookupTXT: func(string) ([]string, error) { return []string{pair.Record}, nil }})
	if err != nil || len(found) != 1 || found[0].Err != nil || found[0].Domain != "example.com" {
		t.Errorf("the signatures are %+v, %v\n%s", found, err, e.content)
	}
}

// An upstream that takes mail of its mailbox alone gets reports under that.
func TestAReportLeavesAsTheMailbox(t *testing.T) {
	for _, otherwise := range []string{"refuse", "next", "force"} {
		host := newMailServer(t, true)
		r := start(t, fmt.Sprintf(`
upstreams: [{name: m365, address: %q, tls: none, mailbox: relay@example.com, senders: ["scan@example.com"], otherwise: %s, null_sender: otherwise}]
routes: [{name: default, upstreams: [m365]}]
`, host.address, otherwise)+postmaster)
		r.say("MAIL FROM:<scan@example.com>", "RCPT TO:<nobody@example.org>")
		e := host.receive(t, "scan@example.com")
		if e.from != "relay@example.com" || !strings.Contains(e.content, "From: Mail Delivery System <relay@example.com>") {
			t.Errorf("otherwise: %s: sent from <%s>\n%s", otherwise, e.from, e.content)
		}
	}
}

// Digests gather by account; what nobody is to be told of is told to nobody.
func TestADigestNamesWhatItsAccountsFailed(t *testing.T) {
	host := newMailServer(t, true)
	account := fmt.Sprintf(`{name: printer, password_hash: "%s", senders: ["@example.com"], bounce: digest}`, paperHash)
	numbers := freeAddress(t)
	r := startWith(t, account, through(host.address)+postmaster+fmt.Sprintf("digest: {every: 1s}\nmetrics: {address: %q}\n", numbers))
	for range 3 {
		r.say("MAIL FROM:<scan@example.com>", "RCPT TO:<nobody@example.org>")
	}
	told := 0
	for told < 3 { // in one, or two if the interval ended in between
		e := host.receive(t, "it@example.com")
		if e.from != "" || !strings.Contains(e.content, "There is no mailbox with this address.") || !strings.Contains(e.content, "Auto-Submitted: auto-generated") {
			t.Fatalf("from <%s>:\n%s", e.from, e.content)
		}
		told += strings.Count(e.content, "<scan@example.com> to <nobody@example.org>")
	}
	if told != 3 {
		t.Errorf("%d failures told of", told)
	}
	if page := get(t, "http://"+numbers+"/metrics"); !strings.Contains(page, `postern_bounces_total{policy="digest",result="failed"} 3`) ||
		!strings.Contains(page, `postern_bounces_total{policy="dsn",result="failed"} 0`) {
		t.Error("the failures are not counted")
	}
}

func TestNobodyIsToldWhereThatIsThePolicy(t *testing.T) {
	host := newMailServer(t, true)
	account := fmt.Sprintf(`{name: printer, password_hash: "%s", senders: ["@example.com"], bounce: none}`, paperHash)
	numbers := freeAddress(t)
	r := startWith(t, account, through(host.address)+postmaster+fmt.Sprintf("metrics: {address: %q}\n", numbers))
	r.say("MAIL FROM:<scan@example.com>", "RCPT TO:<nobody@example.org>")
	r.log.await(t, `"msg":"failed"`)
	r.say("MAIL FROM:<scan@example.com>", "RCPT TO:<you@example.org>")
	if e := <-host.got; e.to != "you@example.org" {
		t.Errorf("%+v", e)
	}
	if page := get(t, "http://"+numbers+"/metrics"); !strings.Contains(page, `postern_bounces_total{policy="none",result="silent"} 1`) {
		t.Error("it is not counted")
	}
}

// What a preset knows of null senders counts without a word in the file.
func TestAReportLeavesAsTheMailboxOfAProvider(t *testing.T) {
	host := newMailServer(t, true)
	r := start(t, fmt.Sprintf(`
upstreams: [{name: m365, preset: microsoft365, address: %q, tls: none, mailbox: relay@example.com, password: paper, mechanisms: [PLAIN]}]
routes: [{name: default, upstreams: [m365]}]
`, host.address)+postmaster)
	r.say("MAIL FROM:<scan@example.com>", "RCPT TO:<nobody@example.org>")
	if e := host.receive(t, "scan@example.com"); e.from != "relay@example.com" || !strings.Contains(e.content, "Reply-To: Mail Delivery System <it@example.com>") {
		t.Errorf("sent from <%s>\n%s", e.from, e.content)
	}
}

// A report that cannot be delivered reaches the postmaster, once: what becomes of
// the digest that names it is told to nobody.
func TestAReportThatIsRefusedIsNamedInADigest(t *testing.T) {
	host := newMailServer(t, true)
	r := start(t, through(host.address)+postmaster+"digest: {every: 1s}\n")
	r.say("MAIL FROM:<nobody@example.com>", "RCPT TO:<nobody@example.org>")
	if e := host.receive(t, "it@example.com"); !strings.Contains(e.content, "printer: a report to <nobody@example.com>") {
		t.Errorf("from <%s>:\n%s", e.from, e.content)
	}
	numbers := freeAddress(t)
	r = start(t, through(host.address)+strings.Replace(postmaster, "it@", "nobody@", 1)+fmt.Sprintf("digest: {every: 1s}\nmetrics: {address: %q}\n", numbers))
	r.say("MAIL FROM:<nobody@example.com>", "RCPT TO:<nobody@example.org>")
	r.log.await(t, `"about":"digest"`)
	r.log.await(t, `"msg":"failed"`, `"to":"nobody@example.com"`)
	for timeout := time.After(patience); !strings.Contains(get(t, "http://"+numbers+"/metrics"), `postern_bounces_total{policy="dsn",result="silent"} 1`); {
		select {
		case <-timeout:
			t.Fatal("the digest that failed is not counted as told to nobody")
		case <-time.After(10 * time.Millisecond):
		}
	}
}
