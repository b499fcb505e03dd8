package upstream_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"postern/relay/setting"
	"postern/relay/upstream"
	"postern/relay/upstream/preset"
	"postern/relay/upstream/smtp"
)

// problems collects what a Check reports.
func problems(check func(func(string, string, ...any))) []string {
	var all []string
	check(func(key, format string, args ...any) { all = append(all, key+": "+fmt.Sprintf(format, args...)) })
	return all
}

// sameProblems wants each in turn to begin with the key and hold the words.
func sameProblems(t *testing.T, name string, got []string, want ...string) {
	t.Helper()
	ok := slices.EqualFunc(got, want, func(g, w string) bool {
		key, words, _ := strings.Cut(w, ": ")
		return strings.HasPrefix(g, key+": ") && strings.Contains(g, words)
	})
	if !ok {
		t.Errorf("%s:\n got %q\nwant %q", name, got, want)
	}
}

func TestCheckUpstream(t *testing.T) {
	secret := setting.Plain("x")
	for _, c := range []struct {
		name string
		u    upstream.Upstream
		want []string
	}{
		{"a smarthost", upstream.Upstream{Name: "a", Address: "smtp.example.com:587", Username: "u", Password: secret}, nil},
		{"a smarthost by IPv6 address", upstream.Upstream{Name: "a", Address: "[::1]:25"}, nil},
		{"a capture", upstream.Upstream{Name: "a", Preset: "capture"}, nil},
		{"a name with a space", upstream.Upstream{Name: "a b", Preset: "capture"}, []string{"name: letters"}},
		{"no name, no address", upstream.Upstream{}, []string{"name: missing", "address: missing"}},
		{"an unknown preset", upstream.Upstream{Name: "a", Preset: "sendmail"}, []string{"preset: not known"}},
		{"a preset is enough", upstream.Upstream{Name: "a", Preset: "sendgrid", Password: secret}, nil},
		{"a preset whose user is the mailbox", upstream.Upstream{Name: "a", Preset: "gmail", Password: secret}, nil},
		{"a preset with a region", upstream.Upstream{Name: "a", Preset: "ses", Region: "eu-west-1", Username: "u", Password: secret}, nil},
		{"a preset with an address instead of a region", upstream.Upstream{Name: "a", Preset: "ses", Address: "vpce.example.com:587", Username: "u", Password: secret}, nil},
		{"a password made of a key", upstream.Upstream{Name: "a", Preset: "ses", Region: "eu-west-1", Username: "u", Password: secret, PasswordFrom: "iam"}, nil},
		{"a password made of a key for another region than none", upstream.Upstream{Name: "a", Preset: "ses", Address: "vpce.example.com:587", Username: "u", Password: secret, PasswordFrom: "iam"}, []string{"region: one region"}},
		{"a password made of nothing", upstream.Upstream{Name: "a", Preset: "ses", Region: "eu-west-1", Username: "u", PasswordFrom: "iam"}, []string{"password: missing"}},
		{"a password made elsewhere", upstream.Upstream{Name: "a", Preset: "gmail", Password: secret, PasswordFrom: "iam"}, []string{"password_from: preset ses"}},
		{"a capture with rules", upstream.Upstream{Name: "a", Preset: "capture", Replies: []preset.Rule{{Action: "retry"}}}, []string{"replies: capture"}},
		{"an address without port", upstream.Upstream{Name: "a", Address: "smtp.example.com"}, []string{"address: host:port"}},
		{"a port out of range", upstream.Upstream{Name: "a", Address: "smtp.example.com:99999"}, []string{"address: 65535"}},
		{"an unknown word for tls", upstream.Upstream{Name: "a", Address: "h:25", TLS: "on"}, []string{"tls: starttls"}},
		{"a password in clear", upstream.Upstream{Name: "a", Address: "h:25", TLS: "none", Username: "u", Password: secret}, []string{"tls: in clear"}},
		{"a password in clear to this machine", upstream.Upstream{Name: "a", Address: "127.0.0.1:25", TLS: "none", Username: "u", Password: secret}, nil},
		{"in clear without a password", upstream.Upstream{Name: "a", Address: "h:25", TLS: "none"}, nil},
		{"a CA without TLS", upstream.Upstream{Name: "a", Address: "h:25", TLS: "none", CA: "/x"}, []string{"tls: no certificate"}},
		{"a CA that is not there", upstream.Upstream{Name: "a", Address: "h:25", CA: "/nowhere.pem"}, []string{"ca: /nowhere.pem"}},
		{"a username without password", upstream.Upstream{Name: "a", Address: "h:25", Username: "u"}, []string{"password: missing"}},
		{"a password without username", upstream.Upstream{Name: "a", Address: "h:25", Password: secret}, []string{"username: missing"}},
		{"a username of two lines", upstream.Upstream{Name: "a", Address: "h:25", Username: "u\n", Password: secret}, []string{"username: control"}},
		{"a capture with keys of a smarthost", upstream.Upstream{Name: "a", Preset: "capture", Address: "h:25", Username: "u"}, []string{"address: capture", "username: capture"}},
		{"a capture with a login", upstream.Upstream{Name: "a", Preset: "capture", MinTLS: "1.3", Mechanisms: []string{"PLAIN"}, SourceAddress: "::1"}, []string{"min_tls: capture", "mechanisms: capture", "source_address: capture"}},
		{"a certificate that is not there", upstream.Upstream{Name: "a", Address: "h:25", Certificate: smtp.Certificate{Certificate: "/nowhere.crt", Key: "/nowhere.key"}}, []string{"certificate: /nowhere.crt"}},
		{"a certificate without TLS", upstream.Upstream{Name: "a", Address: "h:25", TLS: "none", Certificate: smtp.Certificate{Certificate: "/x", Key: "/y"}}, []string{"tls: no certificate"}},
		{"a mechanism without what it needs", upstream.Upstream{Name: "a", Address: "h:25", Mechanisms: []string{"PLAIN"}}, []string{"mechanisms[0]: needs password"}},
		{"limits below zero", upstream.Upstream{Name: "a", Preset: "capture", Limits: upstream.Limits{Connections: -1, MessagesPerConnection: -1}}, []string{"limits.connections: below", "limits.messages_per_connection: below"}},
	} {
		sameProblems(t, c.name, problems(c.u.Check), c.want...)
	}
}

