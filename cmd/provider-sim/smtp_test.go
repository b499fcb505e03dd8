//go:build linux

package main_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestMicrosoftBySMTP(t *testing.T) {
	s := startSim(t, "1m", "")
	token := s.appToken(tenant, gateway, secret, exchange)
	for _, c := range []struct {
		does string
		more map[string]any
		want []string
	}{
		{"offers LOGIN and XOAUTH2 after STARTTLS and not before", map[string]any{"mechanism": "XOAUTH2", "user": "relay@example.com", "secret": token},
			[]string{"ehlo 250", "SIZE 157286400", "STARTTLS", "ehlo tls 250", "AUTH LOGIN XOAUTH2", "auth 235 2.7.0", "end 250 2.0.0 OK"}},
		{"takes a token in two steps", map[string]any{"mechanism": "XOAUTH2", "user": "relay@example.com", "secret": token, "two_steps": true},
			[]string{"prompt 334 \n", "auth 235", "end 250"}},
		{"takes a password", map[string]any{"mechanism": "LOGIN", "user": "relay@example.com", "secret": "sim-mailbox-5ac1e7"},
			[]string{"auth 235", "end 250"}},
		{"sends as another address it may", map[string]any{"mechanism": "XOAUTH2", "user": "relay@example.com", "secret": token, "from": "scan@example.com", "message": "From: scan@example.com\r\n\r\na\r\n"},
			[]string{"end 250"}},
		{"wants a login", map[string]any{}, []string{"mail 530 5.7.57 Client not authenticated to send mail"}},
		{"refuses a token that is none, at once", map[string]any{"mechanism": "XOAUTH2", "user": "relay@example.com", "secret": "abc"},
			[]string{"auth 535 5.7.3 Authentication unsuccessful [sim.prod.outlook.com]"}},
		{"refuses a token for Graph", map[string]any{"mechanism": "XOAUTH2", "user": "relay@example.com", "secret": s.appToken(tenant, gateway, secret, graphDefault)},
			[]string{"auth 535 5.7.3"}},
		{"refuses an app without rights", map[string]any{"mechanism": "XOAUTH2", "user": "relay@example.com", "secret": s.appToken(tenant, rightless, "sim-secret-without-rights", exchange)},
			[]string{"auth 535 5.7.3"}},
		{"refuses another tenant's app", map[string]any{"mechanism": "XOAUTH2", "user": "relay@example.com", "secret": s.appToken(graphTenant, graphApp, "sim-secret-for-graph", exchange)},
			[]string{"auth 535 5.7.3"}},
		{"says that SMTP AUTH is off for a tenant", map[string]any{"mechanism": "XOAUTH2", "user": "relay@graph.example", "secret": s.appToken(graphTenant, graphApp, "sim-secret-for-graph", exchange)},
			[]string{"auth 535 5.7.139", "SmtpClientAuthentication is disabled for the Tenant"}},
		{"says that SMTP AUTH is off for a mailbox", map[string]any{"mechanism": "XOAUTH2", "user": "smtpoff@example.com", "secret": token},
			[]string{"auth 535 5.7.139", "for the Mailbox"}},
		{"says that passwords are off", map[string]any{"mechanism": "LOGIN", "user": "nobasic@example.com", "secret": "sim-mailbox-5ac1e7"},
			[]string{"auth 535 5.7.139", "basic authentication is disabled"}},
		{"says that a policy is in the way", map[string]any{"mechanism": "LOGIN", "user": "policy@example.com", "secret": "sim-mailbox-5ac1e7"},
			[]string{"auth 535 5.7.139", "did not meet the criteria"}},
		{"says that passwords are gone", map[string]any{"mechanism": "LOGIN", "user": "retired@example.com", "secret": "sim-mailbox-5ac1e7"},
			[]string{"auth 550 5.7.30 Basic authentication is not supported for Client Submission."}},
		{"denies another From", map[string]any{"mechanism": "XOAUTH2", "user": "relay@example.com", "secret": token, "message": "From: boss@example.com\r\n\r\na\r\n"},
			[]string{"554 5.2.252 SendAsDenied; relay@example.com not allowed to send as boss@example.com"}},
		{"refuses what is too large at MAIL", map[string]any{"mechanism": "XOAUTH2", "user": "relay@example.com", "secret": token, "options": []string{"SIZE=157286401"}},
			[]string{"mail 552 5.3.4"}},
		{"refuses when Sent Items is full", map[string]any{"mechanism": "LOGIN", "user": "full@example.com", "secret": "sim-mailbox-5ac1e7", "from": "full@example.com", "message": "From: full@example.com\r\n\r\na\r\n", "count": 2},
			[]string{"end 250", "554 5.2.2 mailbox full"}},
	} {
		t.Run(c.does, func(t *testing.T) { must(t, s.smtp("microsoft-smtp", c.more), c.want...) })
	}
	for _, m := range s.messages() {
		if !m.SentItems {
			t.Errorf("%+v has no copy in Sent Items", m)
		}
	}
	s.control("POST", "/tokens/microsoft/expire", "", nil)
	must(t, s.smtp("microsoft-smtp", map[string]any{"mechanism": "XOAUTH2", "user": "relay@example.com", "secret": token}), "auth 535 5.7.3")
}

