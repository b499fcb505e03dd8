//go:build linux

package main_test

import (
	"bytes"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"

	"postern/auth/slapdtest"
)

const (
	personPassword = "canary-person-d81c5f7e20"
	personEntry    = `dn: uid=jdoe,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
objectClass: mailbox
uid: jdoe
cn: John Doe
sn: Doe
mail: jdoe@example.com
proxyAddresses: smtp:john@example.com
userPassword: ` + personPassword + "\n"
)

// withDirectory gives the people of s an account, beside the printer's.
func (r *relay) withDirectory(s *slapdtest.Server) sections {
	return sections{
		"accounts": "\n" + account(user, needHash(r.t)) + "  - {name: staff, own_addresses: true}\n",
		"auth": fmt.Sprintf(`
  directories:
    - url: "%s"
      ca: %s
      bind_dn: "%s"
      bind_password: %s
      base: "%s"
      account: staff
      timeout: 5s`, s.URL, s.CA, slapdtest.BindDN, slapdtest.BindPassword, slapdtest.Base),
	}
}

// swaksAs has swaks send l after logging in, and returns what was said.
func (r *relay) swaksAs(login, secret string, l letter) (said string, err error) {
	r.t.Helper()
	_, port, _ := net.SplitHostPort(r.address.submission)
	cmd := exec.Command("swaks", "--server", "localhost", "--port", port, "-tls", "--tls-verify", "--tls-ca-path", needKeys(r.t).ca,
		"--auth", "PLAIN", "--auth-user", login, "--auth-password", secret, "--from", l.from, "--to", l.to[0], "--data", "-")
	cmd.Stdin = bytes.NewReader(bytes.TrimSuffix(l.data, []byte("\r\n")))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// letterFrom is a letter of that author.
func letterFrom(author string) letter {
	l := newLetter("A page.\r\n")
	l.data = bytes.ReplaceAll(l.data, []byte(l.from), []byte(author))
	l.from = author
	return l
}

func TestPeopleOfADirectorySendAsThemselves(t *testing.T) {
	host := needSmarthost(t)
	needs(t, "slapd", "swaks")
	people := slapdtest.Start(t, personEntry)
	relay := prepareRelay(t, host.address, nil)
	relay.write(usualConfig(t, relay, host.address).with(relay.withDirectory(people)))
	relay.start()

	l := letterFrom("jdoe@example.com")
	if said, err := relay.swaksAs("JDoe", personPassword, l); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	mustBeIntact(t, l, host.mail.await(t, l.id))
	if !relay.log.contains(`"user":"jdoe"`) {
		t.Error("the log does not say which person it was")
	}
	bare := letter{id: newID(), from: "john@example.com", to: []string{recipient}}
	bare.data = []byte("Message-ID: <" + bare.id + ">\r\nSubject: no author\r\n\r\nA page.\r\n")
	if said, err := relay.swaksAs("jdoe", personPassword, bare); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if got := host.mail.await(t, bare.id); !bytes.Contains(got.data, []byte("From: jdoe@example.com\r\n")) {
		t.Errorf("a message without From arrived as\n%s", got.data)
	}
	for _, test := range []struct {
		name, login, secret string
		letter              letter
		want                string
	}{
		{"as somebody else", "jdoe", personPassword, letterFrom("boss@example.com"), "550 5.7.1 jdoe, by account staff, may not send as <boss@example.com>"},
		{"with a wrong password", "jdoe", personPassword + "x", l, "535 5.7.8"},
		{"as everybody", "*)(uid=*", personPassword, l, "535 5.7.8"},
	} {
		said, err := relay.swaksAs(test.login, test.secret, test.letter)
		if err == nil || !strings.Contains(said, test.want) {
			t.Errorf("%s: %v, want %s:\n%s", test.name, err, test.want, said)
		}
	}
	people.Stop()
	if said, err := relay.swaksAs("jdoe", personPassword+"y", l); err == nil || !strings.Contains(said, "454 4.7.0") {
		t.Errorf("without the directory: %v, want 454:\n%s", err, said)
	}
	mustPass(t, relay, host) // the printer has an account of its own
	people.Restart()
	again := letterFrom("jdoe@example.com")
	if said, err := relay.swaksAs("jdoe", personPassword, again); err != nil {
		t.Errorf("once the directory is back: %v\n%s", err, said)
	}
	for _, secret := range []string{personPassword, slapdtest.BindPassword} {
		if relay.log.contains(secret) {
			t.Errorf("the log shows %.14s...", secret)
		}
	}
}
