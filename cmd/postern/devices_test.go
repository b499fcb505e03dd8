//go:build linux

package main_test

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// dialFrom is dialTLS from another address of this machine, by TLS 1.2 and a
// suite that old devices know.
func dialFrom(t *testing.T, r *relay, address string) *dialogue {
	t.Helper()
	d := net.Dialer{Timeout: 10 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	conn, err := tls.DialWithDialer(&d, "tcp", r.address.submissions, &tls.Config{ServerName: "localhost", RootCAs: trust(t, needKeys(t).ca),
		MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}})
	if err != nil {
		t.Fatal(err)
	}
	old, err := greet(conn)
	if err != nil {
		t.Fatal(err)
	}
	return old
}

// capturing is a relay that needs no smarthost.
func capturing(t *testing.T) *relay {
	t.Helper()
	return startRelay(t, "127.0.0.1:9", sections{"upstreams": "[{name: sandbox, preset: capture}]", "routes": "[{name: default, upstreams: [sandbox]}]"})
}

// knownDevice is an entry of "devices --json", as far as these tests look.
type knownDevice struct {
	Account, Address, Hello, TLS, Cipher, Mechanism, Trouble, Hint string
	Messages                                                       int
}

// devices lists what is known, in the words of the command line, once want
// devices are.
func (r *relay) devices(want int, args ...string) (found []knownDevice) {
	r.t.Helper()
	await(r.t, "the sessions to end", func() bool {
		out, errs, code := postern(r.t, append([]string{"devices", "--json", "--config", r.config}, args...)...)
		if code != 0 {
			r.t.Fatalf("devices: exit code %d: %s", code, errs)
		}
		found = nil
		if err := json.Unmarshal([]byte(out), &found); err != nil {
			r.t.Fatalf("devices: %v\n%s", err, out)
		}
		return len(found) == want
	})
	return found
}

func TestWhichDeviceHoldsBackTheTLSFloor(t *testing.T) {
	relay := capturing(t)
	modern := relay.session()
	if _, _, err := modern.send(newLetter("A page.\r\n")); err != nil {
		t.Fatal(err)
	}
	modern.quit()
	old := dialFrom(t, relay, "127.0.0.2")
	if err := steps(old.hello, func() error { return old.auth(user, password) }, submitting(old, newLetter("An old page.\r\n")), old.quit); err != nil {
		t.Fatal(err)
	}
	wrong := dialFrom(t, relay, "127.0.0.3")
	if err := steps(wrong.hello, func() error { return wrong.auth(user, password+"x") }); code(err) != 535 {
		t.Fatal(err)
	}
	wrong.quit()

	all := relay.devices(3)
	if got := all[0]; got.Account != user || got.Address != "127.0.0.1" || got.TLS != "TLS 1.3" || got.Messages != 1 || got.Trouble != "" {
		t.Errorf("the modern one is %+v", got)
	}
	if got := all[1]; got.Account != user || got.Address != "127.0.0.2" || got.Cipher != "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" || got.Mechanism != "PLAIN" || got.Hello != "client.example.com" {
		t.Errorf("the old one is %+v", got)
	}
	if got := all[2]; got.Account != "" || got.Address != "127.0.0.3" || !strings.HasPrefix(got.Trouble, "AUTH PLAIN: 535") || got.Hint == "" {
		t.Errorf("the wrong one is %+v", got)
	}
	for _, row := range []struct {
		args []string
		want int
	}{{[]string{"--below", "1.3"}, 2}, {[]string{"--below", "1.2"}, 0}, {[]string{user}, 2}, {[]string{"127.0.0.2"}, 1}, {[]string{user, "--below", "1.3"}, 1}} {
		relay.devices(row.want, row.args...)
	}
	if numbers, _ := relay.get("/metrics"); !strings.Contains(numbers, `postern_devices{version="1.2"} 1`) || !strings.Contains(numbers, `postern_devices{version="1.3"} 1`) {
		t.Error("the metrics do not tell how many devices speak which version")
	}
	table, _, _ := postern(t, "devices", "--config", relay.config)
	for line := range strings.Lines(table) {
		if len(line) > 81 {
			t.Errorf("a line of the table has %d columns: %s", len(line)-1, line)
		}
	}
	for _, want := range []string{"printer          127.0.0.2", "1.2       1  client.example.com", "-                127.0.0.3", "ago: AUTH PLAIN: 535 5.7.8", "    try: the user name or password"} {
		if !strings.Contains(table, want) {
			t.Errorf("the table lacks %q:\n%s", want, table)
		}
	}

	// It is known when the relay is down, and when it comes back.
	relay.stop()
	_, said, _ := postern(t, "devices", "--config", relay.config)
	if got := relay.devices(3); !strings.Contains(said, "No relay runs") || got[1] != all[1] {
		t.Errorf("without a relay: %q, %+v", said, got)
	}
	relay.start()
	if got := relay.devices(3); got[2] != all[2] {
		t.Errorf("after a restart: %+v", got)
	}
}

