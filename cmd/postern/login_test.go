//go:build linux

package main_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"postern/auth/oauth"
)

// withOAuth makes a relay whose only upstream, idp, has a section oauth. It leads
// nowhere: tokens are kept fresh though no mail is sent.
func withOAuth(t *testing.T, section string) *relay {
	return prepareRelay(t, "127.0.0.1:9", sections{
		"upstreams": "[{name: idp, address: \"127.0.0.1:9\", tls: none, mailbox: relay@example.com, oauth: {" + section + "}}]",
		"routes":    "[{name: default, upstreams: [idp]}]",
	})
}

// credential is what "postern login --status" says of the upstream.
func (r *relay) credential() oauth.Status {
	r.t.Helper()
	out, errs, _ := postern(r.t, "login", "--status", "--json", "--config", r.config)
	var all []oauth.Status
	if err := json.Unmarshal([]byte(out), &all); err != nil || len(all) != 1 {
		r.t.Fatalf("%v: %s%s", err, out, errs)
	}
	return all[0]
}

func (r *relay) awaitState(want oauth.State) oauth.Status {
	r.t.Helper()
	var s oauth.Status
	await(r.t, "the credential to be in the state "+string(want), func() bool {
		s = r.credential()
		return s.State == want
	})
	return s
}

// logsIn is a running "postern login".
type logsIn struct {
	t       *testing.T
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
	errs    bytes.Buffer
	printed strings.Builder
}

func (r *relay) logIn(t *testing.T, args ...string) *logsIn {
	t.Helper()
	l := &logsIn{t: t, cmd: exec.Command(stage.postern, append([]string{"login", "idp", "--json", "--config", r.config}, args...)...)}
	in, err := l.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := l.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	l.in, l.out, l.cmd.Stderr = in, bufio.NewReader(out), &l.errs
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.cmd.Process.Kill() })
	return l
}

// step reads the next line of output into v.
func (l *logsIn) step(v any) {
	l.t.Helper()
	line, err := l.out.ReadString('\n')
	l.printed.WriteString(line)
	if err != nil || json.Unmarshal([]byte(line), v) != nil {
		l.cmd.Wait()
		l.t.Fatalf("%v: %q, %s", err, line, &l.errs)
	}
}

// mustEnd expects an end with that exit code.
func (l *logsIn) mustEnd(code int) {
	l.t.Helper()
	l.cmd.Wait()
	if got := l.cmd.ProcessState.ExitCode(); got != code {
		l.t.Fatalf("exit code %d, want %d: %s", got, code, &l.errs)
	}
}

// browser is a person's, who agrees to everything. It does not go beyond an
// address that begins with stop, if any, and returns it.
func browser(t *testing.T, stop string) *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Jar: jar, CheckRedirect: func(q *http.Request, before []*http.Request) error {
		if len(before) > 20 {
			return fmt.Errorf("redirected ever again, at last to %s", q.URL)
		}
		if stop != "" && strings.HasPrefix(q.URL.String(), stop) {
			return http.ErrUseLastResponse
		}
		return nil
	}}
}

var xsrf = regexp.MustCompile(`name="xsrf" value="([^"]+)"`)

// enter enters a device code, and confirms it.
func enter(t *testing.T, page, code string) {
	t.Helper()
	c := browser(t, "")
	text := get(t, c, page)
	for _, confirm := range []string{"", "yes"} {
		m := xsrf.FindStringSubmatch(text)
		if m == nil {
			t.Fatalf("no form in %s", text)
		}
		form := url.Values{"xsrf": {m[1]}, "user_code": {code}}
		if confirm != "" {
			form.Set("confirm", confirm)
		}
		resp, err := c.PostForm(page, form)
		if err != nil {
			t.Fatal(err)
		}
		text = readAll(t, resp)
	}
	if !strings.Contains(text, "agreed") {
		t.Fatalf("the provider says %s", text)
	}
}

func get(t *testing.T, c *http.Client, address string) string {
	t.Helper()
	resp, err := c.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	return readAll(t, resp)
}

