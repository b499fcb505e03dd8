//go:build linux

package main_test

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
)

// A copier that knows nothing but TLS 1.0 and RSA keys sends through the listener
// whose profile is for it, and through no other.
func TestAnOldCopierSendsThroughItsProfile(t *testing.T) {
	needs(t, "python3", "openssl", "gnutls-cli")
	sink := startSink(t)
	legacy := freeAddress(t)
	relay := prepareRelay(t, sink.address, sink.upstreams())
	relay.write(usualConfig(t, relay, sink.address).with(sink.upstreams()).with(sections{
		"listeners": fmt.Sprintf(`
  - {name: submission, address: "%s", tls: starttls}
  - {name: submissions, address: "%s", tls: implicit}
  - {name: copiers, address: "%s", tls: starttls, networks: [127.0.0.0/8], profile: old}`, relay.address.submission, relay.address.submissions, legacy),
		"profiles": `[{name: old, min_tls: "1.0", rsa_key_exchange: true, line_endings: repair}]`,
	}))
	relay.start()

	out, err := sendOld(t, legacy)
	if err != nil || !strings.Contains(out, "TLSv1 AES128-SHA") {
		t.Errorf("through the profile: %v\n%s", err, out)
	}
	if out, err := sendOld(t, relay.address.submission); err == nil {
		t.Errorf("it sends without the profile:\n%s", out)
	}
	if !relay.log.contains("at most TLS 1.0, which is not accepted") {
		t.Error("the log does not say why it was refused")
	}
	if old := relay.devices(1, user, "--below", "1.2")[0]; old.TLS != "TLS 1.0" || old.Cipher != "TLS_RSA_WITH_AES_128_CBC_SHA" || old.Messages != 1 {
		t.Errorf("postern devices does not name it: %+v", old)
	}
	accepted := relay.log.count("accepted")
	if accepted != 1 || !relay.log.contains("repair.line_endings") {
		t.Errorf("%d messages were accepted, want the one, with its line ends repaired", accepted)
	}

	for address, want := range map[string]bool{legacy: true, relay.address.submission: false} {
		mustServe(t, want, "Ciphersuite: AES128-GCM-SHA256", "openssl", "s_client", "-starttls", "smtp", "-connect", address,
			"-CAfile", needKeys(t).ca, "-verify_return_error", "-tls1_2", "-cipher", "AES128-GCM-SHA256:@SECLEVEL=0", "-brief")
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			t.Fatal(err)
		}
		mustServe(t, want, "(TLS1.0-X.509)-(RSA)-(AES-128-CBC)-(SHA1)", "gnutls-cli", "--starttls-proto=smtp", "--port="+port,
			"--x509cafile="+needKeys(t).ca, "--priority=NORMAL:-VERS-ALL:+VERS-TLS1.0:-KX-ALL:+RSA:-CIPHER-ALL:+AES-128-CBC", "localhost")
	}
}

// mustServe runs a program that sets up TLS, and says what it got if it does.
func mustServe(t *testing.T, want bool, says, program string, args ...string) {
	t.Helper()
	out, err := exec.Command(program, args...).CombinedOutput()
	if got := err == nil && strings.Contains(string(out), says); got != want {
		t.Errorf("%s %s: served is %v, want %v: %v\n%s", program, strings.Join(args, " "), got, want, err, out)
	}
}

// sendOld sends a letter with bare line feeds.
func sendOld(t *testing.T, address string) (string, error) {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("python3", "testdata/send_old.py", host, port, needKeys(t).ca, user, password, sender, recipient)
	cmd.Stdin = strings.NewReader("From: " + sender + "\r\nSubject: scan\r\n\r\npage\rpage\r\n")
	out, err := cmd.CombinedOutput()
	return string(out), err
}
