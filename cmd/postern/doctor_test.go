//go:build linux

package main_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// finding is what "doctor --json" prints of one upstream.
type finding struct {
	Upstream string
	Good     bool
	Steps    []struct {
		Step, Result, Error, Meaning, Hint string
		Seconds                            float64
		Facts                              []string
	}
}

// doctorConfig writes a configuration of upstreams that nothing runs by.
func doctorConfig(t *testing.T, upstreams string) *relay {
	t.Helper()
	first := strings.Fields(strings.TrimLeft(upstreams, "\n -{"))[1]
	r := prepareRelay(t, "127.0.0.1:1", nil)
	r.write(usualConfig(t, r, "127.0.0.1:1").with(sections{
		"upstreams": upstreams,
		"routes":    fmt.Sprintf("[{name: default, upstreams: [%s]}]", strings.TrimRight(first, ",")),
	}))
	return r
}

// examine runs "doctor --json" for one upstream.
func (r *relay) examine(args ...string) (finding, int) {
	r.t.Helper()
	out, errs, code := postern(r.t, append([]string{"doctor", "--json", "--config", r.config}, args...)...)
	var found []finding
	if err := json.Unmarshal([]byte(out), &found); err != nil || len(found) != 1 {
		r.t.Fatalf("doctor: exit code %d, %v: %s%s", code, err, out, errs)
	}
	return found[0], code
}

// results are the steps in a line, "dns:ok tcp:ok ...".
func (f finding) results() string {
	var words []string
	for _, s := range f.Steps {
		words = append(words, s.Step+":"+s.Result)
	}
	return strings.Join(words, " ")
}

// said is all that is told of one step.
func (f finding) said(step string) string {
	for _, s := range f.Steps {
		if s.Step == step {
			return strings.Join(append(s.Facts, s.Error, s.Meaning, s.Hint), "\n")
		}
	}
	return ""
}

func TestDoctorSeesEachStep(t *testing.T) {
	p := startProviders(t, "1m", "")
	r := doctorConfig(t, p.withPassword("way", "microsoft365", "microsoft-smtp", "relay@example.com", simPassword))
	f, code := r.examine("way")
	if want := "dns:ok tcp:ok greeting:ok tls:ok ehlo:ok auth:ok mail:ok"; code != 0 || !f.Good || f.results() != want {
		t.Errorf("exit code %d, %s; want 0 and %s", code, f.results(), want)
	}
	for step, want := range map[string]string{
		"tls":  fmt.Sprintf("until %s (", time.Now().AddDate(0, 1, 0).UTC().Format(time.DateOnly)),
		"ehlo": "needs AUTH LOGIN; offers AUTH LOGIN XOAUTH2",
		"auth": "LOGIN as relay@example.com",
		"mail": "MAIL FROM:<relay@example.com>: 250 2.1.0 Sender OK\nRSET: nothing was sent",
	} {
		if !strings.Contains(f.said(step), want) {
			t.Errorf("%s says %q, want %q", step, f.said(step), want)
		}
	}
	table, _, _ := postern(t, "doctor", "way", "--config", r.config)
	if !regexp.MustCompile(`(?m)^  ok       tcp +[0-9.]+ ms  127\.0\.0\.1:`).MatchString(table) {
		t.Errorf("for people it reads\n%s", table)
	}
	if !strings.Contains(f.said("tls"), "TLS 1.3") || len(p.messages()) != 0 {
		t.Errorf("TLS: %q; %d messages were sent", f.said("tls"), len(p.messages()))
	}
}

