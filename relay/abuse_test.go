package relay_test

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	netsmtp "net/smtp"
	"net/textproto"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postern/relay/config"
)

// account is an entry of accounts, with the password "paper" and what else is
// written.
func account(name, rest string) string {
	return fmt.Sprintf(`{name: %s, password_hash: "%s", senders: ["@example.com"], %s}`, name, paperHash, rest)
}

// mustBe checks that err is a reply that begins so.
func mustBe(t *testing.T, err error, reply string) {
	t.Helper()
	if !strings.HasPrefix(told(err), reply) {
		t.Errorf("the answer is %v, want %s", err, reply)
	}
}

// told is a reply as it was read.
func told(err error) string {
	var r *textproto.Error
	if errors.As(err, &r) {
		return fmt.Sprint(r.Code, " ", r.Msg)
	}
	return fmt.Sprint(err)
}

const full = "450 4.7.1 account printer has reached its limit for "

func TestALimitIsToldAtMailAndAtRcpt(t *testing.T) {
	host := newSmarthost(t, "127.0.0.1:0")
	r := startWith(t, account("printer", "limits: {messages: 3/d, recipients: 4/d}"), through(host.address))
	c := r.dial()
	send := func(recipients int) error {
		if err := c.Mail("scan@example.com"); err != nil {
			return err
		}
		var refused error
		for i := range recipients {
			refused = cmp.Or(refused, c.Rcpt(fmt.Sprintf("you%d@example.org", i)))
		}
		w, err := c.Data()
		if err != nil {
			return err
		}
		io.WriteString(w, fmt.Sprintf(strings.ReplaceAll(scan, "\n", "\r\n"), "limited"))
		return cmp.Or(w.Close(), refused)
	}
	if err := send(3); err != nil {
		t.Fatal(err)
	}
	mustBe(t, send(2), full+"recipients, 4 per day (limits.recipients of the account); try again after 20") // it went to one
	mustBe(t, send(1), "502")                                                                               // to DATA, as there are no recipients
	if err := c.Reset(); err != nil {
		t.Fatal(err)
	}
	r.configureAs(account("printer", "limits: {messages: 2/d}"), through(host.address))
	if err := r.Reload(r.configFile()); err != nil {
		t.Fatal(err)
	}
	mustBe(t, c.Mail("scan@example.com"), full+"messages, 2 per day (limits.messages of the account); try again after 20")
	r.log.await(t, `"msg":"refused"`, `"account":"printer"`, "its limit for messages, 2 per day")
	for range 2 {
		host.receive(t, "limited")
	}
}

