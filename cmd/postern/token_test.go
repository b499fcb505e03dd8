//go:build linux

package main_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// bearing is an app that logs in with a token.
func bearing(program, mechanism string, c submission, token string) *exec.Cmd {
	if program == "curl" {
		return exec.Command("curl", "--silent", "--show-error", "--ssl-reqd", "--cacert", c.ca, "--user", user, "--oauth2-bearer", token,
			"--login-options", "AUTH="+mechanism, "--mail-from", c.from, "--mail-rcpt", c.to[0],
			"--upload-file", c.file, "smtp://"+net.JoinHostPort(c.host, c.port)+"/client.example.com")
	}
	cmd := exec.Command("python3", "testdata/token.py", mechanism, c.host, c.port, c.ca, user, token, c.from, c.to[0])
	cmd.Stdin = bytes.NewReader(c.letter.data)
	return cmd
}

func TestAppsSendWithTokens(t *testing.T) {
	host, idp := needSmarthost(t), startAuthServer(t, "first")
	relay := startRelay(t, host.address, idp.sections(t))
	_, port, _ := net.SplitHostPort(relay.address.submission)
	for _, resource := range []string{jwtResource, opaqueResource} {
		token := idp.token("erp", resource, "smtp.send")
		for _, mechanism := range []string{"XOAUTH2", "OAUTHBEARER"} {
			for _, program := range []string{"curl", "python3"} {
				t.Run(program+" with "+mechanism+" for "+resource, func(t *testing.T) {
					needs(t, program)
					l := oddLetter(true)
					file := filepath.Join(workDir(t), "letter.eml")
					writeFile(t, file, string(l.data))
					mustRun(t, bearing(program, mechanism, submission{host: "localhost", port: port, ca: needKeys(t).ca, file: file, letter: l}, token))
					mustBeIntact(t, l, host.mail.await(t, l.id))
				})
			}
		}
	}
	idp.mustHideTokens(relay)
}

// bearer logs in with a token in a session of its own. The explanation is the
// JSON that comes before a refusal.
func (r *relay) bearer(mechanism, name, token string) (d *dialogue, explanation map[string]string, err error) {
	r.t.Helper()
	d, err = dialTLS(r.address.submissions, trust(r.t, needKeys(r.t).ca))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(d.close)
	if err := d.hello(); err != nil {
		r.t.Fatal(err)
	}
	response := "user=" + name + "\x01auth=Bearer " + token + "\x01\x01"
	if mechanism == "OAUTHBEARER" {
		response = "n,a=" + name + ",\x01auth=Bearer " + token + "\x01\x01"
	}
	text, err := d.say("AUTH %s %s", mechanism, base64.StdEncoding.EncodeToString([]byte(response)))
	if b, bad := base64.StdEncoding.DecodeString(text); err == nil && bad == nil && json.Unmarshal(b, &explanation) == nil {
		_, err = d.say("AQ==")
	}
	return d, explanation, err
}

// mustRefuse expects a 535 with these words, and the status in the explanation.
func (r *relay) mustRefuse(name, token, status, words string) {
	r.t.Helper()
	for _, mechanism := range []string{"XOAUTH2", "OAUTHBEARER"} {
		want := status
		if mechanism == "XOAUTH2" {
			want = map[string]string{"invalid_token": "401", "invalid_request": "400", "insufficient_scope": "403"}[status]
		}
		_, explanation, err := r.bearer(mechanism, name, token)
		if code(err) != 535 || !strings.Contains(err.Error(), "5.7.8 The token "+words) || explanation["status"] != want {
			r.t.Errorf("%s: got %v after %v, want 535 5.7.8 The token %s, after %s", mechanism, err, explanation, words, want)
		}
	}
}

// mustLogIn expects a session that is ready for MAIL.
func (r *relay) mustLogIn(name, token string) *dialogue {
	r.t.Helper()
	d, explanation, err := r.bearer("XOAUTH2", name, token)
	if err != nil {
		r.t.Fatalf("%v after %v", err, explanation)
	}
	return d
}