// TestDoctorKnowsWhatToDo has each failure that is known of a provider happen,
// and wants the setting or the command that mends it.
func TestDoctorKnowsWhatToDo(t *testing.T) {
	p := startProviders(t, "1m", "")
	ways := p.withPassword("m365", "microsoft365", "microsoft-smtp", "relay@example.com", simPassword) +
		p.withPassword("m365-wrong", "microsoft365", "microsoft-smtp", "relay@example.com", "wrong") +
		p.withPassword("m365-off", "microsoft365", "microsoft-smtp", "smtpoff@example.com", simPassword) +
		p.withPassword("m365-nobasic", "microsoft365", "microsoft-smtp", "nobasic@example.com", simPassword) +
		p.withPassword("m365-policy", "microsoft365", "microsoft-smtp", "policy@example.com", simPassword) +
		p.withPassword("m365-retired", "microsoft365", "microsoft-smtp", "retired@example.com", simPassword) +
		p.withPassword("gmail", "gmail", "gmail-smtp", "relay@workspace.example", "abcd efgh ijkl mnop") +
		p.withPassword("gmail-own", "gmail", "gmail-smtp", "relay@workspace.example", simPassword) +
		p.withPassword("gmail-browser", "gmail", "gmail-smtp", "browser@workspace.example", simPassword) +
		p.withPassword("ses", "ses", "ses-smtp", "AKIASIMULATED0000001", "BAKqNuAxIroQf+SYVckhwZKGMCKslmfBL7ZsZEHeIjoJ") +
		p.withPassword("ses-wrong", "ses", "ses-smtp", "AKIASIMULATED0000001", "wrong") +
		fmt.Sprintf("\n  - {name: foreign, preset: ses, address: %q, username: a, password: b}", p.address["ses-smtp"]) +
		fmt.Sprintf("\n  - {name: misnamed, preset: ses, address: %q, ca: %s, server_name: other.example, username: a, password: b}", p.address["ses-smtp"], p.file("ca.pem")) +
		fmt.Sprintf("\n  - {name: implicit, preset: ses, address: %q, tls: implicit, ca: %s, username: a, password: b}", p.address["ses-smtp"], p.file("ca.pem")) +
		"\n  - {name: away, address: \"127.0.0.1:1\", tls: none}" +
		"\n  - {name: nowhere, address: \"nowhere.invalid:25\", tls: none}"
	r := doctorConfig(t, ways)
	for _, c := range []struct {
		upstream, fault string
		step            string
		want            []string
	}{
		{"m365-wrong", "", "auth", []string{"535 5.7.3", "New-ServicePrincipal -AppId", "Add-MailboxPermission -Identity relay@example.com", "Set-CASMailbox -Identity relay@example.com -SmtpClientAuthenticationDisabled $false", "flows device and authorization_code", "SMTP.Send,", "postern login m365-wrong"}},
		{"m365-off", "", "auth", []string{"535 5.7.139", "Set-CASMailbox -Identity smtpoff@example.com -SmtpClientAuthenticationDisabled $false"}},
		{"m365", "535-5.7.139-tenant", "auth", []string{"Set-TransportConfig -SmtpClientAuthenticationDisabled $false", "microsoft365-graph"}},
		{"m365-nobasic", "", "auth", []string{"use oauth instead of a password", "Set-AuthenticationPolicy"}},
		{"m365-policy", "", "auth", []string{"Conditional Access"}},
		{"m365-retired", "", "auth", []string{"550 5.7.30", "use oauth"}},
		{"m365", "530-5.7.57", "mail", []string{"530 5.7.57", "Set-CASMailbox -Identity relay@example.com"}},
		{"m365", `{"where":"microsoft-smtp","at":"mail","reply":"430 4.2.0 STOREDRV; mailbox logon failure; failure category: transient"}`, "mail", []string{"Add-MailboxPermission -Identity relay@example.com"}},
		{"m365", `{"where":"microsoft-smtp","at":"mail","reply":"554 5.2.252 SendAsDenied; relay@example.com not allowed to send as boss@example.com"}`, "mail", []string{"Add-RecipientPermission -Identity relay@example.com", "otherwise: force"}},
		{"m365", "451-4.7.500", "mail", []string{"suspicious"}},
		{"m365", "421-4.3.2", "greeting", []string{"421 4.3.2"}},
		{"m365", "421-4.7.66", "tls", []string{"min_tls"}},
		{"m365", "truncated-tls", "tls", []string{"check tls"}},
		{"gmail-own", "", "auth", []string{"534 5.7.9", "https://myaccount.google.com/apppasswords"}},
		{"gmail-browser", "", "auth", []string{"534 5.7.14", "log in as the mailbox"}},
		{"gmail", "gmail-daily", "mail", []string{"550 5.4.5", "nothing is lost"}},
		{"ses-wrong", "", "auth", []string{"535", "SMTP password is not the secret access key"}},
		{"foreign", "", "tls", []string{"certificate for localhost", "issued by CN=provider-sim private CA", "unknown authority", "set ca to a PEM file"}},
		{"misnamed", "", "tls", []string{"certificate for localhost", "set server_name"}},
		{"implicit", "", "tls", []string{"use tls: starttls"}},
		{"away", "", "tcp", []string{"connection refused", "firewall"}},
		{"nowhere", "", "dns", []string{"check the host in its address"}},
	} {
		t.Run(c.upstream+" "+c.fault, func(t *testing.T) {
			fault := c.fault
			if fault != "" && fault[0] != '{' {
				fault = fmt.Sprintf(`{"name": %q}`, fault)
			}
			if fault != "" {
				p.fault(fault)
				defer p.mend()
			}
			f, code := r.examine(c.upstream)
			if code != 1 || f.Good || !strings.Contains(f.results(), c.step+":failed") {
				t.Errorf("exit code %d, %s; want 1 and %s:failed", code, f.results(), c.step)
			}
			if strings.Count(f.results(), ":failed") != 1 {
				t.Errorf("%s: what needs a step that failed is to be skipped", f.results())
			}
			for _, want := range c.want {
				if !strings.Contains(f.said(c.step), want) {
					t.Errorf("%s says\n%s\nwant %q", c.step, f.said(c.step), want)
				}
			}
		})
	}
	out, _, code := postern(t, "doctor", "--config", r.config)
	if code != 1 || !strings.Contains(out, "FAILED") || !strings.Contains(out, "- Set-CASMailbox") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	for line := range strings.Lines(out) {
		if len(strings.TrimSuffix(line, "\n")) > 80 {
			t.Errorf("wider than 80 columns: %s", line)
		}
	}
	if _, errs, code := postern(t, "doctor", "nobody", "--config", r.config); code != 1 || !strings.Contains(errs, `there is no upstream "nobody"`) {
		t.Errorf("of an unknown upstream: exit code %d, %s", code, errs)
	}
	if n := len(p.messages()); n != 0 {
		t.Errorf("%d messages were sent", n)
	}
}