// Sessions side by side are told at MAIL that there is room, and yet no more is
// accepted than there is.
func TestSessionsSideBySideStayWithinALimit(t *testing.T) {
	host := newSmarthost(t, "127.0.0.1:0")
	r := startWith(t, account("printer", "limits: {messages: 10/d}"), through(host.address))
	const sessions = 32
	var begun, all sync.WaitGroup
	var accepted, refused atomic.Int32
	begun.Add(sessions)
	for range sessions {
		c := r.dial()
		all.Go(func() {
			err := cmp.Or(c.Mail("scan@example.com"), c.Rcpt("you@example.org"))
			begun.Done()
			if err != nil {
				t.Error(err)
				return
			}
			begun.Wait()
			w, err := c.Data()
			if err != nil {
				t.Error(err)
				return
			}
			io.WriteString(w, fmt.Sprintf(strings.ReplaceAll(scan, "\n", "\r\n"), "many"))
			if err := w.Close(); err == nil {
				accepted.Add(1)
			} else if strings.HasPrefix(told(err), full+"messages, 10 per day") {
				refused.Add(1)
			} else {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if accepted.Load() != 10 || refused.Load() != sessions-10 {
		t.Errorf("%d were accepted and %d refused; want 10 and %d", accepted.Load(), refused.Load(), sessions-10)
	}
}

func TestATrustedDeviceNeedNotLogIn(t *testing.T) {
	host := newSmarthost(t, "127.0.0.1:0")
	r := startWith(t, `{name: printer, trusted: true, networks: [127.0.0.0/8], senders: [scan@example.com], recipients: ["@example.org"], limits: {messages: 1/d}}`, through(host.address))
	c := r.connect()
	mustBe(t, c.Mail("boss@example.com"), "550 5.7.1 account printer may not send as <boss@example.com>")
	if err := c.Mail("scan@example.com"); err != nil {
		t.Fatal(err)
	}
	mustBe(t, c.Rcpt("you@example.net"), "550 5.7.1 account printer may not send to <you@example.net>")
	if err := c.Rcpt("you@example.org"); err != nil {
		t.Fatal(err)
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, fmt.Sprintf(strings.ReplaceAll(scan, "\n", "\r\n"), "trusted"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	host.receive(t, "Subject: trusted")
	r.log.await(t, `"msg":"accepted"`, `"account":"printer"`)
	mustBe(t, c.Mail("scan@example.com"), full+"messages, 1 per day")

	clear, err := netsmtp.Dial(r.address)
	if err != nil {
		t.Fatal(err)
	}
	defer clear.Close()
	mustBe(t, clear.Mail("scan@example.com"), "530 5.7.0 Must issue a STARTTLS command first")

	r.configureAs(account("printer", "networks: [127.0.0.0/8]"), through(host.address))
	if err := r.Reload(r.configFile()); err != nil {
		t.Fatal(err)
	}
	mustBe(t, r.connect().Mail("scan@example.com"), "530 5.7.0 Authentication required")
}

func TestAReloadIntoAnOpenRelayIsRefused(t *testing.T) {
	host := newSmarthost(t, "127.0.0.1:0")
	r := start(t, through(host.address))
	r.configureAs(`{name: printer, trusted: true, networks: [0.0.0.0/1, 128.0.0.0/1], senders: ["@example.com"]}`, through(host.address))
	err := r.Reload(r.configFile())
	if err == nil || !strings.Contains(err.Error(), "through listener submission anybody in 0.0.0.0/1, 128.0.0.0/1 could send as account printer without a password") {
		t.Errorf("the reload says %v", err)
	}
	mustBe(t, r.connect().Mail("scan@example.com"), "530")
	if _, err := config.Load(r.configFile()); err == nil {
		t.Error("and would start with it")
	}
}

// A wrong password bans its name from there, whatever the next one is; other
// names go on.
func TestABanIsToldWithItsEnd(t *testing.T) {
	r := startWith(t, account("printer", "")+", "+account("scanner", ""), through(away)+"\npolicy: {ban: {after: 2}}")
	mustBe(t, r.logIn("printer", "wrong"), "535")
	mustBe(t, r.logIn("printer", "wrong"), "535")
	err := r.logIn("printer", "paper")
	mustBe(t, err, "454 4.7.0 Too many failed logins as this user from your address")
	if !regexp.MustCompile(`after ` + time.Now().UTC().Format("2006") + `-\d\d-\d\d \d\d:\d\d:\d\d UTC$`).MatchString(told(err)) {
		t.Errorf("no time is told: %v", err)
	}
	if err := r.logIn("scanner", "paper"); err != nil {
		t.Errorf("its neighbour: %v", err)
	}
	r.log.await(t, `"msg":"account banned"`, `"client":"127.0.0.1"`, `"account":"printer"`)
}

// An address from which many names fail is turned away at the door, unless it is
// known to be one of ours.
func TestManyNamesBanTheirAddress(t *testing.T) {
	accounts := account("printer", "")
	limits := through(away) + "\npolicy: {ban: {after: 2}}"
	r := startWith(t, accounts, limits)
	before := r.connect()
	for i := range 4 {
		mustBe(t, r.logIn(fmt.Sprint("user", i), "wrong"), "535")
	}
	r.log.await(t, `"msg":"address banned"`, `"client":"127.0.0.1"`)
	_, err := netsmtp.Dial(r.address)
	mustBe(t, err, "421 4.7.0 Too many failed logins from your address; try again after 20")
	r.log.await(t, `"msg":"connection refused"`, "421 4.7.0 Too many failed logins")
	mustBe(t, before.Auth(netsmtp.PlainAuth("", "printer", "paper", "127.0.0.1")), "454 4.7.0 Too many failed logins")

	r.configureAs(account("printer", "networks: [127.0.0.0/8]"), limits)
	if err := r.Reload(r.configFile()); err != nil {
		t.Fatal(err)
	}
	if err := r.logIn("printer", "paper"); err != nil {
		t.Errorf("from a network of the account: %v", err)
	}
}

func TestOneAddressHasSoManyConnections(t *testing.T) {
	one := through(away) + "\npolicy: {limits: {per_ip: {connections: 1}}}"
	r := startWith(t, account("printer", ""), one)
	if err := r.dial().Mail("scan@example.com"); err != nil { // in a transaction, so that it need not give way
		t.Fatal(err)
	}
	_, err := netsmtp.Dial(r.address)
	mustBe(t, err, "421 4.7.0 too many connections from your address")
	r.configure(strings.Replace(one, "connections: 1", "connections: 2", 1))
	if err := r.Reload(r.configFile()); err != nil {
		t.Fatal(err)
	}
	r.connect()
}

// configureAs writes a configuration with other accounts.
func (r *running) configureAs(accounts, upstreams string) {
	r.t.Helper()
	r.accounts = accounts
	r.configure(upstreams)
}

// connect opens a session under TLS that is not logged in.
func (r *running) connect() *netsmtp.Client {
	r.t.Helper()
	c, err := netsmtp.Dial(r.address)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	if err := c.StartTLS(&tls.Config{InsecureSkipVerify: true}); err != nil {
		r.t.Fatal(err)
	}
	return c
}

// logIn tries a password in a session of its own.
func (r *running) logIn(name, password string) error {
	r.t.Helper()
	c := r.connect()
	defer c.Close()
	return c.Auth(netsmtp.PlainAuth("", name, password, "127.0.0.1"))
}
