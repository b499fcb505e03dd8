package bounce_test

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"postern/relay/bounce"
	"postern/relay/message"
)

var (
	berlin = time.FixedZone("CET", 3600)
	sent   = time.Date(2026, 11, 20, 9, 15, 0, 0, berlin)
	later  = time.Date(2026, 11, 20, 9, 15, 2, 0, berlin)
	author = bounce.Author{Hostname: "relay.example.com", Postmaster: message.Address{Local: "it", Domain: "example.com"}}
)

func address(t testing.TB, s string) message.Address {
	t.Helper()
	a, err := message.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// original is a message from anna@example.com.
func original(t testing.TB, header, body string) *message.Message {
	t.Helper()
	h, err := message.ParseHeader([]byte(strings.ReplaceAll(header, "\n", "\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	return &message.Message{ID: "06f0000000000001", Received: sent, Header: h, Body: message.Bytes(strings.ReplaceAll(body, "\n", "\r\n")),
		Envelope: message.Envelope{From: address(t, "anna@example.com")}, Client: message.Client{Identity: message.Identity{Account: "office"}}}
}

const usualHeader = "From: Anna <anna@example.com>\nTo: bob@example.org\nSubject: Invoice 4711\nMessage-ID: <1@example.com>\n"

func usual(t testing.TB) *message.Message { return original(t, usualHeader, "Hello Bob.\n") }

// unknown is a recipient who was refused in the usual way.
func unknown(t testing.TB, to string) bounce.Case {
	return bounce.Case{Recipient: message.Recipient{Address: address(t, to)}, Upstream: "ses", Remote: "smtp.example.net", Attempt: later,
		Reply: message.Reply{Code: 550, Enhanced: "5.1.1", Text: "<" + to + ">: Recipient address rejected: User unknown"}}
}

// reportOf reports to the usual sender.
func reportOf(t testing.TB, action bounce.Action, cases ...bounce.Case) *message.Message {
	return author.Report(bounce.Report{ID: "06f0000000000002", Action: action, Original: usual(t), Cases: cases, At: later})
}

// read is a report taken apart by Go's readers of mail.
type read struct {
	header   mail.Header
	text     string
	status   []textproto.MIMEHeader // of the message, then of each recipient
	original string
	media    string // of the original
}

func parse(t testing.TB, m *message.Message) read {
	t.Helper()
	in, err := m.Open()
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := mail.ReadMessage(in)
	if err != nil {
		t.Fatalf("net/mail: %v", err)
	}
	media, params, err := mime.ParseMediaType(parsed.Header.Get("Content-Type"))
	if err != nil || media != "multipart/report" || params["report-type"] != "delivery-status" {
		t.Fatalf("%s %v, %v", media, params, err)
	}
	r := read{header: parsed.Header}
	parts := multipart.NewReader(parsed.Body, params["boundary"])
	for i := 0; ; i++ {
		part, err := parts.NextPart() // takes quoted-printable away
		if err == io.EOF {
			if i < 2 {
				t.Fatalf("%d parts", i)
			}
			return r
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(part)
		if err != nil {
			t.Fatal(err)
		}
		media := part.Header.Get("Content-Type")
		switch i {
		case 0:
			r.text = strings.ReplaceAll(string(content), "\r\n", "\n")
		case 1:
			if media != "message/delivery-status" {
				t.Fatalf("the second part is %s", media)
			}
			r.status = blocks(t, content)
		default:
			r.original, r.media = string(content), media
		}
	}
}

func blocks(t testing.TB, content []byte) (all []textproto.MIMEHeader) {
	t.Helper()
	for block := range bytes.SplitSeq(bytes.TrimSpace(content), []byte("\r\n\r\n")) {
		m, err := mail.ReadMessage(bytes.NewReader(append(append([]byte{}, block...), "\r\n\r\n"...)))
		if err != nil {
			t.Fatalf("%v in\n%s", err, block)
		}
		all = append(all, textproto.MIMEHeader(m.Header))
	}
	return all
}

func TestAReportSaysWhatHappened(t *testing.T) {
	m := reportOf(t, bounce.Failed, unknown(t, "bob@example.org"))
	if !m.From.IsNull() || len(m.To) != 1 || m.To[0].Address.String() != "anna@example.com" || m.To[0].Notify[0] != "NEVER" ||
		m.Return != "" || m.About != "06f0000000000001" || m.Client.Account != "office" {
		t.Errorf("the envelope is %+v of %+v", m.Envelope, m.Client)
	}
	r := parse(t, m)
	for name, want := range map[string]string{
		"From": "Mail Delivery System <it@example.com>", "To": "<anna@example.com>", "Subject": "Your message could not be delivered",
		"Message-Id": "<06f0000000000002@relay.example.com>", "In-Reply-To": "<1@example.com>", "Auto-Submitted": "auto-replied", "Mime-Version": "1.0",
	} {
		if got := r.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	mustBeFields(t, r.status[0], map[string]string{
		"Reporting-Mta": "dns; relay.example.com", "Arrival-Date": "Fri, 20 Nov 2026 09:15:00 +0100", "X-Postern-Queue-Id": "06f0000000000001",
	})
	mustBeFields(t, r.status[1], map[string]string{
		"Final-Recipient": "rfc822; bob@example.org", "Action": "failed", "Status": "5.1.1", "Remote-Mta": "dns; smtp.example.net",
		"Diagnostic-Code":   "smtp; 550 5.1.1 <bob@example.org>: Recipient address rejected: User unknown",
		"Last-Attempt-Date": "Fri, 20 Nov 2026 09:15:02 +0100",
	})
	if r.media != "text/rfc822-headers" || !strings.Contains(r.original, "Subject: Invoice 4711\r\n") || strings.Contains(r.original, "Hello") {
		t.Errorf("the original is shown as %s:\n%s", r.media, r.original)
	}
}

func mustBeFields(t *testing.T, got textproto.MIMEHeader, want map[string]string) {
	t.Helper()
	for name := range got {
		if got.Get(name) != want[name] {
			t.Errorf("%s: %q, want %q", name, got.Get(name), want[name])
		}
	}
	for name := range want {
		if got.Get(name) == "" {
			t.Errorf("%s is missing", name)
		}
	}
}

func TestWhatTheSenderSaidComesBack(t *testing.T) {
	o := usual(t)
	o.EnvelopeID = "QQ314159"
	c := unknown(t, "bob@example.org")
	c.OriginalType, c.Original = "rfc822", "Bob@old.example"
	odd := unknown(t, "eve@example.org")
	odd.OriginalType, odd.Original = "x400", "/S=eve/\r\nInjected: yes"
	r := parse(t, author.Report(bounce.Report{ID: "06f0000000000002", Action: bounce.Failed, Original: o, Cases: []bounce.Case{c, odd}, At: later}))
	if got := r.status[0].Get("Original-Envelope-Id"); got != "QQ314159" {
		t.Errorf("Original-Envelope-Id: %q", got)
	}
	if got := r.status[1].Get("Original-Recipient"); got != "rfc822; Bob@old.example" {
		t.Errorf("Original-Recipient: %q", got)
	}
	if got := r.status[2]; got.Get("Original-Recipient") != "" || got.Get("Injected") != "" {
		t.Errorf("the second recipient is %v", got)
	}
}

func TestStatus(t *testing.T) {
	for _, c := range []struct {
		name    string
		action  bounce.Action
		reply   message.Reply
		expired bool
		remote  string
		want    string
		said    string
	}{
		{"the code of the reply", bounce.Failed, message.Reply{Code: 552, Enhanced: "5.2.2", Text: "full"}, false, "mx", "5.2.2", "smtp; 552 5.2.2 full"},
		{"a reply without a code", bounce.Failed, message.Reply{Code: 554, Text: "no"}, false, "mx", "5.0.0", "smtp; 554 no"},
		{"a code of another class", bounce.Failed, message.Reply{Code: 550, Enhanced: "4.7.1", Text: "no"}, false, "mx", "5.0.0", "smtp; 550 4.7.1 no"},
		{"a code that is none", bounce.Failed, message.Reply{Code: 550, Enhanced: "5.1.1\r\nX: y", Text: "no"}, false, "mx", "5.0.0", "smtp; 550 5.1.1 X: y no"},
		{"no more time", bounce.Failed, message.Reply{Code: 451, Enhanced: "4.7.1", Text: "later"}, true, "mx", "5.4.7", "smtp; 451 4.7.1 later"},
		{"our own word", bounce.Failed, message.Reply{Text: "connection refused"}, true, "mx", "5.4.7", "x-postern; connection refused"},
		{"no word at all", bounce.Failed, message.Reply{}, true, "mx", "5.4.7", ""},
		{"an HTTP API", bounce.Failed, message.Reply{Code: 400, Text: "ErrorInvalidRecipients"}, false, "", "5.0.0", "x-http; 400 ErrorInvalidRecipients"},
		{"late", bounce.Delayed, message.Reply{Code: 451, Enhanced: "4.3.2", Text: "later"}, false, "mx", "4.3.2", "smtp; 451 4.3.2 later"},
		{"late without a code", bounce.Delayed, message.Reply{Text: "timeout"}, false, "mx", "4.0.0", "x-postern; timeout"},
		{"passed on", bounce.Relayed, message.Reply{Code: 250, Enhanced: "2.1.5", Text: "ok"}, false, "mx", "2.1.5", "smtp; 250 2.1.5 ok"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := unknown(t, "bob@example.org")
			k.Reply, k.Expired, k.Remote = c.reply, c.expired, c.remote
			got := parse(t, reportOf(t, c.action, k)).status[1]
			if got.Get("Status") != c.want || got.Get("Diagnostic-Code") != c.said || got.Get("Action") != string(c.action) {
				t.Errorf("%v", got)
			}
		})
	}
}

// Addresses in other letters are ASCII for programs (RFC 6533) and as they are
// for people.
func TestAddressesInOtherLetters(t *testing.T) {
	o := original(t, "Subject: Grüße\nTo: <büro@example.org>\n", "Hallo\n")
	o.From = address(t, "jürgen@example.com")
	m := author.Report(bounce.Report{ID: "06f0000000000002", Action: bounce.Failed, Original: o, Cases: []bounce.Case{unknown(t, "büro+a@example.org")}, At: later})
	if !m.SMTPUTF8 || !m.NeedsSMTPUTF8() || m.Body.EightBit() {
		t.Errorf("SMTPUTF8 %v, %v, 8-bit %v", m.SMTPUTF8, m.NeedsSMTPUTF8(), m.Body.EightBit())
	}
	r := parse(t, m)
	if got := r.status[1].Get("Final-Recipient"); got != `utf-8; b\x{FC}ro\x{2B}a@example.org` {
		t.Errorf("Final-Recipient: %q", got)
	}
	if !strings.Contains(r.text, "büro+a@example.org") || !strings.Contains(r.text, `"Grüße"`) {
		t.Errorf("the text says\n%s", r.text)
	}
	if r.media != "message/global-headers" || !strings.Contains(r.original, "Subject: Grüße\r\n") {
		t.Errorf("the original is shown as %s:\n%s", r.media, r.original)
	}
}

func TestHowMuchOfTheOriginalComesBack(t *testing.T) {
	const whole, header = "message/rfc822", "text/rfc822-headers"
	for _, c := range []struct {
		name, ret, header, body string
		action                  bounce.Action
		want                    string
	}{
		{"nothing was said", "", usualHeader, "Hello\n", bounce.Failed, header},
		{"the header was asked for", "HDRS", usualHeader, "Hello\n", bounce.Failed, header},
		{"all was asked for", "FULL", usualHeader, "Hello\n", bounce.Failed, whole},
		{"all was asked for, with 8-bit text", "FULL", usualHeader, "Gr\xfc\xdfe\n", bounce.Failed, whole},
		{"all was asked for, of what is late", "FULL", usualHeader, "Hello\n", bounce.Delayed, header},
		{"it is large", "FULL", usualHeader, strings.Repeat("0123456789\n", 3000), bounce.Failed, header},
		{"its lines are too long", "FULL", usualHeader, strings.Repeat("x", 2000) + "\n", bounce.Failed, header},
		{"its header is in other letters", "FULL", "Subject: Grüße\n", "Hello\n", bounce.Failed, "message/global-headers"},
		{"its header is in letters of no known kind", "FULL", "Subject: Gr\xfc\xdfe\n", "Hello\n", bounce.Failed, header},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := original(t, c.header, c.body)
			o.Return = c.ret
			m := author.Report(bounce.Report{ID: "06f0000000000002", Action: c.action, Original: o, Cases: []bounce.Case{unknown(t, "bob@example.org")}, At: later})
			r := parse(t, m)
			want := strings.ReplaceAll(c.header, "\n", "\r\n")
			if c.want == whole {
				want += "\r\n" + strings.ReplaceAll(c.body, "\n", "\r\n")
			}
			if r.media != c.want || r.original != want {
				t.Errorf("%s:\n%q, want\n%q", r.media, r.original, want)
			}
			if c.want != whole && m.Body.EightBit() {
				t.Error("the report needs 8BITMIME")
			}
		})
	}
}

func TestWhatCannotBeReadDoesNotComeBack(t *testing.T) {
	o := usual(t)
	o.Header, o.Body = nil, nil
	r := parse(t, author.Report(bounce.Report{ID: "06f0000000000002", Action: bounce.Failed, Original: o, Cases: []bounce.Case{unknown(t, "bob@example.org")}, At: later}))
	if r.media != "" || len(r.status) != 2 || !strings.Contains(r.text, "bob@example.org") {
		t.Errorf("%+v", r)
	}
}

func TestWithoutAPostmasterTheHostWrites(t *testing.T) {
	host := bounce.Author{Hostname: "relay.example.com"}
	r := parse(t, host.Report(bounce.Report{ID: "06f0000000000002", Action: bounce.Failed, Original: usual(t), Cases: []bounce.Case{unknown(t, "bob@example.org")}, At: later}))
	if got := r.header.Get("From"); got != "Mail Delivery System <MAILER-DAEMON@relay.example.com>" {
		t.Errorf("From: %s", got)
	}
}

func TestWanted(t *testing.T) {
	for _, c := range []struct {
		notify                    string
		failed, delayed, relayeds bool
	}{
		{"", true, true, false},
		{"NEVER", false, false, false},
		{"FAILURE", true, false, false},
		{"DELAY", false, true, false},
		{"SUCCESS", false, false, true},
		{"SUCCESS FAILURE DELAY", true, true, true},
	} {
		n := strings.Fields(c.notify)
		if bounce.Wanted(bounce.Failed, n) != c.failed || bounce.Wanted(bounce.Delayed, n) != c.delayed || bounce.Wanted(bounce.Relayed, n) != c.relayeds {
			t.Errorf("NOTIFY=%s", c.notify)
		}
	}
}

func TestPolicy(t *testing.T) {
	for _, c := range []struct {
		name                string
		written             string
		trusted, postmaster bool
		want                string
	}{
		{"people are told themselves", "", false, true, bounce.DSN},
		{"nobody reads the mail of a device that cannot log in", "", true, true, bounce.Digest},
		{"but without a postmaster there is nobody else", "", true, false, bounce.DSN},
		{"what is written counts", "none", true, true, bounce.None},
	} {
		if got := (bounce.Account{Bounce: c.written}).Policy(c.trusted, c.postmaster); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
