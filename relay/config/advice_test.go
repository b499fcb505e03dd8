package config

import (
	"strings"
	"testing"
)

func TestWarningsOfProviders(t *testing.T) {
	dir := withFiles(t, "/etc/postern") // names of rows have commas
	const key = "dkim: [{domain: example.com, selector: s2026, key: /etc/postern/dkim/s2026.pem}]\n"
	for _, row := range []struct{ name, upstream, more, want string }{
		{"the relay of Workspace", "preset: workspace-relay", "", ""},
		{"the relay of Workspace from a name of nobody", "preset: workspace-relay", "hostname: relay.local\n",
			"upstream a: it tells its customers by the name in EHLO, and hostname is relay.local; write a full name below a domain of yours"},
		{"the relay of Workspace, known by its address", `address: "smtp-relay.gmail.com:587"`, "hostname: relay.fritz.lan\n",
			"upstream a: it tells its customers by the name in EHLO, and hostname is relay.fritz.lan; write a full name below a domain of yours"},
		{"another from a name of nobody", "preset: gmail, mailbox: scan@example.com, password: p", "hostname: relay.local\n", ""},
		{"Microsoft 365 with a password", "preset: microsoft365, mailbox: scan@example.com, password: p", "",
			"upstream a: it logs in by password, which microsoft365 does not take from 2026-12-31 on; use oauth"},
		{"Microsoft 365 with a password, known by its address", `address: "smtp.office365.com:587", username: u, password: p`, "",
			"upstream a: it logs in by password, which microsoft365 does not take from 2026-12-31 on; use oauth"},
		{"a signature before SES", `preset: ses, region: eu-west-1, username: u, password: p`, key, ""},
		{"a signature before SES that covers what SES replaces", `preset: ses, region: eu-west-1, username: u, password: p, dkim_exclude: [date]`, key,
			"upstream a: ses replaces message-id, which breaks signatures that cover it; write dkim_exclude: [message-id, date]"},
		{"a signature before SES, known by its address", `address: "email-smtp.eu-west-1.amazonaws.com:587", username: u, password: p`, key,
			"upstream a: ses replaces message-id and date, which breaks signatures that cover it; write dkim_exclude: [message-id, date]"},
		{"all excluded before SES, known by its address", `address: "email-smtp.eu-west-1.amazonaws.com:587", username: u, password: p, dkim_exclude: [Message-ID, Date]`, key, ""},
		{"no signature before SES, known by its address", `address: "email-smtp.eu-west-1.amazonaws.com:587", username: u, password: p, dkim: off`, key, ""},
		{"no key at all", `address: "email-smtp.eu-west-1.amazonaws.com:587", username: u, password: p`, "", ""},
		{"a signature before one that rebuilds", "preset: microsoft365-hve, mailbox: scan@example.com, password: p, dkim: on", key, ""},
		{"a signature insisted on before one that rebuilds", "preset: outlook, mailbox: scan@example.com, password: p, dkim: on", key,
			"upstream a: it logs in by password, which outlook does not take from 2024-09-16 on; use oauth\n" +
				"upstream a: outlook rebuilds what it is given, so that a signature made here is broken when it arrives; leave dkim out"},
		{"more than is allowed", "preset: socketlabs, username: u, password: p, limits: {connections: 11, messages_per_connection: 51, recipients_per_message: 501}", "",
			"upstream a: limits.connections is 11, and socketlabs allows 10\nupstream a: limits.messages_per_connection is 51, and socketlabs allows 50\nupstream a: limits.recipients_per_message is 501, and socketlabs allows 500"},
		{"as much as is allowed", "preset: socketlabs, username: u, password: p, limits: {connections: 10, messages_per_connection: 50, recipients_per_message: 500}", "", ""},
		{"reports that would be refused", "preset: gmail, mailbox: scan@example.com, password: p", "null_sender",
			"upstream a: gmail takes no mail from <>, and there are accounts with null_sender; write otherwise: force, or otherwise: next"},
		{"reports that go out as the mailbox", "preset: gmail, mailbox: scan@example.com, password: p, otherwise: force", "null_sender", ""},
		{"a server nobody knows", `address: "mail.example.com:587", username: u, password: p`, key, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			text := strings.Replace(sound, "{name: sandbox, preset: capture}", "{name: a, "+row.upstream+"}", 1)
			text = strings.Replace(text, "upstreams: [sandbox]", "upstreams: [a]", 1)
			switch {
			case row.more == "null_sender":
				text = strings.Replace(text, "name: printer", "name: printer, null_sender: true", 1)
			case strings.HasPrefix(row.more, "hostname"):
				text = strings.Replace(text, "hostname: relay.example.com\n", row.more, 1)
			default:
				text += row.more
			}
			c, err := Parse("w.yaml", []byte(strings.ReplaceAll(text, "/etc/postern", dir)))
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(c.Warnings(), "\n"); got != row.want {
				t.Errorf("got\n%s\nwant\n%s", got, row.want)
			}
		})
	}
}