// What is said in a session can be seen, without what is secret: the password,
// right or wrong, in whatever form, and the message.
func TestASessionIsRecordedWithoutSecrets(t *testing.T) {
	relay := capturing(t)
	record := func(who string) {
		t.Helper()
		if _, errs, code := postern(t, "devices", "record", "--no-wait", who, "--config", relay.config); code != 0 {
			t.Fatalf("record %s: exit code %d: %s", who, code, errs)
		}
	}
	transcript := func(who string) (said string) {
		t.Helper()
		await(t, "the session to end", func() bool {
			out, errs, code := postern(t, "devices", "transcript", who, "--config", relay.config)
			if code != 0 && !strings.Contains(errs, "has ended yet") {
				t.Fatalf("transcript of %s: exit code %d: %s", who, code, errs)
			}
			said = out
			return code == 0
		})
		return said
	}
	const body, secret = "canary-body-61f0", "canary-typed-9d3e"

	record(strings.ToUpper(user))
	d := relay.session()
	if _, _, err := d.send(newLetter(body + "\r\n")); err != nil {
		t.Fatal(err)
	}
	d.quit()
	said := transcript(user)
	for _, want := range []string{"# 127.0.0.1, account printer, ended ", "\nS: 220 ", "\nC: EHLO client.example.com\n", "\nC: STARTTLS\n", "\n* TLS 1.3 with TLS_",
		"\nC: AUTH PLAIN ***\n", "\nS: 235 ", "\nC: MAIL FROM:<" + sender + ">", "\nS: 250 2.0.0 queued as ", "\nC: QUIT\n"} {
		if !strings.Contains(said, want) {
			t.Errorf("the transcript lacks %q:\n%s", want, said)
		}
	}
	if strings.Contains(said, body) || strings.Contains(said, "Subject") {
		t.Errorf("the transcript shows the message:\n%s", said)
	}

	// Somebody who cannot log in, and says the password at every wrong place.
	record("127.0.0.3")
	wrong := dialFrom(t, relay, "127.0.0.3")
	for _, line := range []string{"EHLO x", "AUTH LOGIN", b64(user), b64(secret), "AUTH PLAIN " + b64("\x00"+user+"\x00"+secret),
		secret, b64(secret), "USER " + secret, "NOOP " + secret, "RSET " + secret} {
		wrong.say("%s", line) // whatever the answer is
	}
	wrong.quit()
	said = transcript("127.0.0.3")
	if !strings.Contains(said, "\nC: AUTH LOGIN\n") || !strings.Contains(said, "\nS: 535 ") {
		t.Errorf("the transcript lacks the login:\n%s", said)
	}
	for _, form := range []string{secret, b64(secret), b64("\x00" + user + "\x00" + secret)} {
		if strings.Contains(said, form) {
			t.Errorf("the transcript shows what was typed as password:\n%s", said)
		}
	}
	if relay.log.contains(secret) || relay.log.contains(body) {
		t.Error("the log shows it")
	}
	if _, errs, code := postern(t, "devices", "record", "nobody", "--config", relay.config); code != 1 || !strings.Contains(errs, "neither an account nor the IP address") {
		t.Errorf("recording nobody: exit code %d, %s", code, errs)
	}
}

// "devices record" waits for the session and prints it.
func TestRecordWaits(t *testing.T) {
	relay := capturing(t)
	cmd := exec.Command(stage.postern, "devices", "record", user, "--config", relay.config)
	var out, errs logbook
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, "the recorder to be armed", func() bool { return errs.contains("The next session of printer is recorded") })
	relay.session().quit()
	if err := cmd.Wait(); err != nil || !out.contains("C: QUIT") {
		t.Errorf("%v: %s%s", err, &out, &errs)
	}
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestADamagedListOfDevicesIsSetAside(t *testing.T) {
	relay := capturing(t)
	relay.stop()
	path := filepath.Join(relay.dir, "data", "devices.json")
	writeFile(t, path, "[{")
	if _, errs, code := postern(t, "devices", "--config", relay.config); code != 1 || !strings.Contains(errs, "devices.json") {
		t.Errorf("without a relay: exit code %d, %s", code, errs)
	}
	relay.start()
	if got := string(readFile(t, path+".damaged")); got != "[{" {
		t.Errorf("set aside is %q", got)
	}
	if !relay.log.contains("it is set aside") {
		t.Error("the log does not say so")
	}
	relay.devices(0)
}
