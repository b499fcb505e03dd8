package upstream

import (
	"cmp"
	"context"
	"crypto/tls"
	"net/netip"
	"strings"

	"postern/relay/message"
	"postern/relay/setting"
	"postern/relay/upstream/preset"
	"postern/relay/upstream/smtp"
	"postern/relay/upstream/throttle"
	"postern/relay/upstream/transport"
	"postern/relay/upstream/webapi"
)

// Config is the upstreams and routes sections of the configuration.
type Config struct {
	Upstreams []Upstream
	Routes    []Route
}

// Upstream is one server that takes our mail.
type Upstream struct {
	// Name stands in routes, logs, metrics and history.
	Name string `yaml:"name"`
	// Preset names its provider, of whom much is known: what is left out here is
	// as the preset has it. "capture" keeps the mail in data_dir/capture instead
	// of sending it; none of the other keys is used then. "" is an SMTP smarthost.
	Preset string `yaml:"preset"`
	// Cloud is the one of the provider's clouds that is meant, such as
	// "us-gov-high"; "": the worldwide one. Region is for providers that have them.
	Cloud  string `yaml:"cloud"`
	Region string `yaml:"region"`
	// Address is host:port of the smarthost, or the URL of an HTTP API.
	Address string `yaml:"address"`
	// TLS is "starttls" (default), "implicit", or "none" for a host on the
	// loopback interface or one that is given no password.
	TLS string `yaml:"tls"`
	// CA is a PEM file with the only roots this upstream's certificate may
	// come from; empty: the system's.
	CA string `yaml:"ca"`
	// ServerName is the name its certificate must have. Default: the host.
	ServerName string `yaml:"server_name"`
	// MinTLS is the least version of TLS: "1.2" (default) or "1.3".
	MinTLS string `yaml:"min_tls"`
	// Certificate is one of ours that is shown to a server that asks for it.
	Certificate smtp.Certificate `yaml:"certificate"`
	// Username and Password log in by AUTH PLAIN or LOGIN; empty: no AUTH, or
	// EXTERNAL where the server offers it for the Certificate.
	Username string         `yaml:"username"`
	Password setting.Secret `yaml:"password"`
	// PasswordFrom is "iam" where Password is the secret access key of an IAM user,
	// of which Amazon SES has the password made (docs/upstreams.md).
	PasswordFrom string `yaml:"password_from"`
	// Mechanisms are those of AUTH that may be used, the preferred first; empty: the
	// usual ones for what there is to log in with.
	Mechanisms []string `yaml:"mechanisms"`
	// SourceAddress is the IP address of this machine to connect from; empty: as
	// its routing table says.
	SourceAddress string `yaml:"source_address"`
	// LookAhead says the envelope of the next message while the final dot of the one
	// before is not answered yet.
	LookAhead bool `yaml:"lookahead"`
	// Mailbox is the user name of tokens where Username is empty, and what the
	// provider counts mail by. It is that of the room rewrite, whose key it is.
	Mailbox message.Address `yaml:"-"`
	// Weight is its share among those that stand together in a route. Default 1.
	Weight int    `yaml:"weight"`
	Limits Limits `yaml:"limits"`
	// Replies are rules for what it says, before those of the preset.
	Replies []preset.Rule `yaml:"replies"`
}

// tlsVersions are the words for MinTLS.
var tlsVersions = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

// smtp is the client's part of u, where all is filled in.
func (u Upstream) smtp(connecting context.Context, o Options, p *preset.Preset, roots []byte) smtp.Config {
	host, _ := splitAddress(u.Address)            // Check has seen it
	source, _ := netip.ParseAddr(u.SourceAddress) // and this one
	tokens, user := o.Tokens[u.Name], u.Username
	if tokens != nil && user == "" && !u.Mailbox.IsNull() {
		user = u.Mailbox.String()
	}
	return smtp.Config{
		Name: u.Name, Address: u.Address, TLS: u.TLS, Roots: roots, ServerName: cmp.Or(u.ServerName, host),
		MinTLS: tlsVersions[cmp.Or(u.MinTLS, "1.2")], Certificate: u.Certificate, Source: source,
		Username: user, Password: u.Password, PasswordOf: u.passwordOf(), Tokens: tokens, Mechanisms: u.mechanisms(p, tokens != nil),
		LookAhead: u.LookAhead, Connections: u.Limits.Connections,
		MessagesPerConnection: u.Limits.MessagesPerConnection, Idle: u.Limits.Idle.Std(),
		Hostname: o.Hostname, Connecting: connecting, Judge: u.judge(p, tokens != nil), Metrics: o.Metrics,
	}
}

// slots is how many messages may be on their way at once: with LookAhead one
// waits behind each that is being sent.
func (u Upstream) slots() int {
	if u.LookAhead {
		return 2 * u.Limits.Connections
	}
	return u.Limits.Connections
}

// webapi is the part of u, where all is filled in, that every HTTP API shares.
func (u Upstream) webapi(connecting context.Context, o Options, p *preset.Preset, roots []byte) webapi.Config {
	return webapi.Config{
		Name: u.Name, Base: strings.TrimSuffix(cmp.Or(u.Address, p.API), "/"), Roots: roots,
		Connections: u.Limits.Connections, Idle: u.Limits.Idle.Std(),
		Tokens: o.Tokens[u.Name], Connecting: connecting, Judge: p.Judge(u.Replies), Metrics: o.Metrics,
	}
}

// Limits of one upstream.
type Limits struct {
	// Connections open at once. Default 20.
	Connections int `yaml:"connections"`
	// MessagesPerConnection before a connection is closed. Default 100.
	MessagesPerConnection int `yaml:"messages_per_connection"`
	// Idle is how long an unused connection is kept. Default 30s.
	Idle setting.Duration `yaml:"idle"`
	// RecipientsPerMessage is how many one transaction may have; further ones go
	// in the next. 0: as many as the server takes.
	RecipientsPerMessage int `yaml:"recipients_per_message"`
	// Size is that of the largest message. 0: as large as the server takes.
	Size setting.Size `yaml:"size"`
	// Messages and Recipients of the mailbox in any such period, through whichever
	// upstream; zero: no limit but what is learned.
	Messages   setting.Rate `yaml:"messages"`
	Recipients setting.Rate `yaml:"recipients"`
}

// throttle is what of the limits counts for the mailbox. It takes each message for
// a connection. With LookAhead two share one, and the transport keeps to the limit,
// as long as no other upstream has the mailbox.
func (u Upstream) throttle(shared bool) throttle.Limits {
	l := throttle.Limits{Connections: u.slots(), Messages: u.Limits.Messages, Recipients: u.Limits.Recipients}
	if shared {
		l.Connections = u.Limits.Connections
	}
	return l
}

// bound is what is offered within the limits.
func (l Limits) bound(o transport.Offer) transport.Offer {
	if size := int64(l.Size); size > 0 && (o.Size == 0 || size < o.Size) {
		o.Size = size
	}
	if n := l.RecipientsPerMessage; n > 0 && (o.Recipients == 0 || n < o.Recipients) {
		o.Recipients = n
	}
	return o
}

// Account is what upstream needs of an entry of accounts.
type Account struct {
	// Route names the route of the account's mail, whatever its sender.
	Route string `yaml:"route"`
}
