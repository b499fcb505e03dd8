package bounce_test

import (
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/relay/bounce"
	"postern/relay/message"
)

var update = flag.Bool("update", false, "write testdata anew")

// TestWords compares what people read with testdata/*.txt.
func TestWords(t *testing.T) {
	with := func(to string, change func(c *bounce.Case)) bounce.Case {
		c := unknown(t, to)
		change(&c)
		return c
	}
	said := func(code int, enhanced, text string) func(*bounce.Case) {
		return func(c *bounce.Case) { c.Reply = message.Reply{Code: code, Enhanced: enhanced, Text: text} }
	}
	expired := with("bob@example.org", func(c *bounce.Case) {
		said(451, "4.3.2", "try again later")(c)
		c.Expired = true
	})
	silent := with("bob@example.org", func(c *bounce.Case) {
		c.Reply, c.Expired = message.Reply{Text: "connect: dial tcp 192.0.2.1:587: connection refused; check its address and port"}, true
	})
	uncertain := with("bob@example.org", func(c *bounce.Case) {
		c.Reply, c.Expired, c.Uncertain = message.Reply{Enhanced: "4.4.2", Text: "no answer to the final dot, the mail may have been taken"}, true, true
	})
	late := with("bob@example.org", func(c *bounce.Case) {
		said(452, "4.2.2", "mailbox full")(c)
		c.Until = sent.Add(4 * 24 * time.Hour)
	})
	for name, c := range map[string]struct {
		action bounce.Action
		cases  []bounce.Case
	}{
		"unknown": {bounce.Failed, []bounce.Case{unknown(t, "bob@example.org")}},
		"several": {bounce.Failed, []bounce.Case{unknown(t, "bob@example.org"), with("eve@example.org", said(552, "5.2.2", "Mailbox full")),
			unknown(t, "joe@example.org"), with("ann@example.org", said(554, "", "rejected\nsee https://example.net/why"))}},
		"expired":   {bounce.Failed, []bounce.Case{expired}},
		"silent":    {bounce.Failed, []bounce.Case{silent}},
		"uncertain": {bounce.Failed, []bounce.Case{uncertain}},
		"late":      {bounce.Delayed, []bounce.Case{late}},
		"relayed":   {bounce.Relayed, []bounce.Case{with("bob@example.org", said(250, "2.0.0", "ok"))}},
	} {
		t.Run(name, func(t *testing.T) {
			m := author.Report(bounce.Report{ID: "06f0000000000002", Action: c.action, Original: usual(t), Cases: c.cases, At: sent.Add(50 * time.Hour)})
			r := parse(t, m)
			golden(t, name, "Subject: "+r.header.Get("Subject")+"\n\n"+r.text)
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("it says\n%s\nwant\n%s", got, want)
	}
}

// jargon is what an office worker need not know; the small print is for others.
var jargon = []string{"SMTP", "DSN", "MTA", "bounce", "upstream", "recipient", "envelope", "relay", "status"}

func TestPeopleReadNoJargon(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 7 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		if filepath.Base(file) == "digest.txt" {
			continue // it is for the postmaster
		}
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		words, _, found := strings.Cut(string(content), "\n--\n")
		if !found {
			t.Errorf("%s has no small print", file)
		}
		for _, word := range jargon {
			if strings.Contains(strings.ToLower(words), strings.ToLower(word)) {
				t.Errorf("%s speaks of %q", file, word)
			}
		}
	}
}

// A room that knows the upstream explains its replies better.
func TestAnUpstreamIsExplained(t *testing.T) {
	a := author
	a.Explain = func(upstream string, reply message.Reply) (meaning, hint string) {
		switch {
		case upstream == "m365" && reply.Enhanced == "5.7.60":
			return "This mailbox may not send under that name.", "grant SendAs."
		case upstream == "m365" && reply.Enhanced == "5.2.2":
			return "The quota is exceeded.", "see Get-Mailbox."
		}
		return "", ""
	}
	refused, full := unknown(t, "bob@example.org"), unknown(t, "joe@example.org")
	refused.Upstream, refused.Reply = "m365", message.Reply{Code: 550, Enhanced: "5.7.60", Text: "SendAsDenied"}
	full.Upstream, full.Reply = "m365", message.Reply{Code: 552, Enhanced: "5.2.2", Text: "over quota"}
	r := bounce.Report{ID: "06f0000000000002", Action: bounce.Failed, Original: usual(t), Cases: []bounce.Case{refused, full, unknown(t, "eve@example.org")}, At: later}
	text := parse(t, a.Report(r)).text
	for _, want := range []string{"This mailbox may not send under that name.", "Show this message to whoever looks after your mail.", "What helps: grant SendAs.",
		"The mailbox is full.", "What helps: see Get-Mailbox.", "There is no mailbox with this address."} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if strings.Contains(text, "quota is exceeded") {
		t.Errorf("what is the same everywhere is told in other words:\n%s", text)
	}
}

func TestDigest(t *testing.T) {
	fail := func(id, account, from, to, upstream string, reply message.Reply) bounce.Failure {
		c := bounce.Case{Recipient: message.Recipient{Address: address(t, to)}, Upstream: upstream, Remote: "smtp.example.net", Reply: reply}
		return bounce.Failure{At: sent, ID: id, Account: account, From: address(t, from), Case: c}
	}
	noUser := message.Reply{Code: 550, Enhanced: "5.1.1", Text: "User unknown"}
	failures := []bounce.Failure{
		fail("06f0000000000001", "printer-3f", "scan@example.com", "bob@example.org", "ses", message.Reply{Code: 552, Enhanced: "5.3.4", Text: "Message too long"}),
	}
	for i := range 7 {
		failures = append(failures, fail("06f000000000001"+string(rune('0'+i)), "erp", "noreply@example.com", "eve@example.org", "m365", noUser))
	}
	failures = append(failures, fail("06f0000000000020", "erp", "noreply@example.com", "eve@example.org", "ses", noUser))
	m := author.Digest("06f0000000000099", slices.Values(failures), later)
	if !m.From.IsNull() || m.To[0].Address.String() != "it@example.com" || m.About != "digest" || m.Header.Get("Auto-Submitted") != "auto-generated" {
		t.Errorf("%+v\n%s", m.Envelope, m.Header.Bytes())
	}
	in, err := m.Body.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	text := new(strings.Builder)
	if _, err := io.Copy(text, in); err != nil {
		t.Fatal(err)
	}
	golden(t, "digest", "Subject: "+m.Header.Get("Subject")+"\n\n"+strings.ReplaceAll(text.String(), "\r\n", "\n"))
}

// However much has failed, a digest is mail of a reasonable size that counts it.
func TestADigestIsBounded(t *testing.T) {
	m := author.Digest("06f0000000000099", func(yield func(bounce.Failure) bool) {
		for i := range 50_000 {
			c := unknown(t, "bob@example.org")
			c.Upstream = strings.Repeat("u", 50) + string(rune('a'+i%26)) + string(rune('a'+i/26%26))
			c.Reply.Text = strings.Repeat("no ", 10_000)
			if !yield(bounce.Failure{At: sent, ID: "06f0000000000001", Account: strings.Repeat("a", 10_000), From: address(t, "a@example.com"), Case: c}) {
				return
			}
		}
	}, later)
	if m.Body.Size() > 200<<10 {
		t.Errorf("%d octets", m.Body.Size())
	}
	if got := m.Header.Get("Subject"); got != "50000 messages could not be delivered" {
		t.Errorf("Subject: %s", got)
	}
}
