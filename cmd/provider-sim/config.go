package main

import (
	"strconv"
	"text/template"

	"postern/cmd/provider-sim/smtpd"
)

// File is the path of a file in Dir, quoted for YAML.
func (s *setup) File(name string) string { return strconv.Quote(s.path(name)) }

// SESPassword is that of the first access key.
func (s *setup) SESPassword() string {
	return smtpd.SESPassword(s.Data.SES.AccessKeys[0].Secret, s.Data.SES.Region)
}

// config has one account for each way, with one password: the user name chooses.
var config = template.Must(template.New("config").Parse(configMark + ` config.example.yaml explains every key.
hostname: relay.example.com
data_dir: {{.File "data"}}
listeners:
  - {name: submission, address: "{{.Relay}}", tls: starttls}
tls:
  certificates:
    - {certificate: {{.File "server.crt"}}, key: {{.File "server.key"}}}
{{- define "account"}}
  - {name: {{.Name}}, route: {{.Name}}, password_hash: "{{.Hash}}", senders: ["@example.com", "@graph.example", "@workspace.example"]}
{{- end}}
accounts:
{{- range .Ways}}{{template "account" .}}{{end}}
upstreams:
{{- $m := index .Data.Microsoft.Tenants 0}}
{{- $g := index .Data.Microsoft.Tenants 1}}
{{- $app := index $m.Apps 0}}
  - name: m365
    preset: microsoft365
    address: "{{index .Addresses "microsoft-smtp"}}"
    ca: {{.File "ca.pem"}}
    mailbox: relay@example.com
    oauth:
      flow: client_credentials
      tenant: {{$m.ID}}
      client_id: {{$app.ClientID}}
      client_secret: {{$app.Secret}}
      token_url: "https://{{index .Addresses "microsoft-login"}}/{{$m.ID}}/oauth2/v2.0/token"
      ca: {{.File "ca.pem"}}
  - name: m365-certificate
    preset: microsoft365
    address: "{{index .Addresses "microsoft-smtp"}}"
    ca: {{.File "ca.pem"}}
    mailbox: second@example.com
    oauth:
      flow: client_credentials
      tenant: {{$m.ID}}
      client_id: {{$app.ClientID}}
      certificate: {{.File "app.crt"}}
      key: {{.File "app.key"}}
      token_url: "https://{{index .Addresses "microsoft-login"}}/{{$m.ID}}/oauth2/v2.0/token"
      ca: {{.File "ca.pem"}}
  - name: m365-device
    preset: microsoft365
    address: "{{index .Addresses "microsoft-smtp"}}"
    ca: {{.File "ca.pem"}}
    mailbox: relay@example.com
    oauth:
      flow: device
      tenant: {{$m.ID}}
      client_id: {{(index $m.Apps 2).ClientID}}
      token_url: "https://{{index .Addresses "microsoft-login"}}/{{$m.ID}}/oauth2/v2.0/token"
      device_url: "https://{{index .Addresses "microsoft-login"}}/{{$m.ID}}/oauth2/v2.0/devicecode"
      ca: {{.File "ca.pem"}}
  - name: graph
    preset: microsoft365-graph
    address: "https://{{index .Addresses "graph"}}"
    ca: {{.File "ca.pem"}}
    mailbox: relay@graph.example
    oauth:
      flow: client_credentials
      tenant: {{$g.ID}}
      client_id: {{(index $g.Apps 0).ClientID}}
      client_secret: {{(index $g.Apps 0).Secret}}
      token_url: "https://{{index .Addresses "microsoft-login"}}/{{$g.ID}}/oauth2/v2.0/token"
      ca: {{.File "ca.pem"}}
  - name: gmail
    preset: gmail
    address: "{{index .Addresses "gmail-smtp"}}"
    ca: {{.File "ca.pem"}}
    mailbox: relay@workspace.example
    oauth:
      flow: service_account
      service_account: "file:{{.Dir}}/google-relay.json"
      token_url: "https://{{index .Addresses "google-login"}}/token"
      ca: {{.File "ca.pem"}}
  - name: gmail-password
    preset: gmail
    address: "{{index .Addresses "gmail-smtp"}}"
    ca: {{.File "ca.pem"}}
    mailbox: relay@workspace.example
    username: relay@workspace.example
    password: {{(index .Data.Google.Mailboxes 0).AppPassword}}
  - name: gmail-api
    preset: gmail-api
    address: "https://{{index .Addresses "gmail-api"}}"
    ca: {{.File "ca.pem"}}
    mailbox: relay@workspace.example
    oauth:
      flow: service_account
      service_account: "file:{{.Dir}}/google-relay.json"
      token_url: "https://{{index .Addresses "google-login"}}/token"
      ca: {{.File "ca.pem"}}
  - name: ses
    preset: ses
    address: "{{index .Addresses "ses-smtp"}}"
    ca: {{.File "ca.pem"}}
    username: {{(index .Data.SES.AccessKeys 0).ID}}
    password: "{{.SESPassword}}"
routes:
{{- range .Ways}}
  - {name: {{.Name}}, upstreams: [{{.Name}}]}
{{- end}}
queue: {min_free: 100MiB, retry: [1s, 5s, 30s, 5m]}
tokens: {key: "file:{{.Dir}}/token.key"}
metrics: {address: "{{.Metrics}}"}
log: {format: text}
`))

// Way is an upstream of the configuration, with the account and the route of its name.
type Way struct{ Name, Hash string }

// Ways are all of them.
func (s *setup) Ways() (ways []Way) {
	for _, name := range []string{"m365", "m365-certificate", "m365-device", "graph", "gmail", "gmail-password", "gmail-api", "ses"} {
		ways = append(ways, Way{name, s.Hash})
	}
	return ways
}

var greeting = template.Must(template.New("greeting").Parse(`
The providers are there; nothing leaves this machine. A minute of theirs lasts {{.Minute}}.

  Microsoft 365   SMTP {{index .Addresses "microsoft-smtp"}}, Graph https://{{index .Addresses "graph"}}
                  tokens https://{{index .Addresses "microsoft-login"}}
  Gmail           SMTP {{index .Addresses "gmail-smtp"}} and {{index .Addresses "gmail-smtps"}} (TLS), API https://{{index .Addresses "gmail-api"}}
                  tokens https://{{index .Addresses "google-login"}}
  Amazon SES      SMTP {{index .Addresses "ses-smtp"}} and {{index .Addresses "ses-smtps"}} (TLS)
  files           {{.Dir}}{{if .Temporary}} (removed at the end){{end}}

{{if .Usual}}A relay that sends through them, from another terminal, and a message for it:

  postern serve --config {{.Dir}}/config.yaml
  swaks --server {{.Relay}} --tls --auth LOGIN --auth-user m365 --auth-password {{.Password}} --from relay@example.com --to you@example.org

The user is the way it takes: m365, m365-certificate, m365-device (postern login
first), graph, gmail, gmail-password, gmail-api, ses. A provider takes only From
addresses of its own; --print-world tells which.

{{end}}What arrived, what was counted; and what is to go wrong, as "known" lists it:

  curl http://{{index .Addresses "control"}}/messages
  curl http://{{index .Addresses "control"}}/stats
  curl http://{{index .Addresses "control"}}/faults/known
  curl -d '{"name": "432", "times": 3}' http://{{index .Addresses "control"}}/faults
  curl -d '{"name": "token-down"}' http://{{index .Addresses "control"}}/faults
  curl -X DELETE http://{{index .Addresses "control"}}/faults
  curl -X POST http://{{index .Addresses "control"}}/tokens/microsoft/expire

Ctrl-C ends it.

`))
