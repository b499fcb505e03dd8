package bounce_test

import (
	"bytes"
	"fmt"
	"io"
	"net/mail"
	"net/textproto"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"postern/relay/bounce"
	"postern/relay/message"
)

// hostile is a report in which everything that others chose is what they liked.
func hostile(t testing.TB, action bounce.Action, local, text, enhanced, original, kind, envelopeID, header, body, ret string, cases int) *message.Message {
	o := usual(t)
	if h, err := message.ParseHeader([]byte(header)); err == nil {
		o.Header = h
	}
	o.Body, o.EnvelopeID, o.Return = message.Bytes(body), envelopeID, ret
	to, err := message.NewAddress(local, "example.org")
	if err != nil {
		to = address(t, "bob@example.org")
	}
	o.From = to
	c := bounce.Case{Recipient: message.Recipient{Address: to, OriginalType: kind, Original: original}, Upstream: "ses", Remote: "smtp.example.net",
		Reply: message.Reply{Code: 550, Enhanced: enhanced, Text: text}, Attempt: later, Until: later}
	return author.Report(bounce.Report{ID: "06f0000000000002", Action: action, Original: o, Cases: slices.Repeat([]bounce.Case{c}, cases), At: later})
}

// Fields that may stand in a report and its status.
var (
	reportFields = []string{"Date", "From", "To", "Subject", "Message-Id", "In-Reply-To", "References", "Auto-Submitted", "Mime-Version", "Content-Type"}
	statusFields = []string{"Reporting-Mta", "Original-Envelope-Id", "Arrival-Date", "X-Postern-Queue-Id", "Original-Recipient", "Final-Recipient",
		"Action", "Status", "Remote-Mta", "Diagnostic-Code", "Last-Attempt-Date", "Will-Retry-Until"}
)

func mustBeKnown(t testing.TB, got map[string][]string, known []string) {
	t.Helper()
	for name, values := range got {
		if !slices.Contains(known, textproto.CanonicalMIMEHeaderKey(name)) || len(values) != 1 {
			t.Errorf("the field %s: %q", name, values)
		}
	}
}

// maxReport is more than any report takes, in octets.
const maxReport = 256 << 10

func FuzzReport(f *testing.F) {
	f.Add("bob", "User unknown", "5.1.1", "bob@example.org", "rfc822", "QQ1", usualHeader, "Hello\r\n", "FULL", 1)
	f.Add("a b\"\\", "evil\r\nX-Injected: yes\r\n\r\nbody", "5.1.1\r\nX: y", "x\r\nX-Injected: yes", "rfc822\r\nX: y", "id\r\nX: y",
		"Subject: =?utf-8?q?a=0D=0AX-Injected:_yes?=\r\nMessage-ID: <a\tb>\r\n", "--report--\r\n", "FULL", 3)
	f.Add("büro", strings.Repeat("x", 5000), "", strings.Repeat("+", 3000), "utf-8", strings.Repeat("e", 3000), "Subject: "+strings.Repeat("ü", 3000)+"\r\n", "\x00\xff\r\n", "HDRS", 50)
	f.Add("\u202egro.elpmaxe", "\u202e\x1b[31m", "4.0.0", "", "", "", "Subject: \u202e\x1b]0;x\x07\r\n", "", "", 2)
	f.Fuzz(func(t *testing.T, local, text, enhanced, original, kind, envelopeID, header, body, ret string, cases int) {
		if strings.Contains(header+body+text, "report-06f0000000000002") {
			return // the id, and so the boundary, is not to be guessed
		}
		cases = 1 + (cases%bounce.MaxCases+bounce.MaxCases)%bounce.MaxCases
		for _, action := range []bounce.Action{bounce.Failed, bounce.Delayed, bounce.Relayed} {
			m := hostile(t, action, local, text, enhanced, original, kind, envelopeID, header, body, ret, cases)
			r := parse(t, m)
			mustBeKnown(t, map[string][]string(r.header), reportFields)
			if len(r.status) != 1+cases {
				t.Fatalf("%d blocks for %d recipients", len(r.status), cases)
			}
			for _, block := range r.status {
				mustBeKnown(t, block, statusFields)
				for name := range block {
					if strings.ContainsFunc(block.Get(name), func(r rune) bool { return r < ' ' || r > '~' }) {
						t.Errorf("%s: %q", name, block.Get(name))
					}
				}
			}
			if strings.ContainsAny(r.text, "\r\x1b\x00\u202e") {
				t.Errorf("the text can do harm: %q", r.text)
			}
			mustBeSound(t, m)
		}
	})
}

// mustBeSound checks lines and size of a report.
func mustBeSound(t testing.TB, m *message.Message) {
	t.Helper()
	in, err := m.Open()
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	if len(content) > maxReport {
		t.Errorf("%d octets", len(content))
	}
	for line := range bytes.Lines(content) {
		if len(line) > 1000 {
			t.Errorf("a line of %d octets: %.100q", len(line), line)
		}
	}
	if _, err := mail.ReadMessage(bytes.NewReader(content)); err != nil {
		t.Error(err)
	}
}

// The largest report there can be: everything at its bound.
func TestAReportIsBounded(t *testing.T) {
	long := strings.Repeat("x", 64)
	m := hostile(t, bounce.Failed, long, strings.Repeat("no ", 100_000), "5.1.1", strings.Repeat("o", 10_000), "rfc822", strings.Repeat("e", 10_000),
		"Subject: "+strings.Repeat("s ", 100_000)+"\r\n", strings.Repeat("0123456789\r\n", 2700), "FULL", bounce.MaxCases)
	mustBeSound(t, m)
}

// Python reads mail in its own way, as do programs that collect reports.
func TestPythonReadsEveryReport(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		const sentence = "NOT TESTED: what Python reads of reports needs python3; run 'make tools' as root"
		if os.Getenv("CI") == "true" {
			t.Fatal(sentence)
		}
		fmt.Fprintln(os.Stderr, "\n***", sentence)
		t.Skip(sentence)
	}
	var all bytes.Buffer
	var want []string
	odd := []string{"", "plain", "a b", "büro", "x\r\nX-Injected: yes", "\x00\x1b\u202e", strings.Repeat("long ", 500), "=?utf-8?q?a=0D=0AX-Injected:_yes?=", "\xff\xfe", ";:<>@()\"\\,"}
	for i, o := range odd {
		for _, action := range []bounce.Action{bounce.Failed, bounce.Delayed, bounce.Relayed} {
			ret := []string{"", "FULL", "HDRS"}[i%3]
			m := hostile(t, action, o, o, o, o, "rfc822", o, "Subject: "+odd[(i+1)%len(odd)]+"\r\n", o+"\r\n", ret, 1+i)
			in, err := m.Open()
			if err != nil {
				t.Fatal(err)
			}
			content, err := io.ReadAll(in)
			if err != nil {
				t.Fatal(err)
			}
			all.WriteString(strconv.Itoa(len(content)) + "\n")
			all.Write(content)
			want = append(want, string(action)+" "+strconv.Itoa(1+i))
		}
	}
	cmd := exec.Command("python3", "testdata/read.py")
	cmd.Stdin = &all
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := strings.Fields(string(out)); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("read\n%q, want\n%q", got, want)
	}
}
