package upstream_test

import (
	"testing"
	"time"

	"postern/relay/message"
	"postern/relay/setting"
	"postern/relay/upstream"
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
			upstream.Upstream{Address: "smtp.office365.com:587", TLS: "starttls", Username: "scan@example.com", Limits: upstream.Limits{Connections: 2, MessagesPerConnection: 100, RecipientsPerMessage: 500, Size: 35 << 20}}},
		{"another cloud", upstream.Upstream{Preset: "microsoft365", Cloud: "china", Username: "u"},
			upstream.Upstream{Address: "smtp.partner.outlook.cn:587", TLS: "starttls", Username: "u", Limits: upstream.Limits{Connections: 2, MessagesPerConnection: 100, RecipientsPerMessage: 500, Size: 35 << 20}}},
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
