// Package config reads the one YAML file an operator writes and answers: what
// was meant, and is it sound? The result is made of each room's own Config.
//
// Reading goes in four steps, and the problems of all of them are reported
// together, each as "file:line: path: what is wrong, and what would be right":
//
//  1. syntax: bytes to YAML nodes; one document, no anchors, aliases or tags;
//  2. decode: nodes to structs; unknown and doubled keys, wrong kinds, bad values;
//  3. check: what each room says about its own values, by its Check method;
//  4. references: what only the whole file shows, such as a route to an
//     upstream that is not there.
//
// Whether the files that a configuration names are there and hold what they
// should is for the rooms to say in their checks; this one opens none.
package config

import (
	"fmt"
	"maps"
	"os"
	"reflect"

	"postern/auth"
	"postern/auth/oauth"
	"postern/policy"
	"postern/relay/bounce"
	"postern/relay/dkim"
	"postern/relay/message"
	"postern/relay/queue"
	"postern/relay/submission"
	"postern/relay/upstream"
	"postern/rewrite"
)

// Config is the whole configuration. Its keys stand in the order in which
// config.example.yaml explains them.
type Config struct {
	// Hostname is the name of this gateway to the world: banner, EHLO,
	// Received and Message-ID. A full domain name.
	Hostname string `yaml:"hostname"`
	// Postmaster is who gets digests, and under whose name reports leave; the zero
	// Address if there is nobody.
	Postmaster message.Address `yaml:"postmaster"`
	// DataDir is the directory of queue and history, as an absolute path.
	DataDir   string                `yaml:"data_dir"`
	Listeners []submission.Listener `yaml:"listeners"`
	TLS       submission.TLS        `yaml:"tls"`
	Profiles  []submission.Profile  `yaml:"profiles"`
	Accounts  []Account             `yaml:"accounts"`
	Upstreams []Upstream            `yaml:"upstreams"`
	Routes    []Route               `yaml:"routes"`
	Policy    policy.Config         `yaml:"policy"`
	Rewrite   []rewrite.Rule        `yaml:"rewrite"`
	Headers   rewrite.Config        `yaml:"headers"`
	DKIM      []dkim.Key            `yaml:"dkim"`
	DNS       DNS                   `yaml:"dns"`
	Queue     queue.Config          `yaml:"queue"`
	Digest    bounce.Config         `yaml:"digest"`
	Auth      auth.Config           `yaml:"auth"`
	Tokens    oauth.Store           `yaml:"tokens"`
	Metrics   Metrics               `yaml:"metrics"`
	Log       Log                   `yaml:"log"`
}

// Account is one entry of accounts: what every room knows about it, side by
// side. The rooms share no keys.
type Account struct {
	Auth     auth.Account     `yaml:",inline"`
	Policy   policy.Account   `yaml:",inline"`
	Rewrite  rewrite.Account  `yaml:",inline"`
	Upstream upstream.Account `yaml:",inline"`
	Bounce   bounce.Account   `yaml:",inline"`
}

// Rewriting is what the room rewrite needs of the accounts, by name.
func (c *Config) Rewriting() map[string]rewrite.Account {
	accounts := map[string]rewrite.Account{}
	for _, a := range c.Accounts {
		a.Rewrite.Senders, a.Rewrite.NullSender, a.Rewrite.OwnAddresses = a.Policy.Senders, a.Policy.NullSender, a.Policy.OwnAddresses
		accounts[a.Auth.Name] = a.Rewrite
	}
	return accounts
}

// Upstream is one entry of upstreams: what every room knows about it, side by
// side. The rooms share no keys.
type Upstream struct {
	Upstream upstream.Upstream `yaml:",inline"`
	Rewrite  rewrite.Upstream  `yaml:",inline"`
	DKIM     dkim.Upstream     `yaml:",inline"`
	OAuth    oauth.Upstream    `yaml:",inline"`
}

// Route is one entry of routes: what every room knows about it, side by side.
// The rooms share no keys.
type Route struct {
	Upstream upstream.Route `yaml:",inline"`
	Queue    queue.Route    `yaml:",inline"`
}

