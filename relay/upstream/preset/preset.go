// Package preset knows the providers people send through: what their servers are
// called, what they take and change, and what their replies mean. It answers the
// question: what is known of this upstream without being told?
//
// What is known is data, a file per provider in data. Anything in it gives way to
// what the configuration says. The rules for replies of a provider stand before
// those of generic.yaml, which hold for everybody, and behind those of the
// configuration; where none fits, [transport.Usual] decides.
//
// To connect, to wait and to choose among upstreams is left to others.
package preset

import (
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"postern/relay/setting"
)

// Ways to a provider.
const (
	SMTP    = "smtp"
	Graph   = "graph"
	Gmail   = "gmail"
	Capture = "capture"
)

// Words for Username; anything else is the user name itself.
const (
	UserMailbox  = "mailbox"  // the mailbox
	UserGiven    = "given"    // what the configuration says
	UserOptional = "optional" // what the configuration says, if anything
	UserNone     = "none"     // there is no login
)

// Words for NullSender.
const (
	Passes  = "passes"
	Refused = "refused"
)

// Preset is what is known of one provider, in the cloud and region that were
// asked for.
type Preset struct {
	Name string `yaml:"-"`
	// About is a sentence that says what it is.
	About string `yaml:"about"`
	// Transport is one of the ways above.
	Transport string `yaml:"transport"`
	// Address is host:port. "{region}" in it stands for the region; "" is for the
	// configuration to say, and looks like Example.
	Address string `yaml:"address"`
	Example string `yaml:"example"`
	// TLS is starttls or implicit, as it is at Address.
	TLS string `yaml:"tls"`
	// Alternatives are other addresses of the same, in order of preference.
	Alternatives []Alternative `yaml:"alternatives"`
	// Region says what to write as region; "" where there are none.
	Region string `yaml:"region"`
	// Mechanisms of AUTH, in order of preference.
	Mechanisms []string `yaml:"mechanisms"`
	// Username is one of the words above or the user name itself.
	Username string `yaml:"username"`
	// PasswordFrom is IAM where the password can be made of a secret access key.
	PasswordFrom string `yaml:"password_from"`
	Limits       Limits `yaml:"limits"`
	// Rewrites are the fields it replaces: from, message-id, date, or return-path
	// for the envelope's.
	Rewrites []string `yaml:"rewrites"`
	// NullSender is Passes or Refused; "" is not known.
	NullSender string `yaml:"null_sender"`
	// Content is "rebuilt" where no signature of ours would survive, else "kept".
	Content string `yaml:"content"`
	// DKIMExclude are fields no signature of ours should cover.
	DKIMExclude []string `yaml:"dkim_exclude"`
	// FullHostname: EHLO must give a name of the customer's own domain.
	FullHostname bool `yaml:"full_hostname"`
	// OAuth is where tokens come from.
	OAuth OAuth `yaml:"oauth"`
	// API is the address all requests begin with.
	API string `yaml:"api"`
	// PasswordsEnd is the day, such as 2026-12-31, from which a password is no
	// longer enough to log in.
	PasswordsEnd string `yaml:"passwords_end"`
	DNS          DNS    `yaml:"dns"`
	// Notes are what else a person should know.
	Notes []string `yaml:"notes"`
	// Replies are the rules for what it says. The first that fits counts.
	// RepliesOf names another preset whose rules hold here behind them.
	Replies   []Rule `yaml:"replies"`
	RepliesOf string `yaml:"replies_of"`
	// Clouds are what is different in each of its clouds: any of the keys above.
	Clouds map[string]yaml.Node `yaml:"clouds"`

	generic []Rule
}

// Alternative is another address of a provider.
type Alternative struct {
	Address string `yaml:"address"`
	TLS     string `yaml:"tls"`
	// For says what it is for; "" the same.
	For string `yaml:"for"`
}

// Limits are what a provider allows one mailbox, or one connection; 0 is not known
// or without a limit.
type Limits struct {
	Connections           int          `yaml:"connections"`
	MessagesPerConnection int          `yaml:"messages_per_connection"`
	Messages              setting.Rate `yaml:"messages"`
	Recipients            setting.Rate `yaml:"recipients"`
	RecipientsPerMessage  int          `yaml:"recipients_per_message"`
	Size                  setting.Size `yaml:"size"`
}

// OAuth is where an identity provider is, and what to ask it for. "{tenant}"
// stands for the tenant.
type OAuth struct {
	TokenURL     string `yaml:"token_url"`
	DeviceURL    string `yaml:"device_url"`
	AuthorizeURL string `yaml:"authorize_url"`
	// AuthorizeParams go along with a request for consent.
	AuthorizeParams map[string]string `yaml:"authorize_params"`
	// AppScopes are for an application of its own, UserScopes for a person's
	// consent.
	AppScopes  []string `yaml:"app_scopes"`
	UserScopes []string `yaml:"user_scopes"`
	// ClientAuth is how the client's secret is sent: basic or post (RFC 6749,
	// section 2.3.1).
	ClientAuth string `yaml:"client_auth"`
	// Redirect is where a browser is sent back to; one without a port gets a free
	// one.
	Redirect string `yaml:"redirect"`
}

// DNS is what the records of a domain have when its mail may go through the
// provider.
type DNS struct {
	// SPF is the domain that its SPF record includes (RFC 7208, section 5.2).
	SPF string `yaml:"spf"`
	// Selectors are those of the DKIM keys with which the provider signs for it.
	Selectors []string `yaml:"selectors"`
}

// Keeps tells whether content arrives as it was given, DKIMExclude aside.
func (p *Preset) Keeps() bool { return p.Content != "rebuilt" }

// HeadersAddress tells whether whoever stands in To, Cc and Bcc gets the message,
// whatever the envelope says.
func (p *Preset) HeadersAddress() bool { return p.Transport == Graph || p.Transport == Gmail }

// TLSAt is how TLS begins at an address of the provider, which may be one that
// nobody knows.
func (p *Preset) TLSAt(address string) string {
	i := slices.IndexFunc(p.Alternatives, func(a Alternative) bool {
		return a.TLS != "" && address[strings.LastIndex(address, ":")+1:] == a.Address[strings.LastIndex(a.Address, ":")+1:]
	})
	if address != p.Address && i >= 0 {
		return p.Alternatives[i].TLS
	}
	return p.TLS
}
