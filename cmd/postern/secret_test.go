//go:build linux

package main_test

import (
	"encoding/base64"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// mustHideSecrets fails the test when output shows a secret of the suite. Every
// output of the binary that a test reads passes through here: logs, metrics,
// listings, checks, errors.
func mustHideSecrets(t testing.TB, what, output string) {
	t.Helper()
	for name, form := range secretForms() {
		if form != "" && strings.Contains(output, form) {
			t.Errorf("%s shows %s", what, name)
		}
	}
}

// secretForms are the passwords as they are and as they pass by in AUTH.
func secretForms() map[string]string {
	made.Lock()
	defer made.Unlock()
	b64 := base64.StdEncoding.EncodeToString
	return map[string]string{
		"the account's password":              password,
		"the account's password in base64":    b64([]byte(password)),
		"the account's AUTH PLAIN":            b64([]byte("\x00" + user + "\x00" + password)),
		"the account's password hash":         made.hash,
		"the upstream's password":             upstreamPassword,
		"the upstream's password in base64":   b64([]byte(upstreamPassword)),
		"the upstream's AUTH PLAIN in base64": b64([]byte("\x00" + upstreamUser + "\x00" + upstreamPassword)),
	}
}

// Everything that can be made to print is made to, at the most talkative level,
// also about failed logins on both sides.
func TestNoOutputShowsASecret(t *testing.T) {
	host := needSmarthost(t)
	relay := prepareRelay(t, host.address, nil)
	talkative := usualConfig(t, relay, host.address).with(sections{"log": "{level: debug}"})
	relay.write(talkative)
	relay.start()
	mustPass(t, relay, host)
	for _, attempt := range []func(d *dialogue) error{
		func(d *dialogue) error { return d.auth(user, password+"x") },
		func(d *dialogue) error { return d.auth(password, password) },
		saySecret("AUTH PLAIN " + password),
		saySecret(password),
		saySecret("MAIL FROM:<" + password + "@elsewhere.example> AUTH=" + password),
	} {
		d, err := dialTLS(relay.address.submissions, trust(t, needKeys(t).ca))
		if err != nil {
			t.Fatal(err)
		}
		if err := steps(d.hello, func() error { return attempt(d) }); code(err) < 400 {
			t.Errorf("got %v, want a refusal", err)
		}
		d.close()
	}
	id, _, err := relay.session().send(newLetter("To be looked at.\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	relay.show(id)
	for _, page := range []string{"/metrics", "/healthz", "/readyz"} {
		relay.get(page)
	}
	for _, command := range [][]string{{"check"}, {"check", "--print"}, {"queue", "list", "--all"}, {"queue", "list", "--all", "--json"}, {"queue", "show", id}} {
		if _, errs, code := postern(t, append(command, "--config", relay.config)...); code != 0 {
			t.Errorf("postern %q: exit code %d: %s", command, code, errs)
		}
	}

	// The smarthost refuses the password, and its reply is logged.
	relay.write(talkative.with(sections{"upstreams": strings.ReplaceAll(talkative["upstreams"], upstreamPassword, password)}))
	relay.reload("reloaded")
	if _, _, err := relay.session().send(newLetter("It waits.\r\n")); err != nil {
		t.Fatal(err)
	}
	await(t, "the refused login to be logged", func() bool { return relay.log.contains("535") })
	relay.write(talkative)
	relay.reload("reloaded")
	await(t, "the queue to be empty", func() bool { return len(relay.queue()) == 0 })

	// A mistake next to a secret is told without it.
	relay.write(talkative.with(sections{"accounts": "[{name: printer, password_hash: [" + password + "]}]", "password": password}))
	if _, errs, code := postern(t, "check", "--config", relay.config); code != 1 || !strings.Contains(errs, "password") {
		t.Errorf("check of a bad file: exit code %d, %q", code, errs)
	}

	relay.stop()
	filepath.WalkDir(filepath.Join(relay.dir, "data"), func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			mustHideSecrets(t, path, string(readFile(t, path)))
		}
		return err
	})
}

// saySecret says a line in which a secret stands where it should not.
func saySecret(line string) func(d *dialogue) error {
	return func(d *dialogue) error {
		_, err := d.say("%s", line)
		return err
	}
}
