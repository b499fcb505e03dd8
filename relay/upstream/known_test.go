package upstream_test

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/relay/message"
	"postern/relay/setting"
	"postern/relay/upstream"
	"postern/relay/upstream/preset"
	"postern/relay/upstream/transport"
)

func TestTheFileComesBeforeThePreset(t *testing.T) {
	for _, row := range []struct {
		name string
		file upstream.Upstream
		want upstream.Upstream
	}{
		{"a server of one's own", upstream.Upstream{Address: "h:25"},
			upstream.Upstream{Address: "h:25", TLS: "starttls", Limits: upstream.Limits{Connections: 20, MessagesPerConnection: 100}}},
		{"all from the preset", upstream.Upstream{Preset: "microsoft365", Mailbox: message.Address{Local: "scan", Domain: "example.com"}},
			upstream.Upstream{Address: "smtp.office365.com:587", TLS: "starttls", Username: "scan@example.com", Limits: upstream.Limits{Connections: 2, MessagesPerConnection: 100, Messages: setting.Rate{Count: 30, Per: time.Minute}, Recipients: setting.Rate{Count: 10000, Per: 24 * time.Hour}, RecipientsPerMessage: 500, Size: 35 << 20}}},
		{"another cloud", upstream.Upstream{Preset: "microsoft365", Cloud: "china", Username: "u"},
			upstream.Upstream{Address: "smtp.partner.outlook.cn:587", TLS: "starttls", Username: "u", Limits: upstream.Limits{Connections: 2, MessagesPerConnection: 100, Messages: setting.Rate{Count: 30, Per: time.Minute}, Recipients: setting.Rate{Count: 10000, Per: 24 * time.Hour}, RecipientsPerMessage: 500, Size: 35 << 20}}},
		{"a user name that is a word", upstream.Upstream{Preset: "sendgrid"},
			upstream.Upstream{Address: "smtp.sendgrid.net:587", TLS: "starttls", Username: "apikey", Limits: upstream.Limits{Connections: 20, MessagesPerConnection: 5000, RecipientsPerMessage: 1000, Size: 30_000_000}}},
		{"another port of it", upstream.Upstream{Preset: "sendgrid", Address: "smtp.sendgrid.net:465"},
			upstream.Upstream{Address: "smtp.sendgrid.net:465", TLS: "implicit", Username: "apikey", Limits: upstream.Limits{Connections: 20, MessagesPerConnection: 5000, RecipientsPerMessage: 1000, Size: 30_000_000}}},
		{"all from the file", upstream.Upstream{Preset: "fastmail", Address: "h:25", TLS: "starttls", Username: "u", Limits: upstream.Limits{Connections: 7, MessagesPerConnection: 8, Idle: 9, RecipientsPerMessage: 3, Size: 4}},
			upstream.Upstream{Address: "h:25", TLS: "starttls", Username: "u", Limits: upstream.Limits{Connections: 7, MessagesPerConnection: 8, Idle: 9, RecipientsPerMessage: 3, Size: 4}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, _, err := row.file.Effective()
			if err != nil {
				t.Fatal(err)
			}
			if row.want.Limits.Idle == 0 {
				row.want.Limits.Idle = setting.Duration(30 * time.Second)
			}
			if got.Address != row.want.Address || got.TLS != row.want.TLS || got.Username != row.want.Username || got.Limits != row.want.Limits {
				t.Errorf("got  %+v\nwant %+v", got, row.want)
			}
		})
	}
}

// TestRepliesAreJudgedByThePreset has a server say, over the wire, what providers
// say.
func TestRepliesAreJudgedByThePreset(t *testing.T) {
	for _, row := range []struct {
		name  string
		file  upstream.Upstream
		step  string
		reply string
		want  string
	}{
		{"a quota is no bounce", upstream.Upstream{Preset: "gmail"}, "DOT", "550-5.4.5 Daily user sending\n550 5.4.5 limit exceeded. For more information", "deferred"},
		{"the same of a server nobody knows", upstream.Upstream{}, "DOT", "550-5.4.5 Daily user sending\n550 5.4.5 quirk exceeded. For more information", "failed"},
		{"a rule of the file comes first", upstream.Upstream{Preset: "gmail", Replies: []preset.Rule{{At: preset.Words{"end"}, Text: preset.Words{"user sending limit"}, Action: "bounce"}}},
			"DOT", "550-5.4.5 Daily user sending\n550 5.4.5 limit exceeded. For more information", "failed"},
		{"a rule for another stage does not", upstream.Upstream{Preset: "gmail", Replies: []preset.Rule{{At: preset.Words{"rcpt"}, Text: preset.Words{"user sending limit"}, Action: "bounce"}}},
			"DOT", "550-5.4.5 Daily user sending\n550 5.4.5 limit exceeded. For more information", "deferred"},
		{"a yes is a yes", upstream.Upstream{Replies: []preset.Rule{{Text: preset.Words{"queued"}, Action: "bounce"}}}, "DOT", "250 2.0.0 queued", "delivered"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newServer(t)
			s.fault = at(row.step, row.reply)
			u := smarthost(t, s.listen(t))
			u.Preset, u.Replies = row.file.Preset, row.file.Replies
			o, _ := options(t)
			results, err := send(t, newSet(t, route(u), o), letter("hello\r\n", "a@example.net"))
			if err != nil || outcomes(results) != row.want {
				t.Errorf("%s, %v; want %s", outcomes(results), err, row.want)
			}
		})
	}
}