// TestDoctorAsksTheRunningRelay, which has the connections, the tokens and the
// configuration in force, and leaves no trace in the data directory.
func TestDoctorAsksTheRunningRelay(t *testing.T) {
	p := startProviders(t, "1m", "")
	r := p.through(t, p.withPassword("way", "ses", "ses-smtp", "AKIASIMULATED0000001", "BAKqNuAxIroQf+SYVckhwZKGMCKslmfBL7ZsZEHeIjoJ"), nil)
	running := readFile(t, r.config)
	writeFile(t, r.config, strings.ReplaceAll(string(running), "BAKqNuAx", "not-that"))
	f, code := r.examine("--from", "scan@example.com")
	if code != 0 || !f.Good || !strings.Contains(f.said("mail"), "MAIL FROM:<scan@example.com>: 250") {
		t.Errorf("exit code %d, %s: %s", code, f.results(), f.said("mail"))
	}
	if code := r.stop(); code != 0 {
		t.Fatalf("exit code %d after SIGTERM", code)
	}
	before := listing(t, r.dir)
	if f, code := r.examine(); code != 1 || !strings.Contains(f.results(), "auth:failed") {
		t.Errorf("by the file: exit code %d, %s", code, f.results())
	}
	if after := listing(t, r.dir); after != before {
		t.Errorf("doctor left\n%s\nwhere there was\n%s", after, before)
	}
}

// listing is the names of all files below dir.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		names = append(names, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, "\n")
}