func TestMicrosoftLimits(t *testing.T) {
	s := startSim(t, "1m", "microsoft: {limits: {messages: 2, excess: refuse, recipients: 4, recipients_per_message: 2}}")
	as := func(user string, more map[string]any) map[string]any {
		args := map[string]any{"mechanism": "LOGIN", "user": user, "secret": "sim-mailbox-5ac1e7", "from": user, "message": "From: " + user + "\r\n\r\na\r\n"}
		for name, value := range more {
			args[name] = value
		}
		return args
	}
	must(t, s.smtp("microsoft-smtp", as("relay@example.com", map[string]any{"count": 3})),
		"end 250", "end 250", "432 4.3.2 STOREDRV.ClientSubmit; sender submission rate exceeded")
	must(t, s.smtp("microsoft-smtp", as("second@example.com", map[string]any{"to": []string{"a@example.org", "b@example.org", "c@example.org"}})),
		"rcpt 250", "rcpt 250", "rcpt 452 4.5.3", "end 250")
	must(t, s.smtp("microsoft-smtp", as("full@example.com", map[string]any{"to": []string{"a@example.org", "b@example.org"}})), "end 250")
	if n := len(s.messages()); n != 4 {
		t.Errorf("%d messages were kept, want 4", n)
	}
}

func TestMicrosoftDelaysWhatIsTooMuch(t *testing.T) {
	s := startSim(t, "1s", "microsoft: {limits: {messages: 2}}")
	said := s.smtp("microsoft-smtp", map[string]any{"mechanism": "LOGIN", "user": "relay@example.com", "secret": "sim-mailbox-5ac1e7", "count": 5})
	if strings.Count(said, "end 250") != 5 {
		t.Errorf("not all were taken:\n%s", said)
	}
	var stats struct{ Counts map[string]int }
	s.control("GET", "/stats", "", &stats)
	if stats.Counts["microsoft-smtp over the rate"] == 0 {
		t.Errorf("none was delayed: %v", stats.Counts)
	}
}

func TestMicrosoftRecipientsOfADay(t *testing.T) {
	s := startSim(t, "1m", "microsoft: {limits: {recipients: 3}}")
	must(t, s.smtp("microsoft-smtp", map[string]any{"mechanism": "LOGIN", "user": "relay@example.com", "secret": "sim-mailbox-5ac1e7",
		"to": []string{"a@example.org", "b@example.org"}, "count": 2}), "end 250", "554 5.2.0", "SubmissionQuotaExceededException")
}

func TestMicrosoftConnectionsOfAMailbox(t *testing.T) {
	s := startSim(t, "1m", "")
	s.control("POST", "/faults", `{"where":"microsoft-smtp","at":"data","hang":true,"times":3}`, nil)
	sender := map[string]any{"mechanism": "LOGIN", "user": "relay@example.com", "secret": "sim-mailbox-5ac1e7"}
	for range 3 {
		s.leave("smtp", s.letter("microsoft-smtp", sender))
	}
	await(t, "three connections to hang in DATA", func() bool {
		var left []any
		s.control("GET", "/faults", "", &left)
		return len(left) == 0
	})
	must(t, s.smtp("microsoft-smtp", sender), "mail 250", "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded")
	second := map[string]any{"mechanism": "LOGIN", "user": "second@example.com", "secret": "sim-mailbox-5ac1e7", "from": "second@example.com", "message": "From: second@example.com\r\n\r\na\r\n"}
	must(t, s.smtp("microsoft-smtp", second), "end 250")
}

