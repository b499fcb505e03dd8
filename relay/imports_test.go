package relay_test

import (
	"os/exec"
	"strings"
	"testing"
)

// Imports point one way: cmd -> relay -> rooms -> leaves. Each line names what
// a package of ours may import of ours, and why.
var allowedImports = map[string]struct {
	imports string
	because string
}{
	"postern/cmd/postern":              {"auth auth/oauth metrics relay relay/admin relay/archive relay/config relay/devices relay/dkim relay/message relay/queue relay/setting relay/upstream relay/upstream/preset", "subcommands use one room each"},
	"postern/relay":                    {"auth auth/oauth metrics policy relay/admin relay/archive relay/bounce relay/config relay/devices relay/dkim relay/dmarc relay/message relay/queue relay/setting relay/submission relay/upstream relay/upstream/preset relay/upstream/transport rewrite", "it tells the story, so it knows every room"},
	"postern/relay/config":             {"auth auth/bearer auth/oauth policy relay/bounce relay/dkim relay/message relay/queue relay/setting relay/submission relay/upstream relay/upstream/preset rewrite", "a configuration is made of each room's own Config"},
	"postern/relay/submission":         {"metrics relay/message relay/setting", "a room"},
	"postern/relay/queue":              {"metrics relay/message relay/setting", "a room"},
	"postern/relay/queue/queuetest":    {"metrics relay/message relay/queue relay/setting", "the suite every engine of the store passes"},
	"postern/relay/queue/volumetest":   {"", "a disk for tests, whose power can be cut"},
	"postern/relay/upstream":           {"metrics relay/message relay/setting relay/upstream/gmail relay/upstream/graph relay/upstream/preset relay/upstream/smtp relay/upstream/throttle relay/upstream/transport relay/upstream/webapi", "a room, made of those below it"},
	"postern/relay/upstream/preset":    {"relay/message relay/setting relay/upstream/transport", "what is known of providers"},
	"postern/relay/upstream/transport": {"relay/message", "what the ways to an upstream have in common"},
	"postern/relay/upstream/throttle":  {"relay/setting relay/sliding", "how much goes through a mailbox: a value that asks nobody"},
	"postern/relay/upstream/smtp":      {"metrics relay/message relay/setting relay/upstream/transport", "one way to an upstream"},
	"postern/relay/upstream/webapi":    {"metrics relay/message relay/upstream/transport", "what the ways through an HTTP API have in common"},
	"postern/relay/upstream/graph":     {"relay/message relay/upstream/transport relay/upstream/webapi", "one way to an upstream"},
	"postern/relay/upstream/gmail":     {"relay/upstream/transport relay/upstream/webapi", "one way to an upstream"},
	"postern/relay/upstream/cuttest":   {"", "a server for the tests of those who send"},
	"postern/relay/dkim":               {"metrics relay/message relay/setting", "a room"},
	"postern/relay/dmarc":              {"relay/setting", "a room that asks DNS"},
	"postern/relay/dkim/dnstest":       {"", "a DNS server for the tests of those who ask DNS"},
	"postern/relay/bounce":             {"relay/message relay/setting", "a room"},
	"postern/relay/devices":            {"relay/message", "a room"},
	"postern/relay/admin":              {"", "a room; what it shows is handed to it"},
	"postern/relay/archive":            {"", "a room; what is in an archive is handed to it"},
	"postern/auth":                     {"auth/bearer auth/directory relay/message relay/setting", "a room, with one beside it that speaks LDAP and one that reads tokens"},
	"postern/auth/directory":           {"relay/message relay/setting", "a room"},
	"postern/auth/slapdtest":           {"", "a real directory for tests"},
	"postern/auth/bearer":              {"relay/message relay/setting", "a room"},
	"postern/auth/oauth":               {"metrics relay/setting", "a room"},
	"postern/policy":                   {"relay/message relay/setting relay/sliding", "a room"},
	"postern/rewrite":                  {"relay/message relay/setting", "a room"},
	"postern/relay/message":            {"", "a leaf"},
	"postern/relay/setting":            {"", "a leaf"},
	"postern/relay/sliding":            {"relay/setting", "a leaf"},
	"postern/metrics":                  {"", "a leaf"},
	"postern/deploy/grafana":           {"", "it writes dashboards"},

	// The simulated providers use nothing of what is tried against them.
	"postern/cmd/provider-sim":          {"auth cmd/provider-sim/identity cmd/provider-sim/rest cmd/provider-sim/smtpd cmd/provider-sim/world", "it starts them; auth makes the password of the relay's accounts"},
	"postern/cmd/provider-sim/identity": {"cmd/provider-sim/world", "their authorization servers"},
	"postern/cmd/provider-sim/rest":     {"cmd/provider-sim/identity cmd/provider-sim/smtpd cmd/provider-sim/wire cmd/provider-sim/world", "their APIs; Gmail changes mail by SMTP and API alike"},
	"postern/cmd/provider-sim/smtpd":    {"cmd/provider-sim/identity cmd/provider-sim/wire cmd/provider-sim/world", "their SMTP"},
	"postern/cmd/provider-sim/wire":     {"cmd/provider-sim/world", "connections that can be cut"},
	"postern/cmd/provider-sim/world":    {"", "a leaf"},
}

func TestImportsPointOneWay(t *testing.T) {
	for _, line := range goList(t, "{{.ImportPath}} {{join .Imports \" \"}}") {
		pkg, imports, _ := strings.Cut(line, " ")
		rule, known := allowedImports[pkg]
		if !known {
			t.Errorf("%s is new here; say in allowedImports what it may import, and why", pkg)
			continue
		}
		for imported := range strings.FieldsSeq(imports) {
			ours, isOurs := strings.CutPrefix(imported, "postern/")
			if isOurs && !strings.Contains(" "+rule.imports+" ", " "+ours+" ") {
				t.Errorf("%s imports %s, which it may not: %s", pkg, imported, rule.because)
			}
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	for _, line := range goList(t, "{{.ImportPath}} {{.Doc}}") {
		pkg, doc, _ := strings.Cut(line, " ")
		if len(doc) < 40 {
			t.Errorf("%s has no package comment that says what it is for: %q", pkg, doc)
		}
	}
}

func goList(t *testing.T, format string) []string {
	t.Helper()
	out, err := exec.Command("go", "list", "-f", format, "postern/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}