func readAll(t *testing.T, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestLogInByDeviceAndSurviveRotations(t *testing.T) {
	idp := startAuthServer(t, "first")
	r := withOAuth(t, fmt.Sprintf("flow: device, client_id: device, token_url: %[1]s/token, device_url: %[1]s/device/auth, scopes: [smtp.send]", idp.issuer()))
	r.start()
	if s := r.awaitState(oauth.StateNeedsConsent); s.Hint != "run: postern login idp" {
		t.Errorf("the hint is %q", s.Hint)
	}
	if !r.log.contains("run: postern login idp") {
		t.Error("the log does not say which command to run")
	}

	l := r.logIn(t)
	var todo struct{ Visit, Code string }
	l.step(&todo)
	enter(t, todo.Visit, todo.Code)
	var done oauth.Status
	l.step(&done)
	l.mustEnd(0)
	if done.State != oauth.StateOK || r.credential().State != oauth.StateOK {
		t.Errorf("the state is %+v, and %+v to the running relay", done, r.credential())
	}

	// Each start takes a new refresh token, and the one before is worth nothing
	// from then on. Killed right after it has been kept, the relay knows it.
	kept := filepath.Join(r.dir, "data", "tokens", "idp")
	for range 5 {
		before := string(readFile(t, kept))
		r.kill()
		r.start()
		await(t, "the rotated refresh token to be kept", func() bool { return string(readFile(t, kept)) != before })
	}
	r.kill()
	r.start()
	r.awaitState(oauth.StateOK)
	if page, _ := r.get("/metrics"); !strings.Contains(page, `postern_oauth_state{state="ok",upstream="idp"} 1`) {
		t.Error("the metrics do not say that all is well")
	}

	// The provider forgets all of it: the relay says so, and a person helps.
	r.kill()
	idp.rotate("second")
	r.start()
	r.awaitState(oauth.StateNeedsConsent)
	if n := r.log.count("OAuth token"); n != 2 {
		t.Errorf("%d lines about it, want one for each change", n)
	}
	l = r.logIn(t)
	l.step(&todo)
	enter(t, todo.Visit, todo.Code)
	l.step(&done)
	l.mustEnd(0)
	r.awaitState(oauth.StateOK)
}

func TestLogInWithABrowser(t *testing.T) {
	idp := startAuthServer(t, "first")
	section := fmt.Sprintf("flow: authorization_code, client_id: browser, token_url: %[1]s/token, authorize_url: %[1]s/auth, scopes: [smtp.send]", idp.issuer())
	var todo struct{ Visit string }
	var done oauth.Status

	t.Run("of this machine, while no relay runs", func(t *testing.T) {
		r := withOAuth(t, section)
		l := r.logIn(t)
		l.step(&todo)
		if text := get(t, browser(t, ""), todo.Visit); !strings.Contains(text, "Thank you") {
			t.Errorf("the browser ends at %s", text)
		}
		l.step(&done)
		l.mustEnd(0)
		r.start()
		r.awaitState(oauth.StateOK)
	})
	t.Run("of another machine, whose last address is pasted", func(t *testing.T) {
		r := withOAuth(t, section)
		r.start()
		l := r.logIn(t, "--paste")
		l.step(&todo)
		resp, err := browser(t, "http://127.0.0.1/").Get(todo.Visit)
		if err != nil {
			t.Fatal(err)
		}
		readAll(t, resp)
		fmt.Fprintln(l.in, resp.Header.Get("Location"))
		l.step(&done)
		l.mustEnd(0)
		r.awaitState(oauth.StateOK)
	})
	t.Run("and an address of somebody else's login is refused", func(t *testing.T) {
		r := withOAuth(t, section)
		l := r.logIn(t, "--paste")
		l.step(&todo)
		fmt.Fprintln(l.in, "http://127.0.0.1/?code=stolen&state=other")
		l.mustEnd(1)
		if !strings.Contains(l.errs.String(), "not about this login") {
			t.Error(&l.errs)
		}
	})
}

func TestTokensByASignedAssertion(t *testing.T) {
	keys := needKeys(t)
	idp := startAuthServerFor(t, "first", keys.certificate)
	r := withOAuth(t, fmt.Sprintf("flow: client_credentials, client_id: signer, certificate: %s, key: %s, token_url: %s/token, scopes: [smtp.send]",
		keys.certificate, keys.key, idp.issuer()))
	r.start()
	r.awaitState(oauth.StateOK)
	if page, _ := r.get("/metrics"); !strings.Contains(page, `postern_credential_expiry_timestamp_seconds{kind="certificate",name="idp"}`) {
		t.Error("the metrics do not say when the certificate expires")
	}
	out, errs, code := postern(t, "login", "idp", "--config", r.config)
	if code != 1 || !strings.Contains(errs, "nobody logs in here") || out != "" {
		t.Errorf("exit code %d: %s%s", code, out, errs)
	}
}

func TestTokensBySecret(t *testing.T) {
	idp := startAuthServer(t, "first")
	secret := filepath.Join(workDir(t), "secret")
	section := fmt.Sprintf("flow: client_credentials, client_id: erp, client_secret: \"file:%s\", client_secret_expires: 2099-12-31, token_url: %s/token, scopes: [smtp.send]", secret, idp.issuer())
	writeFile(t, secret, "canary-wrong-secret")
	r := withOAuth(t, section)
	r.start()
	s := r.awaitState(oauth.StateMisconfigured)
	if !strings.Contains(s.Reason, "invalid_client") || !strings.Contains(s.Hint, "client_secret") {
		t.Errorf("%+v", s)
	}
	out, _, code := postern(t, "login", "--config", r.config)
	if code != 1 || !strings.Contains(out, "misconfigured") || !strings.Contains(out, "check client_id and client_secret") {
		t.Errorf("exit code %d: %s", code, out)
	}
	writeFile(t, secret, "erp-secret")
	r.reload("reloaded")
	r.awaitState(oauth.StateOK)
	if _, err := os.Stat(filepath.Join(r.dir, "data", "tokens")); err == nil {
		t.Error("there are refresh tokens though there are none")
	}
	if r.log.contains("canary-wrong-secret") || r.log.contains("erp-secret") {
		t.Error("the log shows the secret")
	}

	// While the provider is away the token that lives goes on.
	idp.stop()
	r.reload("reloaded")
	if s := r.credential(); s.State != oauth.StateOK {
		t.Errorf("%+v", s)
	}
}
