package world

import (
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"reflect"
	"strings"

	"gopkg.in/yaml.v3"
)

// Usual is the world a simulation begins with unless it is given another.
//
//go:embed world.yaml
var Usual []byte

// Data is who is there, what they may do, and how much of it.
type Data struct {
	Microsoft Microsoft `yaml:"microsoft"`
	Google    Google    `yaml:"google"`
	SES       SES       `yaml:"ses"`
}

// Microsoft is Exchange Online, Graph and Entra ID.
type Microsoft struct {
	Host      string          `yaml:"host"`
	Limits    MicrosoftLimits `yaml:"limits"`
	TokenLife int             `yaml:"token_life"`
	Tenants   []Tenant        `yaml:"tenants"`
}

// MicrosoftLimits are those of one mailbox or request.
type MicrosoftLimits struct {
	Connections          int    `yaml:"connections"`
	Messages             int    `yaml:"messages"`
	Excess               string `yaml:"excess"`
	Recipients           int    `yaml:"recipients"`
	RecipientsPerMessage int    `yaml:"recipients_per_message"`
	Size                 int64  `yaml:"size"`
	GraphRequest         int64  `yaml:"graph_request"`
	GraphConcurrency     int    `yaml:"graph_concurrency"`
	GraphRequests        int    `yaml:"graph_requests"`
	GraphAttachment      int64  `yaml:"graph_attachment"`
}

// Tenant is an organisation at Microsoft.
type Tenant struct {
	ID        string    `yaml:"id"`
	Name      string    `yaml:"name"`
	SMTPAuth  string    `yaml:"smtp_auth"`
	Apps      []App     `yaml:"apps"`
	Mailboxes []Mailbox `yaml:"mailboxes"`
}

// App is a registered application: Exchange and Graph are the permissions it was
// given, Mailboxes those it may open. A public one has no secret, and asks people.
type App struct {
	ClientID    string   `yaml:"client_id"`
	Secret      string   `yaml:"secret"`
	Certificate string   `yaml:"certificate"`
	Exchange    []string `yaml:"exchange"`
	Graph       []string `yaml:"graph"`
	Mailboxes   []string `yaml:"mailboxes"`
	Public      bool     `yaml:"public"`
}

// Mailbox is one person's, or a shared one. SMTPAuth "off" and Basic ("off",
// "blocked", "retired", "browser") are what keeps it from logging in; Delegates
// are other people who may open it; Quota is in octets of sent mail.
type Mailbox struct {
	Address     string   `yaml:"address"`
	Password    string   `yaml:"password"`
	AppPassword string   `yaml:"app_password"`
	SendAs      []string `yaml:"send_as"`
	Delegates   []string `yaml:"delegates"`
	SMTPAuth    string   `yaml:"smtp_auth"`
	Basic       string   `yaml:"basic"`
	Quota       int64    `yaml:"quota"`
}

// MaySend tells whether address is the mailbox or one it may send as.
func (m Mailbox) MaySend(address string) bool {
	return strings.EqualFold(m.Address, address) || Lists(m.SendAs, address)
}

// Google is Gmail with its API, and the accounts of Google.
type Google struct {
	Limits          GoogleLimits     `yaml:"limits"`
	TokenLife       int              `yaml:"token_life"`
	Clients         []Client         `yaml:"clients"`
	ServiceAccounts []ServiceAccount `yaml:"service_accounts"`
	Mailboxes       []Mailbox        `yaml:"mailboxes"`
}

// GoogleLimits are those of one user.
type GoogleLimits struct {
	Messages             int   `yaml:"messages"`
	Recipients           int   `yaml:"recipients"`
	RecipientsPerMessage int   `yaml:"recipients_per_message"`
	Size                 int64 `yaml:"size"`
	Upload               int64 `yaml:"upload"`
	QuotaUnits           int   `yaml:"quota_units"`
}

// Client is an application that asks people for consent.
type Client struct {
	ClientID string `yaml:"client_id"`
	Secret   string `yaml:"secret"`
}

// ServiceAccount may act for everybody of its domains, within its scopes. Its
// key is made at the start of the simulation.
type ServiceAccount struct {
	Email   string   `yaml:"email"`
	Domains []string `yaml:"domains"`
	Scopes  []string `yaml:"scopes"`
}

// SES is Amazon's Simple Email Service in one region.
type SES struct {
	Region     string      `yaml:"region"`
	Limits     SESLimits   `yaml:"limits"`
	AccessKeys []AccessKey `yaml:"access_keys"`
	Identities []string    `yaml:"identities"`
}

// SESLimits are those of the whole account; Rate is in messages a second.
type SESLimits struct {
	Connections          int   `yaml:"connections"`
	Rate                 int   `yaml:"rate"`
	Recipients           int   `yaml:"recipients"`
	RecipientsPerMessage int   `yaml:"recipients_per_message"`
	Size                 int64 `yaml:"size"`
}

// AccessKey is that of an IAM user; one that is Denied may not send.
type AccessKey struct {
	ID     string `yaml:"id"`
	Secret string `yaml:"secret"`
	Denied bool   `yaml:"denied"`
}

// Parse reads a world; what it leaves out is as in Usual, where a list is given
// it is the whole list.
func Parse(text []byte) (Data, error) {
	var d Data
	for _, t := range [][]byte{Usual, text} {
		decoder := yaml.NewDecoder(bytes.NewReader(t))
		decoder.KnownFields(true)
		if err := decoder.Decode(&d); err != nil && err != io.EOF {
			return d, fmt.Errorf("the world cannot be read: %w", err)
		}
	}
	if e := d.Microsoft.Limits.Excess; e != "delay" && e != "refuse" {
		return d, fmt.Errorf("microsoft.limits.excess is %q; it is delay or refuse", e)
	}
	return d, nil
}

// OpensFor tells whether that person may open the mailbox.
func (m Mailbox) OpensFor(person string) bool {
	return strings.EqualFold(m.Address, person) || Lists(m.Delegates, person)
}

// SamePeople tells whether who is there is as in e; limits may differ.
func (d Data) SamePeople(e Data) bool {
	return reflect.DeepEqual(d.Microsoft.Tenants, e.Microsoft.Tenants) && reflect.DeepEqual(d.Google.Mailboxes, e.Google.Mailboxes) &&
		reflect.DeepEqual(d.Google.ServiceAccounts, e.Google.ServiceAccounts) && reflect.DeepEqual(d.SES.AccessKeys, e.SES.AccessKeys)
}

// Lists tells whether one of patterns is address, or its "@domain".
func Lists(patterns []string, address string) bool {
	_, domain, _ := strings.Cut(address, "@")
	for _, p := range patterns {
		if strings.EqualFold(p, address) || strings.EqualFold(p, "@"+domain) {
			return true
		}
	}
	return false
}

// Find is the mailbox of that address.
func Find(mailboxes []Mailbox, address string) (Mailbox, bool) {
	for _, m := range mailboxes {
		if strings.EqualFold(m.Address, address) {
			return m, true
		}
	}
	return Mailbox{}, false
}
