//go:build linux

package main_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// reload sends SIGHUP and waits until the log says how it went.
func (r *relay) reload(said string) {
	r.t.Helper()
	before := r.log.count(said)
	r.signal(syscall.SIGHUP)
	await(r.t, fmt.Sprintf("the log to say %q", said), func() bool { return r.log.count(said) > before })
}

const reloadRefused = "reload refused; the old configuration keeps running"

func TestAnAccountAddedByReloadMaySend(t *testing.T) {
	host := needSmarthost(t)
	relay := startRelay(t, host.address, nil)
	trusted := trust(t, needKeys(t).ca)
	newcomer := func() error {
		d, err := dialTLS(relay.address.submissions, trusted)
		if err != nil {
			return err
		}
		defer d.close()
		return steps(d.hello, func() error { return d.auth("copier", password) })
	}
	if err := newcomer(); code(err) != 535 {
		t.Fatalf("an account not yet there got %v, want a 535", err)
	}
	relay.write(usualConfig(t, relay, host.address).with(sections{
		"accounts": "\n" + account(user, needHash(t)) + account("copier", needHash(t)),
	}))
	relay.reload("reloaded")
	if err := newcomer(); err != nil {
		t.Errorf("the account added by the reload: %v", err)
	}
	mustPass(t, relay, host)
}

func TestABadFileLeavesTheOldConfigurationRunning(t *testing.T) {
	host := needSmarthost(t)
	relay := startRelay(t, host.address, nil)
	open := relay.session()
	relay.write(usualConfig(t, relay, host.address).with(sections{"queue": "{retri: [1s]}"}))
	relay.reload(reloadRefused)
	said := relay.log.tail(5)
	if !strings.Contains(said, relay.config+":") || !strings.Contains(said, "retri") {
		t.Errorf("the log does not say where the mistake is:\n%s", said)
	}
	if numbers, _ := relay.get("/metrics"); !strings.Contains(numbers, `postern_config_reloads_total{result="refused"} 1`) {
		t.Error("the refused reload is not counted")
	}
	l := newLetter("Still here.\r\n")
	if _, _, err := open.send(l); err != nil {
		t.Errorf("a session open before the reload: %v", err)
	}
	mustBeIntact(t, l, host.mail.await(t, l.id))

	if _, errs, status := postern(t, "reload", "--config", relay.config); status != 1 || !strings.Contains(errs, relay.config+":") || !strings.Contains(errs, "retri") {
		t.Errorf("postern reload ended with %d and said %s", status, errs)
	}

	relay.write(usualConfig(t, relay, host.address))
	relay.reload("reloaded")
	mustPass(t, relay, host)
	if out, errs, status := postern(t, "reload", "--config", relay.config); status != 0 || out != "reloaded\n" {
		t.Errorf("postern reload of a sound file ended with %d and said %s%s", status, out, errs)
	}
}

func TestACertificateIsReplacedWithoutCuttingSessions(t *testing.T) {
	host := needSmarthost(t)
	relay := prepareRelay(t, host.address, nil)
	mine := makeKeys(t, filepath.Join(relay.dir, "tls"))
	config := usualConfig(t, relay, host.address).with(sections{
		"tls": fmt.Sprintf("{certificates: [{certificate: %s, key: %s}]}", mine.certificate, mine.key),
	})
	relay.write(config)
	relay.start()
	open, err := logIn(relay.address.submission, trust(t, mine.ca))
	if err != nil {
		t.Fatal(err)
	}
	defer open.close()
	old := serial(t, relay.address.submissions, trust(t, mine.ca))

	next := makeKeys(t, filepath.Join(relay.dir, "tls-next"))
	for from, to := range map[string]string{next.certificate: mine.certificate, next.key: mine.key} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	relay.reload("reloaded")
	if got := serial(t, relay.address.submissions, trust(t, next.ca)); got == old {
		t.Error("a new session is still shown the old certificate")
	}
	l := newLetter("Sent in the session from before.\r\n")
	if _, _, err := open.send(l); err != nil {
		t.Errorf("the session open before: %v", err)
	}
	mustBeIntact(t, l, host.mail.await(t, l.id))
}

// serial is that of the certificate a server shows.
func serial(t testing.TB, address string, roots *x509.CertPool) string {
	t.Helper()
	d, err := dialTLS(address, roots)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	return d.conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
}

func TestSIGTERMFinishesWhatIsUnderWay(t *testing.T) {
	host := needSmarthost(t)
	relay := startRelay(t, host.address, nil)
	d := relay.session()
	l := newLetter("")
	if err := steps(saying(d, "MAIL FROM:<%s>", l.from), saying(d, "RCPT TO:<%s>", l.to[0]), saying(d, "DATA")); err != nil {
		t.Fatal(err)
	}
	relay.signal(syscall.SIGTERM)
	await(t, "the relay to say that it stops", func() bool { return relay.log.count("stopping") > 0 })
	if _, _, err := d.data(l.data); err != nil {
		t.Errorf("the message under way at SIGTERM: %v", err)
	}
	if code := relay.wait(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if relay.log.count("stopped") != 1 {
		t.Error(`the log does not end with "stopped"`)
	}
	if listening(relay.address.submission) {
		t.Error("the port is still open")
	}
	relay.start() // what was accepted and not yet sent goes out now
	mustBeIntact(t, l, host.mail.await(t, l.id))
	await(t, "the queue to be empty", func() bool { return len(relay.queue()) == 0 })
	if n := len(host.mail.copies(t, l.id)); n != 1 {
		t.Errorf("it arrived %d times, want once", n)
	}
}
