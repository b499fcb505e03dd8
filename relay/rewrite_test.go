package relay_test

import (
	"errors"
	"fmt"
	"io"
	netsmtp "net/smtp"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"
)

// write sends the content of a transaction whose recipients are told.
func write(c *netsmtp.Client, text string) error {
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, strings.ReplaceAll(text, "\n", "\r\n")); err != nil {
		return err
	}
	return w.Close()
}

const scansOnly = `{from: if_unauthorized, address: scan@example.com, keep_display_name: true, original_to: reply-to}`

// The boss is of a domain that the account may not send as.
const asBoss = "From: The Boss <ceo@example.net>\nSubject: %s\n\nPay this.\n"

func TestADeviceThatWritesAnotherNameIsRefusedOrSentAsItself(t *testing.T) {
	host := newSmarthost(t, "127.0.0.1:0")
	numbers := freeAddress(t)
	rest := through(host.address) + fmt.Sprintf("\nmetrics: {address: %q}", numbers)
	r := start(t, rest)
	for _, from := range []string{"ceo@example.net", "scan@example.com"} {
		c := r.dial()
		err := c.Mail(from)
		if err == nil {
			err = errors.Join(c.Rcpt("you@example.org"), write(c, fmt.Sprintf(asBoss, "refused")))
		}
		mustRefuse(t, "mail of the boss from "+from, err, 550, "5.7.1 account printer may not send as <ceo@example.net>")
		c.Close()
	}

	r.configure(rest + "\nrewrite: [" + scansOnly + "]")
	if err := r.Reload(r.configFile()); err != nil {
		t.Fatal(err)
	}
	if page := get(t, "http://"+numbers+"/metrics"); !strings.Contains(page, `postern_rewrite_changes_total{rule="rewrite[0]"} 0`) {
		t.Error("the rule's changes are not counted from zero on")
	}
	c := r.dial()
	if err := errors.Join(c.Mail("ceo@example.net"), c.Rcpt("you@example.org"), write(c, fmt.Sprintf(asBoss, "mended"))); err != nil {
		t.Fatal(err)
	}
	got := host.receive(t, "Subject: ")
	if !strings.Contains(got, "\r\nFrom: The Boss <scan@example.com>\r\nSubject: mended\r\n") || !strings.Contains(got, "\r\nReply-To: The Boss <ceo@example.net>\r\n") {
		t.Errorf("what arrived:\n%s", got)
	}
	r.log.await(t, `"msg":"accepted"`, `"from":"scan@example.com"`, `"changes":"rewrite[0], rewrite[0], rewrite[0], date, message-id"`)
	if page := get(t, "http://"+numbers+"/metrics"); !strings.Contains(page, `postern_rewrite_changes_total{rule="rewrite[0]"} 3`) {
		t.Error("the three changes are not counted")
	}
}

func TestRecipientsAreRewrittenBeforePolicyAndRoute(t *testing.T) {
	host := newSmarthost(t, "127.0.0.1:0")
	numbers := freeAddress(t)
	r := start(t, through(host.address)+fmt.Sprintf("\nmetrics: {address: %q}", numbers)+`
policy: {limits: {recipients_per_message: 4}}
rewrite:
  - {recipient: "@competitor.example", deny: "no mail to competitors from here"}
  - {name: test-stage, recipient: "*", to: test@example.com}`)
	c := r.dial()
	if err := c.Mail("scan@example.com"); err != nil {
		t.Fatal(err)
	}
	mustRefuse(t, "a denied recipient", c.Rcpt("sales@Competitor.example"), 550, "5.7.1 no mail to competitors from here")
	for _, to := range []string{"ann@example.org", "bob@example.org", "carl@example.org"} {
		if err := c.Rcpt(to); err != nil {
			t.Fatal(err)
		}
	}
	if err := write(c, fmt.Sprintf(scan, "staged")); err != nil {
		t.Fatal(err)
	}
	if got := host.receive(t, "Subject: staged"); !strings.Contains(strings.ReplaceAll(got, "\r\n\t", " "), "for <test@example.com>;") {
		t.Errorf("Received names another:\n%s", got)
	}
	r.log.await(t, `"msg":"accepted"`, `"to":"test@example.com"`)
	r.log.await(t, `"msg":"delivered"`, `"to":"test@example.com"`)
	if len(host.got) != 0 {
		t.Error("one recipient was sent the message twice")
	}
	page := get(t, "http://"+numbers+"/metrics")
	for _, want := range []string{`postern_rewrite_changes_total{rule="test-stage"} 1`, `postern_policy_refusals_total{rule="rewrite"} 1`} {
		if !strings.Contains(page, want) {
			t.Errorf("%s is not among the numbers", want)
		}
	}
}

// What was decided at MAIL and RCPT is judged again with the rules in force.
func TestAReloadWithinATransactionIsNotHalfDone(t *testing.T) {
	host := newSmarthost(t, "127.0.0.1:0")
	r := start(t, through(host.address)+"\nrewrite: ["+scansOnly+"]")
	c := r.dial()
	if err := errors.Join(c.Mail("ceo@example.net"), c.Rcpt("you@example.org")); err != nil {
		t.Fatal(err)
	}
	r.configure(through(host.address))
	if err := r.Reload(r.configFile()); err != nil {
		t.Fatal(err)
	}
	mustRefuse(t, "the From that no rule replaces any more", write(c, fmt.Sprintf(asBoss, "between")), 550, "may not send as <ceo@example.net>")
	if err := r.submit(fmt.Sprintf(scan, "after")); err != nil {
		t.Fatal(err)
	}
	if got := host.receive(t, "Subject:"); !strings.Contains(got, "after") {
		t.Errorf("the refused message went out:\n%s", got)
	}
}

func TestChangesForAnUpstreamAreCounted(t *testing.T) {
	host, numbers := newSmarthost(t, "127.0.0.1:0"), freeAddress(t)
	refused := false
	host.fault = func(string, *smtp.Conn) error {
		if refused {
			return nil
		}
		refused = true
		return &smtp.SMTPError{Code: 451, Message: "not yet"}
	}
	forcing := strings.Replace(through(host.address), "tls: none", "tls: none, mailbox: relay@example.com, otherwise: force", 1)
	r := start(t, forcing+fmt.Sprintf("\nmetrics: {address: %q}", numbers))
	counted := func(rule string, n int) {
		t.Helper()
		if page := get(t, "http://"+numbers+"/metrics"); !strings.Contains(page, fmt.Sprintf("postern_rewrite_changes_total{rule=%q} %d\n", rule, n)) {
			t.Errorf("%s is not counted %d times", rule, n)
		}
	}
	for _, rule := range []string{"otherwise", "original_to", "8bitmime", "smtputf8", "envelope_headers", "repair.long_lines", "repair.line_endings"} {
		counted(rule, 0)
	}
	if err := r.submit(fmt.Sprintf(scan, "forced")); err != nil {
		t.Fatal(err)
	}
	host.receive(t, "From: Scanner <relay@example.com>")
	r.log.await(t, `"msg":"delivered"`, `"attempts":2`)
	counted("otherwise", 4) // return path and From, twice
	counted("original_to", 2)
}