func TestGmailBySMTP(t *testing.T) {
	s := startSim(t, "1m", "google: {limits: {recipients_per_message: 3, messages: 8}}")
	own := map[string]any{"from": "relay@workspace.example", "message": "From: relay@workspace.example\r\nTo: you@example.org\r\n\r\na\r\n"}
	with := func(more map[string]any) map[string]any {
		args := map[string]any{"mechanism": "PLAIN", "user": "relay@workspace.example", "secret": "abcdefghijklmnop"}
		for _, m := range []map[string]any{own, more} {
			for name, value := range m {
				args[name] = value
			}
		}
		return args
	}
	token := s.serviceToken("relay@workspace.example", "https://mail.google.com/")
	for _, c := range []struct {
		does    string
		service string
		more    map[string]any
		want    []string
	}{
		{"offers what Gmail does, and takes an app password", "gmail-smtp", with(nil),
			[]string{"SIZE 35882577", "AUTH LOGIN PLAIN XOAUTH2 PLAIN-CLIENTTOKEN OAUTHBEARER XOAUTH", "auth 235 2.7.0 Accepted", "end 250 2.0.0 OK", "gsmtp"}},
		{"strips the spaces of an app password, by implicit TLS", "gmail-smtps", with(map[string]any{"implicit": true, "secret": "abcd efgh ijkl mnop"}), []string{"auth 235"}},
		{"takes a token by XOAUTH2", "gmail-smtp", with(map[string]any{"mechanism": "XOAUTH2", "secret": token}), []string{"auth 235", "end 250"}},
		{"takes a token by OAUTHBEARER", "gmail-smtp", with(map[string]any{"mechanism": "OAUTHBEARER", "secret": token}), []string{"auth 235", "end 250"}},
		{"challenges a bad token", "gmail-smtp", with(map[string]any{"mechanism": "XOAUTH2", "secret": "ya29.bad"}),
			[]string{`challenge 334 {"status":"401","schemes":"bearer mac","scope":"https://mail.google.com/"}`, "auth 535 5.7.8 Username and Password not accepted"}},
		{"challenges what is no token", "gmail-smtp", with(map[string]any{"mechanism": "OAUTHBEARER", "secret": ""}),
			[]string{`challenge 334 {"status":"400"`, "auth 535 5.7.8"}},
		{"wants the scope of SMTP", "gmail-smtp", with(map[string]any{"mechanism": "XOAUTH2", "secret": s.serviceToken("relay@workspace.example", "https://www.googleapis.com/auth/gmail.send")}),
			[]string{"challenge 334", "auth 535"}},
		{"wants an app password", "gmail-smtp", with(map[string]any{"secret": "sim-mailbox-5ac1e7"}), []string{"auth 534 5.7.9 Application-specific password required"}},
		{"sends to the browser", "gmail-smtp", with(map[string]any{"user": "browser@workspace.example"}), []string{"auth 534 5.7.14", "log in via your web browser"}},
		{"refuses a wrong password", "gmail-smtp", with(map[string]any{"secret": "wrong"}), []string{"auth 535 5.7.8"}},
		{"wants a login", "gmail-smtp", with(map[string]any{"mechanism": ""}), []string{"mail 530 5.5.1 Authentication Required"}},
		{"puts its own name on foreign mail", "gmail-smtp", with(map[string]any{"message": "From: Boss <boss@example.com>\r\n\r\na\r\n"}), []string{"end 250"}},
		{"takes no two authors", "gmail-smtp", with(map[string]any{"message": "From: a@example.com, b@example.com\r\n\r\na\r\n"}), []string{"550 5.7.1", "multiple addresses in From"}},
		{"limits recipients", "gmail-smtp", with(map[string]any{"to": []string{"a@x.example", "b@x.example", "c@x.example", "d@x.example"}}), []string{"rcpt 452 4.5.3", "end 250"}},
		{"limits the messages of a day", "gmail-smtp", with(map[string]any{"count": 4}), []string{"end 250", "mail 550 5.4.5 Daily user sending limit exceeded"}},
	} {
		t.Run(c.does, func(t *testing.T) { must(t, s.smtp(c.service, c.more), c.want...) })
	}
	for _, m := range s.messages() {
		if strings.Contains(m.HeaderFrom, "Boss") {
			must(t, s.content(m.ID), "X-Google-Original-From: Boss <boss@example.com>", `From: "Boss" <relay@workspace.example>`)
			return
		}
	}
	t.Error("the message with a foreign From is not there")
}