// Queueing is what the room queue needs of the configuration. What may have left
// by an upstream already waits for that one, and nobody knows any more by which
// route it came: where all that lead there agree, as they say.
func (c *Config) Queueing() queue.Config {
	q := c.Queue
	q.Routes = map[string]queue.Route{}
	told := map[string]bool{} // lanes that a route led to before
	note := func(lane string, r queue.Route) {
		if told[lane] && !reflect.DeepEqual(q.Routes[lane], r) {
			r = queue.Route{}
		}
		q.Routes[lane], told[lane] = r, true
	}
	for _, r := range c.Routes {
		note(r.Upstream.Name, r.Queue)
		for _, name := range r.Upstream.Names() {
			note(message.PinnedLane(name), r.Queue)
		}
	}
	maps.DeleteFunc(q.Routes, func(_ string, r queue.Route) bool { return r.IsZero() })
	return q
}

// Routing is what the room upstream needs of the configuration.
func (c *Config) Routing() upstream.Config {
	var r upstream.Config
	for _, route := range c.Routes {
		r.Routes = append(r.Routes, route.Upstream)
	}
	for _, u := range c.Upstreams {
		u.Upstream.Mailbox = u.Rewrite.Mailbox
		r.Upstreams = append(r.Upstreams, u.Upstream)
	}
	return r
}

// Credentials is what the room oauth needs of the upstreams.
func (c *Config) Credentials() []oauth.Credential {
	var all []oauth.Credential
	for _, u := range c.Upstreams {
		if !u.OAuth.OAuth.IsZero() {
			all = append(all, oauth.Credential{Upstream: u.Upstream.Name, Mailbox: u.Rewrite.Mailbox.String(), Config: u.OAuth.OAuth})
		}
	}
	return all
}

// DNS is whom the relay asks for the records of its DKIM keys.
type DNS struct {
	// Resolver is host:port of a DNS server; empty: those of the system.
	Resolver string `yaml:"resolver"`
}

// Metrics is where /metrics, /healthz and /readyz are served.
type Metrics struct {
	// Address is host:port; empty: nowhere.
	Address string `yaml:"address"`
}

// Log is how the log on standard error is written.
type Log struct {
	// Format is "json" (default) or "text".
	Format string `yaml:"format"`
	// Level is the least important level written. Default info.
	Level Level `yaml:"level"`
}

// Default is the configuration of an empty file: every default of every
// section. It is not sound by itself, as it has no listeners or accounts.
func Default() *Config {
	return &Config{
		TLS:    submission.TLS{MinVersion: "1.2"},
		Policy: policy.DefaultConfig(),
		Queue:  queue.DefaultConfig(),
		Digest: bounce.DefaultConfig(),
		Auth:   auth.DefaultConfig(),
		Log:    Log{Format: "json"},
	}
}

// Load reads and checks the file at path. The error is [Problems] when the file
// could be read.
func Load(path string) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w; name the file with --config", err)
	}
	return Parse(path, data)
}

// DataDir is data_dir of the file at path, whatever else in it is wrong: those
// who look for a message need no sound configuration.
func DataDir(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("configuration: %w; name the file with --config", err)
	}
	c, f := parse(path, data)
	if c.DataDir == "" {
		return "", f.sorted()
	}
	return c.DataDir, nil
}

// Lines is where each key of the file at path is written, by its path, such as
// "rewrite[2]".
func Lines(path string) (map[string]int, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w; name the file with --config", err)
	}
	_, f := parse(path, data)
	return f.lines, nil
}

// Parse reads and checks the content of a file; name is what problems call it.
// The error is [Problems], with everything that is wrong.
func Parse(name string, data []byte) (*Config, error) {
	c, f := parse(name, data)
	if len(f.problems) > 0 {
		return nil, f.sorted()
	}
	return c, nil
}

// parse takes the four steps. The Config is sound only if there are no problems.
func parse(name string, data []byte) (*Config, *file) {
	c, f := Default(), &file{name: name, lines: map[string]int{}}
	if root := f.syntax(data); root != nil {
		v := reflect.ValueOf(c).Elem()
		f.decode(v, root, "")
		c.know()
		f.check(v, "")
		f.references(c)
	}
	return c, f
}
