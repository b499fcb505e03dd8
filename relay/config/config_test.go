package config

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/auth"
	"postern/relay/queue"
	"postern/relay/setting"
)

const sound = `
hostname: relay.example.com
data_dir: /var/lib/postern
listeners: [{name: submission, address: ":587", tls: starttls}]
tls: {certificates: [{certificate: /etc/postern/tls.crt, key: /etc/postern/tls.key}]}
accounts: [{name: printer, senders: [scan@example.com]}]
upstreams: [{name: sandbox, preset: capture}]
routes: [{name: default, upstreams: [sandbox]}]
`

func TestLoadReadsEveryKind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	text := withFiles(t, strings.Replace(sound, "name: printer", "name: 0123, aliases: [on], null_sender: true, networks: [10.0.0.1, fd00::/8], limits: {size: 1MiB}", 1)) +
		"queue: {retry: [10s], expire: 1h}\nlog: {level: warn}\npolicy: {limits: {recipients_per_message: 7}}\nheaders:\nauth:\n  mechanisms:\n  # - PLAIN\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	a := c.Accounts[0]
	for _, row := range []struct {
		what      string
		got, want any
	}{
		{"text that looks like a number is the text", a.Auth.Name, "0123"},
		{"text that looks like a switch is the text", a.Auth.Aliases, []string{"on"}},
		{"a switch", a.Policy.NullSender, true},
		{"networks", a.Auth.Networks.String(), "10.0.0.1/32, fd00::/8"},
		{"a size below an account", a.Policy.Limits.Size, setting.Size(1 << 20)},
		{"senders", a.Policy.Senders.String(), "scan@example.com"},
		{"a list replaces the default", c.Queue.Retry, []setting.Duration{setting.Duration(10 * time.Second)}},
		{"a duration", c.Queue.Expire.Std(), time.Hour},
		{"a default beside what is written", c.Queue.Uncertain, queue.DefaultConfig().Uncertain},
		{"a count", c.Policy.Limits.RecipientsPerMessage, 7},
		{"a list whose entries are commented out has its default", c.Auth, auth.DefaultConfig()},
		{"a section whose keys are commented out", c.Headers.HideClient, false},
		{"a level", c.Log.Level.Level(), slog.LevelWarn},
	} {
		if !reflect.DeepEqual(row.got, row.want) {
			t.Errorf("%s: got %v, want %v", row.what, row.got, row.want)
		}
	}
}

func TestLoadOfAFileThatIsNotThereSaysHowToNameOne(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "config.yaml"))
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "--config") {
		t.Errorf("the error is %v", err)
	}
}

func TestProblemsBeginWithFileAndLine(t *testing.T) {
	_, err := Parse("/etc/postern/config.yaml", []byte("hostname: relay\nlocation: cellar\n"))
	lines := strings.Split(err.Error(), "\n")
	if want := `/etc/postern/config.yaml:1: hostname: "relay" is not the full name`; !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, want) }) {
		t.Errorf("got\n%v\nwithout\n%s", err, want)
	}
}

func TestAccountsOfTheRoomsShareNoKeys(t *testing.T) {
	all := keys(reflect.TypeFor[Account]())
	slices.Sort(all)
	if unique := slices.Compact(slices.Clone(all)); len(unique) != len(all) {
		t.Errorf("one key has two rooms: %q", all)
	}
}

func TestEveryKeyIsOfAKindThatCanBeReadAndNamed(t *testing.T) {
	var visit func(reflect.Type, string)
	visit = func(typ reflect.Type, path string) {
		switch {
		case isSection(typ):
			for _, fd := range fields(typ) {
				visit(typ.FieldByIndex(fd.index).Type, join(path, fd.key))
			}
		case isList(typ):
			if !isSection(typ.Elem()) && words[typ.Elem()].many == "" {
				t.Errorf("%s: there are no words for a list of %v", path, typ.Elem())
			}
			visit(typ.Elem(), path)
		default:
			if words[typ].one == "" {
				t.Errorf("%s: there are no words for a %v", path, typ)
			}
		}
	}
	visit(reflect.TypeFor[Config](), "")
}

func TestWarnings(t *testing.T) {
	for _, row := range []struct{ name, old, new, want string }{
		{"a sound configuration", "", "", ""},
		{"an upstream no route names", "upstreams: [{", "upstreams: [{name: spare, preset: capture}, {",
			"upstream spare is never used: no route names it"},
		{"a route behind one that takes all", "routes: [{", "routes: [{name: all, upstreams: [sandbox]}, {",
			"route default is never used: route all before it takes all mail"},
		{"a route that takes all behind one that does not", "routes: [{", "routes: [{name: some, senders: [scan@example.com], upstreams: [sandbox]}, {", ""},
		{"a route behind one that takes all but named by an account", "senders: [scan@example.com]}]", "senders: [scan@example.com], route: last}]",
			"route default is never used: route all before it takes all mail"},
		{"a client secret that has ended", "upstreams: [{", "upstreams: [{name: m365, preset: microsoft365, mailbox: a@example.com, oauth: {flow: client_credentials, tenant: example.com, client_id: a, client_secret: b, client_secret_expires: 2020-01-31}}, {",
			"upstream m365 is never used: no route names it\nupstream m365: its client_secret has ended on 2020-01-31: make a new one at the provider, and write it into the configuration"},
		{"issuers without a mechanism for tokens", "", `auth: {issuers: [{issuer: "https://login.example.com", audience: [a, b]}]}` + "\n",
			"auth.issuers is never used: add XOAUTH2 and OAUTHBEARER to auth.mechanisms"},
		{"an issuer whose every token would do", "", "auth: {mechanisms: [XOAUTH2], issuers: [{introspection_url: \"https://idp.example.com/i\", client_id: me, client_secret: s}]}\n",
			"issuer https://idp.example.com/i: any live token of it that names an account can log in; write what yours have as audience, or scopes"},
		{"an issuer asked for tokens with a scope", "", "auth: {mechanisms: [XOAUTH2], issuers: [{introspection_url: \"https://idp.example.com/i\", client_id: me, client_secret: s, scopes: [mail]}]}\n", ""},
		{"a trusted account that may send as anybody", "senders: [scan@example.com]}]", "trusted: true, networks: [10.20.3.7], senders: [\"*\"]}]",
			"account printer is trusted by its network alone and may send as anybody: list its senders, such as scan@example.com"},
	} {
		t.Run(row.name, func(t *testing.T) {
			text := strings.Replace(sound, row.old, row.new, 1)
			if strings.Contains(text, "route: last") {
				text = strings.Replace(text, "routes: [{", "routes: [{name: all, upstreams: [sandbox]}, {name: last, upstreams: [sandbox]}, {", 1)
			}
			c, err := Parse("w.yaml", []byte(withFiles(t, text)))
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(c.Warnings(), "\n"); got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}
