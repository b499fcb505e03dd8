package relay_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"
)

// newNarrow is a smarthost that takes small mail in plain ASCII.
func newNarrow(t *testing.T) *smarthost {
	t.Helper()
	h := newSmarthost(t, "127.0.0.1:0")
	h.server.MaxMessageBytes = 2000
	return h
}

// heavy is more than a narrow smarthost takes.
func heavy(subject string) string { return fmt.Sprintf(scan, subject) + strings.Repeat("page\n", 1000) }

// What the refusals say.
const (
	tooLarge = "octets, and the mail server it goes through takes at most 2000"
	noUTF8   = "5.6.7 an address or the header is not plain ASCII, and the mail server it goes through does not offer SMTPUTF8"
)

// mustRefuse looks for a reply with that code and text.
func mustRefuse(t *testing.T, what string, err error, code int, text string) {
	t.Helper()
	reply := new(textproto.Error)
	if !errors.As(err, &reply) || reply.Code != code || !strings.Contains(reply.Msg, text) {
		t.Errorf("%s was answered %v", what, err)
	}
}

func TestWhatNoUpstreamCarriesIsRefusedInTheSession(t *testing.T) {
	host, numbers := newNarrow(t), freeAddress(t)
	r := start(t, through(host.address)+fmt.Sprintf("\nmetrics: {address: %q}", numbers))
	if err := r.submit(fmt.Sprintf(scan, "first")); err != nil { // brings EHLO
		t.Fatal(err)
	}
	host.receive(t, "Subject: first")

	mustRefuse(t, "a message over the limit", r.submit(heavy("heavy")), 552, tooLarge)
	mustRefuse(t, "an author in UTF-8", r.submit("From: jörg@example.com\n\nhello\n"), 550, "does not offer SMTPUTF8")
	command := func(line string) error {
		c := r.dial()
		defer c.Close()
		if strings.HasPrefix(line, "RCPT") {
			if err := c.Mail("scan@example.com"); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Text.PrintfLine("%s", line); err != nil {
			t.Fatal(err)
		}
		_, _, err := c.Text.ReadResponse(250)
		return err
	}
	mustRefuse(t, "a declared size over the limit", command("MAIL FROM:<scan@example.com> SIZE=5000"), 552, "the message has 5000 octets, and the mail server it goes through takes at most 2000")
	mustRefuse(t, "a return path in UTF-8", command("MAIL FROM:<jörg@example.com> SMTPUTF8"), 550, noUTF8)
	mustRefuse(t, "a recipient in UTF-8", command("RCPT TO:<jörg@example.org>"), 550, noUTF8)

	if err := r.submit(fmt.Sprintf(scan, "Grüße")); err != nil { // what can be encoded is
		t.Fatal(err)
	}
	if got := host.receive(t, "Subject:"); !strings.Contains(got, "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n") {
		t.Errorf("a subject in UTF-8 arrived as\n%s", got)
	}
	if err := r.submit(fmt.Sprintf(scan, "last")); err != nil {
		t.Fatal(err)
	}
	if got := host.receive(t, "Subject:"); !strings.Contains(got, "last") {
		t.Errorf("what was refused went out:\n%s", got)
	}
	if page := get(t, "http://"+numbers+"/metrics"); !strings.Contains(page, `postern_policy_refusals_total{rule="carry"} 5`) {
		t.Error("the five refusals are not counted")
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	http.DefaultClient.CloseIdleConnections()
	return string(b)
}

func TestTheFirstMessageLearnsWhatIsCarried(t *testing.T) {
	host := newNarrow(t)
	r := start(t, through(host.address))
	if err := r.submit(heavy("first")); err != nil {
		t.Fatal(err)
	}
	r.log.await(t, `"msg":"failed"`, "5.3.4", "takes at most 2000")
	mustRefuse(t, "the second", r.submit(heavy("second")), 552, tooLarge)
	r.configure(through(host.address))
	if err := r.Reload(r.configFile()); err != nil {
		t.Fatal(err)
	}
	mustRefuse(t, "the third, after a reload,", r.submit(heavy("third")), 552, tooLarge)
}

func TestTheUpstreamThatCanCarryAMessageSendsIt(t *testing.T) {
	narrow, wide := newNarrow(t), newSmarthost(t, "127.0.0.1:0")
	r := start(t, through(narrow.address, wide.address))
	for _, subject := range []string{"before the limit is known", "now that it is known"} {
		if err := r.submit(heavy(subject)); err != nil {
			t.Fatal(err)
		}
		wide.receive(t, subject)
		r.log.await(t, `"msg":"delivered"`, `"upstream":"two"`, `"attempts":1`)
	}
	if err := r.submit(fmt.Sprintf(scan, "small")); err != nil {
		t.Fatal(err)
	}
	if got := narrow.receive(t, "Subject:"); !strings.Contains(got, "small") {
		t.Errorf("the narrow upstream took\n%s", got)
	}
}

func TestMailWaitsForTheUpstreamThatCanCarryIt(t *testing.T) {
	narrow, address := newNarrow(t), freeAddress(t)
	r := start(t, through(narrow.address, address))
	if err := r.submit(heavy("patient")); err != nil {
		t.Fatal(err)
	}
	r.log.await(t, `"msg":"passed on"`, `"upstream":"one"`, `"attempts":0`, `5.3.4 the message has`, `"lane":"default/two"`)
	r.log.await(t, `"msg":"deferred"`, `"upstream":"two"`, `"attempts":1`)
	newSmarthost(t, address).receive(t, "Subject: patient")
	r.log.await(t, `"msg":"delivered"`, `"upstream":"two"`)
}

// sendsAs is through two upstreams, the first of which takes the mail of one
// sender and does with others as is said.
func sendsAs(otherwise, first, second string) string {
	return strings.Replace(through(first, second), "tls: none", "tls: none, mailbox: relay@example.com, otherwise: "+otherwise, 1)
}

func TestAnUpstreamRefusesAStrangerOrLeavesHimToTheNext(t *testing.T) {
	one, two := newSmarthost(t, "127.0.0.1:0"), newSmarthost(t, "127.0.0.1:0")
	r := start(t, sendsAs("next", one.address, two.address))
	if err := r.submit(fmt.Sprintf(scan, "for the next")); err != nil {
		t.Fatal(err)
	}
	two.receive(t, "Subject: for the next")

	r.configure(sendsAs("refuse", one.address, two.address))
	if err := r.Reload(r.configFile()); err != nil {
		t.Fatal(err)
	}
	mustRefuse(t, "a stranger", r.submit(fmt.Sprintf(scan, "for nobody")), 550, "5.7.1 upstream one does not send as <scan@example.com> (return path), only as relay@example.com")
}

// What was accepted for one upstream is not left to another that a reload puts
// after it, when the first refuses it now.
func TestMailThatAReloadMakesAStrangerOfFails(t *testing.T) {
	one, two := newSmarthost(t, "127.0.0.1:0"), newSmarthost(t, "127.0.0.1:0")
	one.fault = func(string, *smtp.Conn) error { return &smtp.SMTPError{Code: 451, Message: "not yet"} }
	r := start(t, through(one.address))
	if err := r.submit(fmt.Sprintf(scan, "early")); err != nil {
		t.Fatal(err)
	}
	r.log.await(t, `"msg":"deferred"`)
	r.configure(sendsAs("refuse", one.address, two.address))
	if err := r.Reload(r.configFile()); err != nil {
		t.Fatal(err)
	}
	r.log.await(t, `"msg":"failed"`, "5.7.1 upstream one does not send as <scan@example.com>")
	if len(two.got) != 0 {
		t.Error("it went out through the other upstream")
	}
}