// TestDoctorLooksAtTokensAndAPIs decodes what Microsoft's tokens say, and never
// shows one.
func TestDoctorLooksAtTokensAndAPIs(t *testing.T) {
	p := startProviders(t, "1m", "")
	r := doctorConfig(t, p.microsoft365("m365", "relay@example.com", simApp, "sim-secret-of-the-gateway", "")+
		p.microsoft365("rightless", "relay@example.com", simRightless, "sim-secret-without-rights", "")+
		p.microsoft365("secretless", "relay@example.com", simApp, "wrong", "")+
		p.graph("graph")+
		strings.Replace(p.graph("gone"), "relay@graph.example", "gone@graph.example", 1)+
		p.google("gmail", "gmail", "relay@workspace.example", "")+
		p.google("api", "gmail-api", "relay@workspace.example", "")+
		p.google("nobody", "gmail-api", "nobody@workspace.example", ""))
	for _, c := range []struct {
		upstream, fault string
		good            bool
		step            string
		want            []string
	}{
		{"m365", "", true, "token", []string{"aud: https://outlook.office365.com", "roles: SMTP.SendAsApp", "exp: ", "flow client_credentials, state ok"}},
		{"m365", "", true, "auth", []string{"XOAUTH2 as relay@example.com"}},
		{"rightless", "", false, "token", []string{"neither roles nor scp"}},
		{"rightless", "", false, "auth", []string{"a second token, just issued, is refused as well", "New-ServicePrincipal -AppId " + simRightless, "flows device and authorization_code"}},
		{"secretless", "", false, "token", []string{"AADSTS7000215", "client_secret: it is the value of the secret, not its id"}},
		{"m365", "secret-expired", false, "token", []string{"AADSTS7000222", "make a new secret in Entra"}},
		{"m365", "token-down", false, "token", []string{"127.0.0.1"}},
		{"m365", "token-html", false, "token", nil},
		{"graph", "", true, "token", []string{"aud: https://graph.microsoft.com", "Mail.Send"}},
		{"graph", "", true, "request", []string{"the token is taken"}},
		{"graph", `{"where":"graph","status":403,"body":"{\"error\":{\"code\":\"ErrorAccessDenied\",\"message\":\"Access is denied.\"}}"}`, false, "request", []string{"ErrorAccessDenied", "Mail.Send"}},
		{"graph", `{"where":"microsoft-login","at":"token","merge":{"access_token":"e30.eyJhdWQiOiJodHRwczovL2dyYXBoLm1pY3Jvc29mdC5jb20ifQ.e30"}}`, false, "token", []string{"does not name Mail.Send", "admin consent"}},
		{"gone", "", false, "request", []string{"ErrorInvalidUser", "check mailbox"}},
		{"gmail", "", true, "auth", []string{"OAUTHBEARER as relay@workspace.example"}},
		{"api", "", true, "request", []string{"the token is taken"}},
		{"nobody", "", false, "token", []string{"Invalid email or User ID"}},
		{"gmail", "google-invalid-grant", false, "token", []string{"invalid_grant"}},
	} {
		t.Run(c.upstream+" "+c.step+" "+c.fault, func(t *testing.T) {
			if fault := c.fault; fault != "" {
				if fault[0] != '{' {
					fault = fmt.Sprintf(`{"name": %q}`, fault)
				}
				p.fault(fault)
				defer p.mend()
			}
			f, code := r.examine(c.upstream)
			if f.Good != c.good || code == 0 != c.good {
				t.Errorf("exit code %d, %s", code, f.results())
			}
			for _, want := range c.want {
				if !strings.Contains(f.said(c.step), want) {
					t.Errorf("%s says\n%s\nwant %q", c.step, f.said(c.step), want)
				}
			}
			for _, s := range f.Steps {
				if said := f.said(s.Step); strings.Contains(said, "eyJ") || strings.Contains(said, "ya29.") {
					t.Errorf("%s shows a token:\n%s", s.Step, said)
				}
			}
		})
	}
	if n := len(p.messages()); n != 0 {
		t.Errorf("%d messages were sent", n)
	}
}