// TestWhatThePresetSaysOfOtherRooms: the file comes before it.
func TestWhatThePresetSaysOfOtherRooms(t *testing.T) {
	dir := withFiles(t, "/etc/postern")
	for _, row := range []struct {
		name, upstream string
		want           string
	}{
		{"nobody", `address: "h:25"`, "keeps"},
		{"SES", "preset: ses, region: eu-west-1, username: u, password: p", "keeps, without message-id date"},
		{"SES, and the file knows better", "preset: ses, region: eu-west-1, username: u, password: p, dkim_exclude: [subject]", "keeps, without subject"},
		{"SES, and the file says none", "preset: ses, region: eu-west-1, username: u, password: p, dkim_exclude: []", "keeps"},
		{"one that rebuilds", "preset: microsoft365, mailbox: a@example.com, password: p", "rebuilds"},
		{"one that takes no mail from <>", "preset: microsoft365, mailbox: a@example.com, password: p, otherwise: force", "rebuilds, <> otherwise"},
		{"the same, and the file knows better", "preset: microsoft365, mailbox: a@example.com, password: p, otherwise: force, null_sender: keep", "rebuilds, <> keep"},
		{"an API", "preset: microsoft365-graph, mailbox: a@example.com, oauth: {flow: client_credentials, tenant: t, client_id: i, client_secret: s}", "rebuilds, headers address"},
	} {
		t.Run(row.name, func(t *testing.T) {
			text := strings.Replace(sound, "{name: sandbox, preset: capture}", "{name: sandbox, "+row.upstream+"}", 1)
			c, err := Parse("w.yaml", []byte(strings.ReplaceAll(text, "/etc/postern", dir)))
			if err != nil {
				t.Fatal(err)
			}
			signing, keeps := c.Upstreams[0].Signing()
			dressing := c.Upstreams[0].Dressing()
			got := "rebuilds"
			if keeps {
				got = "keeps"
			}
			if len(signing.Exclude) > 0 {
				got += ", without " + strings.Join(signing.Exclude, " ")
			}
			if dressing.NullSender != "" {
				got += ", <> " + dressing.NullSender
			}
			if dressing.EnvelopeHeaders {
				got += ", headers address"
			}
			if got != row.want {
				t.Errorf("got %s, want %s", got, row.want)
			}
		})
	}
}

// TestThePresetKnowsWhereTokensComeFrom: the file still comes first.
func TestThePresetKnowsWhereTokensComeFrom(t *testing.T) {
	dir := withFiles(t, "/etc/postern")
	const app = "mailbox: a@example.com, oauth: {flow: client_credentials, tenant: t, client_id: i, client_secret: s"
	for _, row := range []struct{ name, upstream, url, scope string }{
		{"Microsoft 365", "preset: microsoft365, " + app + "}", "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token", "https://outlook.office365.com/.default"},
		{"another cloud", "preset: microsoft365, cloud: china, " + app + "}", "https://login.partner.microsoftonline.cn/{tenant}/oauth2/v2.0/token", "https://partner.outlook.cn/.default"},
		{"Graph", "preset: microsoft365-graph, " + app + "}", "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token", "https://graph.microsoft.com/.default"},
	} {
		t.Run(row.name, func(t *testing.T) {
			text := strings.Replace(sound, "{name: sandbox, preset: capture}", "{name: sandbox, "+row.upstream+"}", 1)
			c, err := Parse("w.yaml", []byte(strings.ReplaceAll(text, "/etc/postern", dir)))
			if err != nil {
				t.Fatal(err)
			}
			p := c.Credentials()[0].Config.Provider
			if p.TokenURL != row.url || len(p.AppScopes) != 1 || p.AppScopes[0] != row.scope || p.ClientAuth != "post" {
				t.Errorf("got %+v", p)
			}
		})
	}
}