// TestAdviceOfAnUpstreamOutOfReach: what is said before MAIL is judged as well.
func TestAdviceOfAnUpstreamOutOfReach(t *testing.T) {
	for _, row := range []struct {
		name, step, reply string
		want              transport.Action
		hint              string
	}{
		{"TLS is too old", "GREETING", "421 4.7.66 TLS 1.0 and 1.1 are not supported.", transport.Configure, "set min_tls to 1.2"},
		{"SMTP AUTH is off", "AUTH", "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant.", transport.Configure, "Set-TransportConfig"},
		{"a password is not asked for twice", "AUTH", "535 5.7.3 Authentication unsuccessful", transport.Configure, "New-ServicePrincipal"},
		{"not logged in after all", "MAIL", "530 5.7.57 Client not authenticated to send mail.", transport.Configure, "Set-CASMailbox"},
		{"temporary trouble", "AUTH", "454 4.7.0 Temporary authentication failure", transport.Nothing, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newServer(t)
			s.fault = at(row.step, row.reply)
			u := smarthost(t, s.listen(t))
			u.Preset, u.Mailbox = "microsoft365", address("box@example.com")
			o, _ := options(t)
			_, err := send(t, newSet(t, route(u), o), letter("hello\r\n", "a@example.net"))
			var fault *transport.Unreachable
			if !errors.As(err, &fault) {
				t.Fatalf("the error is %v", err)
			}
			if fault.Advice.Action != row.want || !strings.Contains(fault.Hint, row.hint) {
				t.Errorf("%q, %q; want %q, %q", fault.Advice.Action, fault.Hint, row.want, row.hint)
			}
		})
	}
}

func TestThePasswordOfSESIsMadeOfAKey(t *testing.T) {
	s := newServer(t)
	s.ext = offering("PLAIN")
	s.fault = at("AUTH", "235 2.7.0 welcome")
	u := smarthost(t, s.listen(t))
	u.Preset, u.Region, u.PasswordFrom = "ses", "eu-west-1", "iam"
	u.Username, u.Password = "AKIAEXAMPLE", setting.Plain("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
	o, _ := options(t)
	if _, err := send(t, newSet(t, route(u), o), letter("hello\r\n", "a@example.net")); err != nil {
		t.Fatal(err)
	}
	want := base64.StdEncoding.EncodeToString([]byte("\x00AKIAEXAMPLE\x00BMW5RDrXmmVs0lV7GpI4oLkHXpZ4stDsk6q91z1g38Pk"))
	if !slices.Contains(s.heard(), "AUTH PLAIN "+want) {
		t.Errorf("the server heard %q", s.heard())
	}
}

func TestSetExplains(t *testing.T) {
	o, _ := options(t)
	set := newSet(t, route(upstream.Upstream{Name: "smart", Preset: "sendgrid", Password: setting.Plain("x"),
		Replies: []preset.Rule{{Code: preset.Words{"555"}, Meaning: "Ours.", Hint: "ask"}}}), o)
	for _, row := range []struct {
		upstream, meaning string
		reply             message.Reply
	}{
		{"smart", "Ours.", message.Reply{Code: 555}},
		{"smart", "What the plan allows is used up.", message.Reply{Code: 451, Text: "You have exceeded your messaging limits"}},
		{"gone", "", message.Reply{Code: 555}},
	} {
		if meaning, _ := set.Explain(row.upstream, "", row.reply); meaning != row.meaning {
			t.Errorf("%s of %s: %q, want %q", row.reply, row.upstream, meaning, row.meaning)
		}
	}
}