func TestSESBySMTP(t *testing.T) {
	s := startSim(t, "1m", "ses: {limits: {rate: 3, recipients_per_message: 2, recipients: 6}}")
	key := map[string]any{"mechanism": "PLAIN", "user": "AKIASIMULATED0000001", "secret": "BAKqNuAxIroQf+SYVckhwZKGMCKslmfBL7ZsZEHeIjoJ"}
	with := func(more map[string]any) map[string]any {
		args := map[string]any{}
		for _, m := range []map[string]any{key, more} {
			for name, value := range m {
				args[name] = value
			}
		}
		return args
	}
	must(t, s.smtp("ses-smtp", with(map[string]any{"message": "From: relay@example.com\r\nMessage-ID: <own@example.com>\r\nDate: Mon, 01 Jan 2001 00:00:00 +0000\r\n\r\na\r\n"})), "AUTH PLAIN LOGIN", "auth 235", "end 250 Ok ")
	sent := s.content(s.messages()[0].ID)
	if strings.Contains(sent, "own@example.com") || strings.Contains(sent, "2001") {
		t.Errorf("Message-ID or Date was not replaced:\n%s", sent)
	}
	must(t, s.smtp("ses-smtp", with(map[string]any{"mechanism": "LOGIN", "secret": "wrong"})), "auth 535 Authentication Credentials Invalid")
	must(t, s.smtp("ses-smtp", nil), "mail 530 Authentication required")
	must(t, s.smtp("ses-smtp", with(map[string]any{"message": "From: boss@elsewhere.example\r\n\r\na\r\n"})),
		"554 Message rejected: Email address is not verified. The following identities failed the check in region EU-WEST-1: boss@elsewhere.example")
	must(t, s.smtp("ses-smtp", with(map[string]any{"to": []string{"a@x.example", "b@x.example", "c@x.example"}})), "rcpt 554 Transaction failed: Recipient count exceeds 2.", "end 250")
	must(t, s.smtp("ses-smtps", with(map[string]any{"implicit": true, "count": 9})), "end 250", "454 Throttling failure: Maximum sending rate exceeded.")
	s.control("POST", "/reset", "", nil)
	must(t, s.smtp("ses-smtp", with(map[string]any{"to": []string{"a@x.example", "b@x.example"}, "count": 3})), "end 250", "end 250", "end 250")
	await(t, "the second to pass, for the quota of the day to be what is left", func() bool {
		return strings.Contains(s.smtp("ses-smtp", with(nil)), "454 Throttling failure: Daily message quota exceeded.")
	})
}

func TestSwaksAndCurl(t *testing.T) {
	needs(t, "swaks", "curl")
	s := startSim(t, "1m", "")
	for _, c := range [][]string{
		{"swaks", "--server", s.address["microsoft-smtp"], "--tls", "--tls-verify", "--tls-ca-path", filepath.Join(s.dir, "ca.pem"),
			"--auth", "LOGIN", "--auth-user", "relay@example.com", "--auth-password", "sim-mailbox-5ac1e7", "--from", "relay@example.com", "--to", "a@example.org"},
		{"swaks", "--server", s.address["gmail-smtp"], "--tls", "--auth", "PLAIN", "--auth-user", "relay@workspace.example",
			"--auth-password", "abcdefghijklmnop", "--from", "relay@workspace.example", "--to", "b@example.org"},
		{"curl", "-sS", "--ssl-reqd", "--cacert", filepath.Join(s.dir, "ca.pem"), "--url", "smtp://" + s.address["microsoft-smtp"], "--login-options", "AUTH=XOAUTH2",
			"--user", "relay@example.com", "--oauth2-bearer", s.appToken(tenant, gateway, secret, exchange),
			"--mail-from", "relay@example.com", "--mail-rcpt", "c@example.org", "--upload-file", "testdata/letter.eml"},
		{"curl", "-sS", "--cacert", filepath.Join(s.dir, "ca.pem"), "--url", "smtps://" + s.address["gmail-smtps"], "--login-options", "AUTH=OAUTHBEARER",
			"--user", "relay@workspace.example", "--oauth2-bearer", s.serviceToken("relay@workspace.example", "https://mail.google.com/"),
			"--mail-from", "relay@workspace.example", "--mail-rcpt", "d@example.org", "--upload-file", "testdata/letter.eml"},
	} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", strings.Join(c, " "), err, out)
		}
	}
	if list := s.messages(); len(list) != 4 {
		t.Errorf("%d messages arrived, want 4: %+v", len(list), list)
	}
}
