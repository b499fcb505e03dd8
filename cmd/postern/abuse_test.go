//go:build linux

package main_test

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// Clients of this machine that are not one another's neighbours.
var (
	home     = netip.MustParseAddr("127.0.0.10")
	stranger = netip.MustParseAddr("127.0.0.66")
)

// securedFrom is a session from one of the addresses of this machine that is
// ready for AUTH or MAIL.
func securedFrom(from netip.Addr, address string, roots *x509.CertPool) (*dialogue, error) {
	dialer := net.Dialer{Timeout: patience, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	conn, err := dialer.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	d, err := greet(conn)
	if err != nil {
		return nil, err
	}
	if err := steps(d.hello, func() error { return d.startTLS(roots) }, d.hello); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

// ban is an entry of "bans --json".
type ban struct{ Client, Account, Kind string }

func (r *relay) bans() (list []ban) {
	r.t.Helper()
	out, errs, code := postern(r.t, "bans", "--json", "--config", r.config)
	if code != 0 {
		r.t.Fatalf("bans: exit code %d: %s", code, errs)
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		r.t.Fatalf("bans: %v\n%s", err, out)
	}
	return list
}

// Fifty printers share one address, and one of them has a wrong password and
// retries for ever. The others log in and send, are not banned and do not wait.
func TestTheNeighboursOfAWrongPrinterGoOn(t *testing.T) {
	const printers = 49
	list := "\n" + account("wrong", needHash(t))
	for i := range printers {
		list += account(fmt.Sprint("printer-", i), needHash(t))
	}
	sink := startSink(t)
	relay := startRelay(t, sink.address, sink.upstreams().with(sections{"accounts": list, "policy": "{ban: {after: 3}}"}))
	roots := trust(t, needKeys(t).ca)

	over := make(chan struct{})
	var wrong sync.WaitGroup
	var failed, banned atomic.Int64
	wrong.Go(func() {
		for {
			select {
			case <-over:
				return
			default:
			}
			d, err := securedFrom(home, relay.address.submission, roots)
			if err != nil {
				t.Error(err)
				return
			}
			switch err := d.auth("wrong", "guess"); code(err) {
			case 535:
				failed.Add(1)
			case 454:
				banned.Add(1)
			default:
				t.Errorf("the wrong printer is told %v", err)
			}
			d.close()
		}
	})
	round := func() {
		for i := range printers {
			d, err := logInFrom(home, relay.address.submission, roots, fmt.Sprint("printer-", i))
			if err != nil {
				t.Fatalf("printer-%d: %v", i, err)
			}
			if _, _, err := d.send(newLetter("a page\r\n")); err != nil {
				t.Fatalf("printer-%d: %v", i, err)
			}
			d.close()
		}
	}
	round()
	await(t, "the wrong printer to be banned", func() bool { return banned.Load() > 10 })
	round()
	if got := relay.bans(); len(got) != 1 || got[0] != (ban{home.String(), "wrong", "account"}) {
		t.Errorf("banned are %+v", got)
	}
	close(over)
	wrong.Wait()
	t.Logf("the wrong printer was told %d times that its password is wrong and %d times that it is banned", failed.Load(), banned.Load())
	if failed.Load() != 3 {
		t.Errorf("its password was looked at %d times, want 3", failed.Load())
	}

	// Once somebody has corrected it, the ban can be lifted.
	if d, err := logInFrom(home, relay.address.submission, roots, "wrong"); code(err) != 454 {
		t.Errorf("the right password is told %v, want a 454", err)
		d.close()
	}
	out, errs, exit := postern(t, "bans", "--config", relay.config)
	if exit != 0 || !strings.Contains(out, "ADDRESS     ACCOUNT  UNTIL\n"+home.String()+"  wrong    ") {
		t.Errorf("bans: exit code %d, %s%s", exit, out, errs)
	}
	if out, errs, exit = postern(t, "bans", "lift", home.String(), "wrong", "--config", relay.config); exit != 0 || out != "1 lifted\n" {
		t.Errorf("bans lift: exit code %d, %s%s", exit, out, errs)
	}
	if _, errs, exit = postern(t, "bans", "lift", home.String(), "wrong", "--config", relay.config); exit != 1 || !strings.Contains(errs, "wrong is not banned from "+home.String()) {
		t.Errorf("bans lift again: exit code %d, %s", exit, errs)
	}
	if out, _, _ = postern(t, "bans", "--config", relay.config); out != "Nobody is banned.\n" {
		t.Errorf("bans: %s", out)
	}
	d, err := logInFrom(home, relay.address.submission, roots, "wrong")
	if err != nil {
		t.Fatalf("after that: %v", err)
	}
	d.close()
}

// A stranger tries ten thousand passwords, from as many connections as it may
// have. A few are looked at. A neighbour logs in all the while, and what the
// relay remembers stays small.
func TestTenThousandWrongPasswordsAreFewGuesses(t *testing.T) {
	const guesses, connections, after = 10_000, 100, 5
	sink := startSink(t)
	relay := startRelay(t, sink.address, sink.upstreams().with(sections{"policy": fmt.Sprintf("{ban: {after: %d}}", after)}))
	roots := trust(t, needKeys(t).ca)
	relay.session().close() // the known account

	var attack sync.WaitGroup
	var next, failed, banned atomic.Int64
	for range connections {
		attack.Go(func() {
			var d *dialogue
			defer func() {
				if d != nil {
					d.close()
				}
			}()
			for i := next.Add(1); i <= guesses; i = next.Add(1) {
				if d == nil {
					var err error
					if d, err = securedFrom(stranger, relay.address.submission, roots); err != nil {
						t.Error(err)
						return
					}
				}
				switch err := d.auth(user, fmt.Sprint("guess-", i)); code(err) {
				case 535:
					failed.Add(1)
				case 454:
					banned.Add(1)
				default:
					t.Errorf("guess %d is told %v", i, err)
					return
				}
			}
		})
	}
	over := make(chan struct{})
	go func() { attack.Wait(); close(over) }()
	waits := logInAgainAndAgain(t, relay, over)
	t.Logf("%d guesses were looked at, %d turned away; the neighbour logged in %d times meanwhile, within %v, half of them within %v",
		failed.Load(), banned.Load(), len(waits), waits[len(waits)-1], waits[len(waits)/2])
	if failed.Load() != after || failed.Load()+banned.Load() != guesses {
		t.Errorf("%d guesses were answered as wrong and %d as banned; want %d and all others", failed.Load(), banned.Load(), after)
	}
	mustFit(t, "resident at most", relay.memory("VmHWM"), mostWhileLarge)
	if d, err := logInFrom(stranger, relay.address.submission, roots, user); code(err) != 454 {
		t.Errorf("the right password is told %v, want a 454", err)
		d.close()
	}
	page, _ := relay.get("/metrics")
	for _, want := range []string{"postern_policy_bans 1\n", `postern_policy_bans_total{kind="account"} 1` + "\n", `postern_policy_bans_total{kind="address"} 0` + "\n"} {
		if !strings.Contains(page, want) {
			t.Errorf("the metrics lack %q", want)
		}
	}
}

// What an account has sent is known after a power cut.
func TestQuotasSurviveAPowerCut(t *testing.T) {
	sink := startSink(t)
	limited := strings.Replace("\n"+account(user, needHash(t)), "senders:", "limits: {messages: 5/d, recipients: 7/d}, senders:", 1)
	relay := startRelay(t, sink.address, sink.upstreams().with(sections{"accounts": limited}))
	send := func(recipients int) error {
		l := newLetter("a page\r\n")
		for i := 1; i < recipients; i++ {
			l.to = append(l.to, fmt.Sprintf("other%d@mail.example.com", i))
		}
		_, _, err := relay.session().send(l)
		return err
	}
	for range 3 {
		if err := send(1); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "the messages to be sent on, and so to have ended", func() bool { return sink.mails.Load() == 3 })
	relay.kill()
	relay.start()
	if err := send(5); code(err) != 450 || !strings.Contains(err.Error(), "its limit for recipients, 7 per day") {
		t.Errorf("too many recipients after the restart: %v", err)
	}
	for range 2 {
		if err := send(1); err != nil {
			t.Fatalf("what is left after the restart: %v", err)
		}
	}
	if err := send(1); code(err) != 450 || !strings.Contains(err.Error(), "its limit for messages, 5 per day (limits.messages of the account); try again after ") {
		t.Errorf("the sixth message: %v", err)
	}
	page, _ := relay.get("/metrics")
	for _, want := range []string{`postern_policy_limited_total{rule="messages"} 1`, `postern_policy_limited_total{rule="recipients"} 1`} {
		if !strings.Contains(page, want+"\n") {
			t.Errorf("the metrics lack %s", want)
		}
	}
}

// A device that cannot log in is known by its address, and by nothing else.
func TestATrustedDeviceSendsWithoutLoggingIn(t *testing.T) {
	needs(t, "swaks")
	sink := startSink(t)
	relay := startRelay(t, sink.address, sink.upstreams().with(sections{
		"accounts": fmt.Sprintf("[{name: copier, trusted: true, networks: [%s], senders: [%s]}]", home, sender)}))
	_, port, _ := net.SplitHostPort(relay.address.submission)
	copier := func(from netip.Addr, more ...string) (string, error) {
		cmd := exec.Command("swaks", append([]string{"--server", "localhost", "--port", port, "--local-interface", from.String(), "-4",
			"--from", sender, "--to", recipient, "--body", "a page"}, more...)...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := copier(home, "-tls"); err != nil || !strings.Contains(out, "queued as ") || strings.Contains(out, "> AUTH ") {
		t.Errorf("the copier: %v\n%s", err, out)
	}
	await(t, "its page to be sent on", func() bool { return sink.mails.Load() == 1 })
	for _, tt := range []struct {
		name string
		from netip.Addr
		more []string
		want string
	}{
		{"somebody else", stranger, []string{"-tls"}, "530 5.7.0 Authentication required"},
		{"the copier in clear", home, nil, "530 5.7.0 Must issue a STARTTLS command first"},
		{"the copier as the boss", home, []string{"-tls", "--from", "boss@example.com"}, "550 5.7.1 account copier may not send as <boss@example.com>"},
		{"the copier, with the boss in From", home, []string{"-tls", "--h-From", "boss@example.com"}, "550 5.7.1 account copier may not send as <boss@example.com>"},
	} {
		if out, err := copier(tt.from, tt.more...); err == nil || !strings.Contains(out, tt.want) {
			t.Errorf("%s: %v, want %s\n%s", tt.name, err, tt.want, out)
		}
	}
}

// The filter for fail2ban reads the log of a real relay: the failed logins and
// nothing else, whatever is typed.
func TestFail2banReadsTheLog(t *testing.T) {
	needs(t, "fail2ban-regex")
	for _, format := range []string{"json", "text"} {
		t.Run(format, func(t *testing.T) {
			sink := startSink(t)
			relay := prepareRelay(t, sink.address, sink.upstreams().with(sections{"log": "{format: " + format + "}", "policy": "{ban: {after: 2}}"}))
			relay.launch(nil)
			await(t, "the relay to start", func() bool { return relay.log.contains("listening") && listening(relay.address.submission) })
			roots := trust(t, needKeys(t).ca)
			relay.session().close()
			names := []string{user, user, `x","level":"WARN","msg":"login failed","client":"192.0.2.1",`, `msg="login failed" client=192.0.2.2 x`}
			for _, name := range names {
				d, err := securedFrom(stranger, relay.address.submission, roots)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := d.say(`EHLO ","msg":"login_failed","client":"192.0.2.3",`); err != nil {
					t.Fatal(err)
				}
				if err := d.auth(name, "guess"); code(err) != 535 {
					t.Errorf("%s is told %v", name, err)
				}
				d.close()
			}
			if d, err := logInFrom(stranger, relay.address.submission, roots, user); code(err) != 454 {
				t.Errorf("the banned one is told %v", err)
				d.close()
			}
			file := filepath.Join(workDir(t), "postern.log")
			writeFile(t, file, relay.log.String())
			out := mustRun(t, exec.Command("fail2ban-regex", "--out", "ip", file, "../../deploy/fail2ban/filter.d/postern.conf"))
			want := strings.TrimSpace(strings.Repeat(stranger.String()+"\n", len(names)))
			if strings.TrimSpace(out) != want {
				t.Errorf("fail2ban found\n%s\nwant\n%s", out, want)
			}
		})
	}
}

// The files for fail2ban are such as it takes.
func TestFail2banTakesTheJail(t *testing.T) {
	needs(t, "fail2ban-client")
	dir := filepath.Join(workDir(t), "fail2ban")
	mustRun(t, exec.Command("cp", "-r", "/etc/fail2ban", dir))
	mustRun(t, exec.Command("cp", "-r", "../../deploy/fail2ban/filter.d", "../../deploy/fail2ban/jail.d", dir))
	// The others of this machine are not ours to test.
	writeFile(t, filepath.Join(dir, "jail.d", "defaults-debian.conf"), "")
	out := mustRun(t, exec.Command("fail2ban-client", "-c", dir, "-d"))
	for _, want := range []string{"'addjournalmatch', '_SYSTEMD_UNIT=postern.service'", "['add', 'postern', 'systemd']"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not take %s:\n%s", want, out)
		}
	}
	said := mustRun(t, exec.Command("fail2ban-regex", "--datepattern", "{NONE}", "--out", "ip",
		`relay postern[42]: {"time":"2026-11-22T07:00:00.123456789Z","level":"WARN","msg":"login failed","client":"192.0.2.66","account":"printer"}`,
		filepath.Join(dir, "filter.d", "postern.conf")))
	if strings.TrimSpace(said) != "192.0.2.66" {
		t.Errorf("of a line of the journal it makes %q", said)
	}
}
