package config

import (
	"os"
	"reflect"
	"regexp"
	"testing"
	"time"

	"postern/relay/setting"
)

const examplePath = "../../config.example.yaml"

// commented is a key that is commented out: "#key:", "#- key:" where it begins
// an entry of a list, or "#  key:" below such a key. Prose has one space behind
// the #.
var commented = regexp.MustCompile(`(?m)^( *)#((?:  )*(?:- )?[a-z_]+:)`)

// readExample is the example with every commented key switched on.
func readExample(t *testing.T) (*Config, *file) {
	t.Helper()
	data, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	c, f := parse(examplePath, []byte(withFiles(t, commented.ReplaceAllString(string(data), "$1$2"))))
	if len(f.problems) > 0 {
		t.Fatalf("with every commented key switched on:\n%v", f.sorted())
	}
	return c, f
}

func TestExampleLoadsAsItIs(t *testing.T) {
	data, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Parse(examplePath, []byte(withFiles(t, string(data))))
	if err != nil {
		t.Fatal(err)
	}
	if w := c.Warnings(); len(w) > 0 {
		t.Errorf("warnings: %q", w)
	}
	if got, err := c.Upstreams[0].Upstream.Password.Reveal(); got != "replace-me" || err != nil {
		t.Errorf("the password of the upstream is %q, %v", got, err)
	}
}

func TestExampleShowsEveryKey(t *testing.T) {
	_, f := readExample(t)
	shown := map[string]bool{}
	for path := range f.lines {
		shown[regexp.MustCompile(`\[\d+\]`).ReplaceAllString(path, "")] = true
	}
	for _, path := range everyKey(reflect.TypeFor[Config](), "") {
		if !shown[path] {
			t.Errorf("%s is not in config.example.yaml", path)
		}
	}
}

// everyKey lists the keys below t, without the indices of lists.
func everyKey(t reflect.Type, path string) []string {
	if isList(t) {
		t = t.Elem()
	}
	if !isSection(t) {
		return nil
	}
	var all []string
	for _, fd := range fields(t) {
		at := join(path, fd.key)
		all = append(append(all, at), everyKey(t.FieldByIndex(fd.index).Type, at)...)
	}
	return all
}

func TestExampleKeysStandInTheOrderOfTheConfig(t *testing.T) {
	data, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, m := range regexp.MustCompile(`(?m)^([a-z_]+):`).FindAllStringSubmatch(string(data), -1) {
		order = append(order, m[1])
	}
	if want := keys(reflect.TypeFor[Config]()); !reflect.DeepEqual(order, want) {
		t.Errorf("the example has %q, the config %q", order, want)
	}
}

func TestExampleShowsTheDefaults(t *testing.T) {
	c, _ := readExample(t)
	d := Default()
	for _, s := range []struct {
		section  string
		got, def any
	}{
		{"tls.min_version", c.TLS.MinVersion, d.TLS.MinVersion},
		{"headers.hide_client", c.Headers.HideClient, d.Headers.HideClient},
		{"dkim canonicalization", c.DKIM[0].Canonicalization, "relaxed/relaxed"},
		{"dkim subdomains", c.DKIM[0].Subdomains, false},
		{"dkim state", c.DKIM[0].State, "auto"},
		{"upstreams otherwise", c.Upstreams[0].Rewrite.Otherwise, "refuse"},
		{"upstreams original_to", c.Upstreams[0].Rewrite.OriginalTo, "reply-to"},
		{"upstreams null_sender", c.Upstreams[0].Rewrite.NullSender, "keep"},
		{"upstreams envelope_headers", c.Upstreams[0].Rewrite.EnvelopeHeaders, false},
		{"upstreams dkim", c.Upstreams[0].DKIM.DKIM, "auto"},
		{"queue", c.Queue, d.Queue},
		{"digest", c.Digest, d.Digest},
		{"accounts bounce", c.Accounts[0].Bounce.Bounce, c.Accounts[0].Bounce.Policy(false, true)},
		{"auth.mechanisms", c.Auth.Mechanisms, d.Auth.Mechanisms},
		{"auth.memory", c.Auth.Memory, d.Auth.Memory},
		{"auth.directories start_tls", c.Auth.Directories[0].StartTLS, false},
		{"auth.directories filter", c.Auth.Directories[0].Filter, "(&(objectClass=person)(uid=%u))"},
		{"auth.directories mail_attributes", c.Auth.Directories[0].MailAttributes, []string{"mail", "proxyAddresses"}},
		{"auth.directories timeout", c.Auth.Directories[0].Timeout, setting.Duration(10 * time.Second)},
		{"auth.directories connections", c.Auth.Directories[0].Connections, 4},
		{"accounts directory", c.Accounts[0].Auth.Directory, false},
		{"accounts own_addresses", c.Accounts[0].Policy.OwnAddresses, false},
		{"auth.issuers algorithms", c.Auth.Issuers[0].Algorithms, []string{"RS256", "PS256", "ES256", "EdDSA"}},
		{"auth.issuers token_types", c.Auth.Issuers[0].TokenTypes, []string{"at+jwt"}},
		{"auth.issuers account_claim", c.Auth.Issuers[0].AccountClaim, "sub"},
		{"auth.issuers clock_skew", c.Auth.Issuers[0].ClockSkew, setting.Duration(time.Minute)},
		{"log", c.Log, d.Log},
		{"policy.ban", c.Policy.Ban, d.Policy.Ban},
		{"policy.limits.per_ip", c.Policy.Limits.PerIP, d.Policy.Limits.PerIP},
		{"accounts null_sender", c.Accounts[0].Policy.NullSender, false},
		{"upstreams tls", c.Upstreams[0].Upstream.TLS, "starttls"},
		{"upstreams min_tls", c.Upstreams[0].Upstream.MinTLS, "1.2"},
		{"upstreams replies outcome", c.Upstreams[0].Upstream.Replies[0].Outcome, "deferred"},
		{"upstreams lookahead", c.Upstreams[0].Upstream.LookAhead, false},
		{"upstreams limits.connections", c.Upstreams[0].Upstream.Limits.Connections, 20},
		{"upstreams limits.messages_per_connection", c.Upstreams[0].Upstream.Limits.MessagesPerConnection, 100},
		{"upstreams limits.idle", c.Upstreams[0].Upstream.Limits.Idle, setting.Duration(30 * time.Second)},
	} {
		if !reflect.DeepEqual(s.got, s.def) {
			t.Errorf("%s: the example shows %v, the default is %v", s.section, s.got, s.def)
		}
	}
}