func TestCheckRoutes(t *testing.T) {
	one := upstream.Upstream{Name: "one", Preset: "capture"}
	for _, c := range []struct {
		name string
		cfg  upstream.Config
		want []string
	}{
		{"a good one", route(one), nil},
		{"nothing", upstream.Config{}, []string{"upstreams: none", "routes: none"}},
		{"two of one name", upstream.Config{Upstreams: []upstream.Upstream{one, one}, Routes: []upstream.Route{{Name: "r"}, {Name: "r"}}},
			[]string{"upstreams[1].name: another", "routes[1].name: another"}},
		{"an unknown upstream", upstream.Config{Upstreams: []upstream.Upstream{one}, Routes: []upstream.Route{{Name: "q", Upstreams: []upstream.Group{{"one"}}}, {Name: "r", Upstreams: []upstream.Group{{"one"}, {"tow"}}}}},
			[]string{"routes[1].upstreams[1]: upstreams has one"}},
	} {
		sameProblems(t, c.name, problems(c.cfg.Check), c.want...)
	}
	for _, c := range []struct {
		name string
		r    upstream.Route
		want []string
	}{
		{"a name with a colon", upstream.Route{Name: "upstream:x", Upstreams: []upstream.Group{{"one"}}}, []string{"name: letters"}},
		{"no upstreams", upstream.Route{Name: "r"}, []string{"upstreams: empty"}},
		{"an upstream twice", upstream.Route{Name: "r", Upstreams: []upstream.Group{{"a"}, {"a"}}}, []string{"upstreams[1]: already"}},
	} {
		sameProblems(t, c.name, problems(c.r.Check), c.want...)
	}
}