func TestWrongTokensAreRefused(t *testing.T) {
	host, idp := needSmarthost(t), startAuthServer(t, "first")
	relay := startRelay(t, host.address, idp.sections(t))
	good := idp.token("erp", jwtResource, "smtp.send")
	relay.mustLogIn("", good)
	relay.mustLogIn(strings.ToUpper(user), good)
	relay.mustRefuse("boss", good, "invalid_request", "is not for the user name given")
	for _, wrong := range []struct{ token, status, words string }{
		{good[:len(good)-8], "invalid_token", "is not signed by its issuer"},
		{idp.token("erp", "api://wiki", "smtp.send"), "invalid_token", "is meant for another service"},
		{idp.token("erp", "urn:opaque:wiki", "smtp.send"), "invalid_token", "is meant for another service"},
		{idp.token("erp", jwtResource, "other"), "insufficient_scope", "does not permit sending mail"},
		{idp.token("erp", opaqueResource, "other"), "insufficient_scope", "does not permit sending mail"},
		{"canary-no-token-at-all", "invalid_token", "is not valid, or not any more"},
	} {
		relay.mustRefuse(user, wrong.token, wrong.status, wrong.words)
		relay.mustLogIn(user, good) // so that the failures are forgotten, and nobody is banned
	}
	idp.mustHideTokens(relay)
}

func TestATokenIsOfNoUseASecondAfterItsEnd(t *testing.T) {
	host, idp := needSmarthost(t), startAuthServer(t, "first")
	relay := startRelay(t, host.address, idp.sections(t))
	var d *dialogue
	var token string
	await(t, "a token to be taken while it lives, which is four seconds", func() bool {
		token = idp.token("brief", jwtResource, "smtp.send")
		var err error
		d, _, err = relay.bearer("OAUTHBEARER", user, token)
		return err == nil
	})
	await(t, "the token to expire", func() bool { return time.Now().After(expiry(t, token).Add(time.Second)) })
	relay.mustRefuse(user, token, "invalid_token", "has expired")
	if _, err := d.say("MAIL FROM:<%s>", sender); code(err)/100 != 4 && code(err)/100 != 5 {
		t.Errorf("the session goes on after the token has expired: %v", err)
	}
}

func TestTokensWhileTheIssuerIsAway(t *testing.T) {
	host, idp := needSmarthost(t), startAuthServer(t, "first")
	relay := startRelay(t, host.address, idp.sections(t))
	old, opaque := idp.token("erp", jwtResource, "smtp.send"), idp.token("erp", opaqueResource, "smtp.send")
	relay.mustLogIn(user, old)
	idp.rotate("second")
	fresh := idp.token("erp", jwtResource, "smtp.send")
	idp.stop()

	if _, _, err := relay.mustLogIn(user, old).send(newLetter("Sent with a key that was kept.\r\n")); err != nil {
		t.Error(err)
	}
	for what, token := range map[string]string{"a token with a key that is not known": fresh, "one that must be asked about": opaque} {
		for _, mechanism := range []string{"XOAUTH2", "OAUTHBEARER"} {
			if _, explanation, err := relay.bearer(mechanism, user, token); code(err) != 454 || explanation != nil {
				t.Errorf("%s: got %v after %v, want 454 at once", what, err, explanation)
			}
		}
	}
	relay.mustRefuse(user, old[:len(old)-8], "invalid_token", "is not signed by its issuer")
	if n := relay.log.count("the keys of an issuer of tokens cannot be fetched"); n != 1 || !relay.log.contains(idp.issuer()) {
		t.Errorf("the trouble with the issuer was logged %d times, want 1", n)
	}
	idp.mustHideTokens(relay)
}

func TestTokensWithANewKeyAreTakenAtOnce(t *testing.T) {
	host, idp := needSmarthost(t), startAuthServer(t, "first")
	relay := startRelay(t, host.address, idp.sections(t))
	d := relay.mustLogIn(user, idp.token("erp", jwtResource, "smtp.send"))
	idp.rotate("second")
	relay.mustLogIn(user, idp.token("erp", jwtResource, "smtp.send"))
	if _, _, err := d.send(newLetter("The session goes on.\r\n")); err != nil {
		t.Error(err)
	}
}

func TestAnIssuerAwayAtTheStartStopsNothing(t *testing.T) {
	host, idp := needSmarthost(t), startAuthServer(t, "first")
	token := idp.token("erp", jwtResource, "smtp.send")
	idp.stop()
	relay := startRelay(t, host.address, idp.sections(t))
	await(t, "the log to name the issuer", func() bool {
		return relay.log.count("the keys of an issuer of tokens cannot be fetched") == 1 && relay.log.contains(fmt.Sprintf(`"issuer":%q`, idp.issuer()))
	})
	if _, _, err := relay.bearer("XOAUTH2", user, token); code(err) != 454 {
		t.Errorf("got %v, want 454", err)
	}
	mustPass(t, relay, host) // with a password
}
