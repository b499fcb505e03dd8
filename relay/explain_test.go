package relay_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	netsmtp "net/smtp"
	"net/textproto"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"postern/relay"
	"postern/relay/config"
	"postern/relay/message"
	"postern/relay/queue"
	"postern/relay/upstream/transport"
)

// What Explain tells and what a running relay then does are the same, for every
// example of rewriting and dressing.
func TestExplainTellsWhatHappens(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../rewrite/testdata/*.txtar")
	dressed, more := filepath.Glob("../rewrite/testdata/dress/*.txtar")
	if files = append(files, dressed...); errors.Join(err, more) != nil || len(files) < 140 {
		t.Fatalf("%d files, %v, %v", len(files), err, more)
	}
	r := start(t, through(freeAddress(t)))
	dir := t.TempDir()
	makeKey(t, "example.com", dir+"/key.pem")
	outcomes := map[string]int{}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c := readExample(t, archive)
			host := newHost(t, c.offer)
			c.configure(t, r, host.address, dir+"/key.pem")
			happens := c.happens(t, r, host)
			outcomes[happens.At]++
			if told := c.told(t, r.configFile()); !reflect.DeepEqual(told, happens) {
				t.Errorf("told:\n%s\n\nhappens:\n%s", told, happens)
			}
		})
	}
	if !t.Failed() && (outcomes[""] < 90 || outcomes["DATA"] < 20 || outcomes["RCPT"] < 2) {
		t.Errorf("how many ended how: %v", outcomes)
	}
}

// example is a file of rewrite/testdata as a submission.
type example struct {
	account, rewrite, headers, upstream, profile string
	listener                                     string
	client                                       netip.AddrPort
	identity                                     message.Identity
	smtputf8                                     bool
	from                                         message.Address
	to                                           []message.Address
	content                                      string
	offer                                        transport.Offer
}

// readExample reads both kinds of file, as rewrite's own tests describe them.
func readExample(t *testing.T, archive *txtar.Archive) *example {
	t.Helper()
	c := &example{client: netip.MustParseAddrPort("192.0.2.7:4711"), offer: transport.Offer{EightBit: true, UTF8: true}, listener: "submission"}
	c.identity.Account = "printer"
	senders, null, account := `["*"]`, "true", ""
	parts := map[string]string{}
	for _, f := range archive.Files {
		parts[f.Name] = string(f.Data)
	}
	addresses := func(text string) (all []message.Address) {
		for _, s := range strings.Fields(text) {
			var a message.Address
			if err := a.UnmarshalText([]byte(s)); err != nil {
				t.Fatal(err)
			}
			all = append(all, a)
		}
		return all
	}
	for line := range strings.Lines(parts["config"]) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.TrimSpace(value)
		switch key {
		case "sender":
			if value != "" {
				c.from = addresses(value)[0]
			}
		case "recipient", "to":
			c.to = append(c.to, addresses(value)...)
		case "account":
			c.identity.Account = value
		case "user":
			c.identity.User = value
		case "addresses":
			c.identity.Addresses = addresses(value)
		case "client":
			c.client = netip.MustParseAddrPort(value)
		case "listener":
			c.listener = value
		case "senders":
			senders = fmt.Sprintf("[%q]", strings.Join(strings.Fields(value), `", "`))
			senders = strings.ReplaceAll(senders, `\"`, `"`)
		case "default_from":
			account += fmt.Sprintf(", default_from: %q", value)
		case "null_sender":
			null = value
		case "own_addresses":
			account += ", own_addresses: " + value
		case "remove":
			c.headers += fmt.Sprintf("  remove: [%s]\n", strings.Join(strings.Fields(value), ", "))
		case "hide_client":
			c.headers += "  hide_client: " + value + "\n"
		case "smtputf8":
			c.smtputf8 = value == "true"
		case "repair":
			for _, name := range strings.Fields(value) {
				c.profile += ", " + name + ": repair"
			}
		case "offer":
			c.offer = transport.Offer{EightBit: strings.Contains(value, "8BITMIME"), UTF8: strings.Contains(value, "SMTPUTF8")}
		default:
			t.Fatalf("config has the unknown key %q", key)
		}
	}
	if len(c.to) == 0 {
		c.to = addresses("you@example.org")
	}
	beyondASCII := func(a message.Address) bool { return !a.IsASCII() }
	c.smtputf8 = c.smtputf8 || beyondASCII(c.from) || slices.ContainsFunc(c.to, beyondASCII)
	c.account = fmt.Sprintf("{name: %s, password_hash: %q, null_sender: %s, senders: %s%s}", c.identity.Account, paperHash, null, senders, account)
	c.rewrite, c.upstream = parts["rewrite"], indented(parts["upstream"], "    ")
	c.headers += indented(parts["headers"], "  ")
	c.content = strings.ReplaceAll(parts["in.eml"], "\n", "\r\n")
	if parts["upstream"] == "" && !strings.Contains(c.content, "\r\n\r\n") {
		c.content += "\r\nhello\r\n"
	}
	return c
}

func indented(text, by string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(by + line)
	}
	return b.String()
}

// configure has the relay run with what the example gives.
func (c *example) configure(t *testing.T, r *running, host, key string) {
	t.Helper()
	r.write("config.yaml", fmt.Appendf(nil, `
hostname: relay.example.com
data_dir: %[1]s/data
listeners:
  - {name: %[2]s, address: %[3]q, tls: none, plaintext_auth: true, networks: ["192.0.2.0/24", "10.0.0.0/8"], proxy_protocol: [127.0.0.1]}
  - {name: %[4]s, address: %[5]q, tls: none, networks: [127.0.0.1]}
tls: {certificates: [{certificate: %[1]s/tls.crt, key: %[1]s/tls.key}]}
profiles: [{name: p, networks: ["0.0.0.0/0"]%[6]s}]
accounts: [%[7]s]
upstreams:
  - name: m365
    address: %[8]q
    tls: none
%[9]s
routes: [{name: default, upstreams: [m365]}]
queue: {retry: [1h], min_free: 1MiB}
dkim: [{domain: example.com, selector: s1, key: %[10]s, state: active}]
rewrite:
%[11]s
headers:
%[12]s
`, r.dir, c.listener, r.address, map[string]string{"submission": "floor3", "floor3": "submission"}[c.listener], freeAddress(t),
		c.profile, c.account, host, c.upstream, key, c.rewrite, c.headers))
	if err := r.Reload(r.configFile()); err != nil {
		t.Fatal(err)
	}
}

// fate is what becomes of a submission, without what differs each time.
type fate struct {
	At, Refused      string   // the reply, if it is refused
	Denied           []string // replies to recipients
	Accepted, Sent   []string // changes
	Header, From, To string   // as sent
}

func (f fate) String() string {
	return fmt.Sprintf("%s %s\ndenied %q\naccepted %q\nsent %q\nfrom %s to %s\n%s", f.At, f.Refused, f.Denied, f.Accepted, f.Sent, f.From, f.To, f.Header)
}

// told is the fate as Explain tells it.
func (c *example) told(t *testing.T, file string) (f fate) {
	t.Helper()
	cfg, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	e, err := relay.Explain(t.Context(), cfg, relay.Submission{Account: c.identity.Account, User: c.identity.User, Addresses: c.identity.Addresses,
		Listener: c.listener, Address: c.client.Addr(), From: c.from, To: c.to, SMTPUTF8: c.smtputf8, Content: []byte(c.content), Offer: &c.offer})
	if err != nil {
		t.Fatal(err)
	}
	plain := func(changes []relay.Change) (all []message.Change) {
		for _, c := range changes {
			all = append(all, c.Change)
		}
		return all
	}
	for _, to := range e.To {
		if to.Refused != nil {
			f.Denied = append(f.Denied, to.Refused.String())
		}
	}
	if e.Refused != nil {
		f.At, f.Refused = e.At, e.Refused.String()
		if f.At == "RCPT" {
			f.Refused = "" // it is the server's own word
		}
		return f
	}
	u := e.Upstreams[0]
	f.Accepted, f.Sent = steady(plain(e.Changes)), steady(plain(u.Changes))
	f.Header, f.From, f.To = steadyText(u.Header), u.From, strings.Join(u.To, " ")
	if u.Refused != "" {
		t.Errorf("told that it is accepted and then not sent: %s", u.Refused)
	}
	return f
}

// isReport tells whether a header is that of a report, as about the first message
// where what the upstream offers was not yet known.
func isReport(header string) bool { return strings.Contains(header, "multipart/report") }

// happens is the fate that the running relay prepares, once it knows what the
// upstream offers.
func (c *example) happens(t *testing.T, r *running, host *host) fate {
	t.Helper()
	submit := c.submit
	if c.identity.User != "" || c.identity.Addresses != nil {
		submit = c.handIn
	}
	first, id := submit(t, r)
	if id == "" {
		return first
	}
	r.log.await(t, `"id":"`+id+`"`, `"attempts":1`)
	again, id := submit(t, r)
	if id == "" {
		return again
	}
	if line := r.log.await(t, `"id":"`+id+`"`, `"attempts":1`); !strings.Contains(line, `"msg":"delivered"`) {
		t.Fatalf("it was accepted, and then: %s", line)
	}
	sent := <-host.got
	for isReport(sent.header) || len(host.got) > 0 { // or that was the first
		if next := <-host.got; !isReport(next.header) {
			sent = next
		}
	}
	again.From, again.To, again.Header = sent.from, strings.Join(sent.to, " "), steadyText(sent.header)
	store, err := queue.OpenReadOnly(r.dir + "/data")
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	entry, err := store.Show(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for _, event := range entry.History {
		switch event.What {
		case "accepted":
			again.Accepted = steady(event.Changes)
		case "attempted":
			again.Sent = steady(event.Changes)
		}
	}
	return again
}

// submit goes through a session, behind a balancer that tells whose it is. id is
// that of the queue when it is accepted.
func (c *example) submit(t *testing.T, r *running) (f fate, id string) {
	t.Helper()
	conn, err := net.Dial("tcp", r.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "PROXY TCP4 %s 192.0.2.1 %d 587\r\n", c.client.Addr(), c.client.Port())
	client, err := netsmtp.NewClient(conn, "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Auth(netsmtp.PlainAuth("", c.identity.Account, "paper", "127.0.0.1")); err != nil {
		t.Fatal(err)
	}
	said := func(want int, format string, args ...any) (string, error) {
		if err := client.Text.PrintfLine(format, args...); err != nil {
			t.Fatal(err)
		}
		_, text, err := client.Text.ReadResponse(want)
		return text, err
	}
	parameter := map[bool]string{true: " SMTPUTF8"}[c.smtputf8]
	if _, err := said(250, "MAIL FROM:<%s>%s", c.from, parameter); err != nil {
		return fate{At: "MAIL", Refused: reply(err)}, ""
	}
	for _, to := range c.to {
		if _, err := said(250, "RCPT TO:<%s>", to); err != nil {
			f.Denied = append(f.Denied, reply(err))
		}
	}
	if len(f.Denied) == len(c.to) {
		f.At = "RCPT"
		return f, ""
	}
	if _, err := said(354, "DATA"); err != nil {
		t.Fatal(err)
	}
	w := client.Text.DotWriter()
	if _, err := io.WriteString(w, c.content); err != nil {
		t.Fatal(err)
	}
	w.Close()
	_, text, err := client.Text.ReadResponse(250)
	if err != nil {
		f.At, f.Refused = "DATA", reply(err)
		return f, ""
	}
	return f, text[strings.LastIndexByte(text, ' ')+1:]
}

func reply(err error) string {
	var refused *textproto.Error
	if errors.As(err, &refused) {
		return fmt.Sprintf("%d %s", refused.Code, refused.Msg)
	}
	return err.Error()
}

// handIn is what a session does for a person of a directory.
func (c *example) handIn(t *testing.T, r *running) (f fate, id string) {
	t.Helper()
	header, body, _ := strings.Cut(c.content, "\r\n\r\n")
	parsed, err := message.ParseHeader([]byte(header + "\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	m := &message.Message{ID: message.NewID(now), Received: now, Header: parsed, Body: message.Bytes(body), Envelope: message.Envelope{From: c.from},
		Client: message.Client{Identity: c.identity, Address: c.client, Extended: true, Hello: "localhost", Mechanism: "PLAIN", Listener: c.listener}}
	for _, to := range c.to {
		m.To = append(m.To, message.Recipient{Address: to})
	}
	if err := r.Accept(t.Context(), m); err != nil {
		return fate{At: "DATA", Refused: err.Error()}, ""
	}
	return f, m.ID
}

// Times and ids, the client's name and what TLS it used.
var unsteady = []struct {
	what *regexp.Regexp
	by   string
}{
	{regexp.MustCompile(`\AReceived: .*\r\n(?:[ \t].*\r\n)*`), "Received: ours\r\n"},
	{regexp.MustCompile(`(\r\nb|\s+b|; b)=[A-Za-z0-9+/=\s]+`), "$1=SIGNATURE"},
	{regexp.MustCompile(`\bt=\d+`), "t=NOW"},
	{regexp.MustCompile(`from (explain|localhost) `), "from CLIENT "},
	{regexp.MustCompile(` with (UTF8SMTP|ESMTP)S?A( tls \w+)?`), " with $1"},
	{regexp.MustCompile(`[A-Z][a-z][a-z], \d\d [A-Z][a-z][a-z] 20[2-9]\d \d\d:\d\d:\d\d [+-]\d{4}`), "NOW"},
	{regexp.MustCompile(`\b[0-9a-z]{16}\b`), "ID"},
}

func steadyText(s string) string {
	signature, rest := "", s
	if strings.HasPrefix(s, "DKIM-Signature:") {
		end := regexp.MustCompile(`\r\n[^ \t]`).FindStringIndex(s)[0] + 2
		signature, rest = s[:end], s[end:]
	}
	rest = unsteady[0].what.ReplaceAllString(rest, unsteady[0].by)
	for _, u := range unsteady[1:3] {
		signature = u.what.ReplaceAllString(signature, u.by)
	}
	for _, u := range unsteady[3:] {
		rest = u.what.ReplaceAllString(rest, u.by)
	}
	return signature + rest
}

func steady(changes []message.Change) (all []string) {
	for _, c := range changes {
		all = append(all, steadyText(fmt.Sprintf("%s %s %q %q", c.Rule, c.Field, c.Before, c.After)))
	}
	return all
}

// host is an SMTP server that offers what is said, and notes what it is given.
type host struct {
	address string
	got     chan sent
}

type sent struct {
	from, header string
	to           []string
}

func newHost(t *testing.T, o transport.Offer) *host {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &host{address: l.Addr().String(), got: make(chan sent, 10)}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			context.AfterFunc(ctx, func() { conn.Close() })
			go h.serve(conn, o)
		}
	}()
	t.Cleanup(func() { stop(); l.Close(); <-done })
	return h
}

func (h *host) serve(conn net.Conn, o transport.Offer) {
	defer conn.Close()
	in := textproto.NewReader(bufio.NewReader(conn))
	say := func(line string) { fmt.Fprintf(conn, "%s\r\n", line) }
	say("220 host")
	var m sent
	for {
		line, err := in.ReadLine()
		if err != nil {
			return
		}
		verb, rest, _ := strings.Cut(line, ":<")
		address, _, _ := strings.Cut(rest, ">")
		switch {
		case strings.HasPrefix(line, "EHLO"):
			say("250-host")
			if o.EightBit {
				say("250-8BITMIME")
			}
			if o.UTF8 {
				say("250-SMTPUTF8")
			}
			say("250 HELP")
		case verb == "MAIL FROM":
			m = sent{from: address}
			say("250 ok")
		case verb == "RCPT TO":
			m.to = append(m.to, address)
			say("250 ok")
		case line == "DATA":
			say("354 go on")
			content, err := readDotted(in.R)
			if err != nil {
				return
			}
			header, _, _ := bytes.Cut(content, []byte("\r\n\r\n"))
			m.header = string(header) + "\r\n"
			h.got <- m
			say("250 ok")
		default:
			say("250 ok")
		}
	}
}

// readDotted reads up to the lonely dot, octet by octet as it was sent.
func readDotted(r *bufio.Reader) ([]byte, error) {
	var all []byte
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return nil, err
		}
		if string(line) == ".\r\n" {
			return all, nil
		}
		all = append(all, bytes.TrimPrefix(line, []byte(".."))...)
	}
}
