package rewrite_test

import (
	"fmt"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"postern/relay/message"
	"postern/rewrite"
)

// rules are those of a rewrite section.
func rules(t testing.TB, text string) []rewrite.Rule {
	t.Helper()
	var all []rewrite.Rule
	if err := yaml.Unmarshal([]byte(text), &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// office are accounts that rules are checked with.
func office(t testing.TB) map[string]rewrite.Account {
	t.Helper()
	accounts := map[string]rewrite.Account{}
	for name, senders := range map[string]string{"printer": "scan@example.com", "erp": "@example.com", "crm": "@crm.example"} {
		patterns, err := message.ParsePatterns(senders)
		if err != nil {
			t.Fatal(err)
		}
		accounts[name] = rewrite.Account{Senders: patterns}
	}
	erp := accounts["erp"]
	erp.DefaultFrom = "ERP <noreply@example.com>"
	accounts["erp"] = erp
	return accounts
}

// problems are what the checks say about a rewrite section.
func problems(t testing.TB, text string) []string {
	t.Helper()
	var all []string
	list := rules(t, text)
	for i, r := range list {
		r.Check(func(key, format string, args ...any) {
			all = append(all, fmt.Sprintf("[%d].%s: ", i, key)+fmt.Sprintf(format, args...))
		})
	}
	rewrite.Check(list, office(t), []string{"submission", "floor3"}, func(i int, key, format string, args ...any) {
		all = append(all, fmt.Sprintf("[%d].%s: ", i, key)+fmt.Sprintf(format, args...))
	})
	return all
}

func TestRulesAreChecked(t *testing.T) {
	for _, tt := range []struct {
		name, rules string
		want        string // the beginning of the one problem; "" for none
	}{
		// Kinds.
		{"no rules", "", ""},
		{"a rule that says nothing", "[{account: erp}]", "[0].: says neither match, domains, recipient nor from"},
		{"two kinds in one rule", `[{match: a@b.example, to: c@example.com, recipient: d@b.example}]`, "[0].recipient: does not go with match; make it a rule of its own"},
		{"a key of another kind", "[{domains: {a.example: b.example}, to: c@example.com}]", "[0].to: does not go with domains; with it there are fields"},
		{"deny without recipient", "[{match: a@b.example, deny: no}]", "[0].deny: does not go with match"},
		{"deny and to", "[{recipient: a@b.example, to: c@example.com, deny: no}]", "[0].deny: does not go with to"},
		{"a denial of two lines", `[{recipient: a@b.example, deny: "no\r\n250 ok"}]`, "[0].deny: must be one line of plain ASCII"},
		{"a field that is none", "[{match: a@b.example, to: scan@example.com, fields: [from, subject]}]", `[0].fields[1]: "subject" is not where an address stands; there are envelope, from`},

		// Targets.
		{"no target", "[{match: a@b.example}]", "[0].to: is missing; write what the addresses become"},
		{"a group that is not there", `[{match: "/^(.+)@b$/", to: "$2@example.com"}]`, `[0].to: "$2" is not known here; there are %u %d $1, and %% and $$`},
		{"a group of what is no expression", `[{match: "*@b.example", to: "$1@example.com"}]`, `[0].to: "$1" is not known here`},
		{"an unknown reference", `[{match: "*@b.example", to: "%x@example.com"}]`, `[0].to: "%x" is not known here`},
		{"a reference cut off", `[{match: "*@b.example", to: "it%"}]`, `[0].to: "%" is not known here`},
		{"a target that is no address", `[{match: "*@b.example", to: "example.com"}]`, `[0].to: "example.com" makes no address that can be used of <any@b.example>: it has no @`},
		{"a target of two lines", `[{match: "*@b.example", to: "it\r\nBcc: x@example.com"}]`, `[0].to: "it\r\nBcc: x@example.com" makes no address that can be used of <any@b.example>: the part before @ holds a control character`},
		{"a target with a line end in its domain", `[{match: "*@b.example", to: "it@example.com\r\nBcc: x"}]`, `[0].to: "it@example.com\r\nBcc: x" makes no address`},
		{"a target that some read otherwise", `[{match: "*@b.example", to: "a b@example.com"}]`, `[0].to: "a b@example.com" makes no address that can be used`},
		{"a target outside ASCII", `[{match: "*@b.example", to: "dörte@example.com"}]`, `[0].to: "dörte@example.com" makes no address that can be used of <any@b.example>: <dörte@example.com> is not plain ASCII`},
		{"the same again", `[{match: "@example.com", to: "%u@example.com"}]`, "[0].to: makes of <any@example.com> the same again, so the rule does nothing"},
		{"a percent sign and a dollar", `[{match: "*@b.example", fields: [reply-to], to: "100%%$$@example.com"}]`, ""},

		// Expressions that name nothing.
		{"an empty class", `[{match: "/^[^\\x00-\\x{10FFFF}]+@b$/", to: it@example.com}]`, "[0].match: /^[^\\x00-\\x{10FFFF}]+@b$/ matches no address there could be"},
		{"an expression without an @", `[{match: "/^root$/", to: it@example.com}]`, "[0].match: /^root$/ matches no address there could be"},
		{"one of several without an @", `[{match: "/^(root|admin)$/", to: it@example.com}]`, "[0].match: /^(root|admin)$/ matches no address"},
		{"a recipient without an @", `[{recipient: "/^root$/", deny: no}]`, "[0].recipient: /^root$/ matches no address"},
		{"a part of an address", `[{match: "/root/", to: it@example.com}]`, ""},
		{"a part of a domain", `[{match: "/\\.local$/", to: it@example.com}]`, ""},
		{"any character", `[{match: "/^.+$/", to: it@example.com}]`, ""},
		{"repeated classes", `[{match: "/^[a-z]{3}\\d{4}@(a|b)\\.example$/i", to: it@example.com}]`, "unreadable"},
		{"all kinds of syntax", `[{match: "/^(?:x*|[^@.]+)\\b(\\.[a-z0-9-]+){1,3}?@\\w+(-lan)?\\.local$/", to: "%u@example.com"}]`, ""},
		{"an expression of digits", `[{match: "/^\\d{10}@fax\\.example$/", to: "fax@example.com"}]`, ""},

		// Domains.
		{"a domain that becomes itself", "[{domains: {a.example: A.example}}]", `[0].domains."a.example": becomes itself`},
		{"a domain that is none", `[{domains: {a.example: "b example"}}]`, `[0].domains."a.example": "b example" is not a domain`},
		{"an address for a domain", `[{domains: {"@a.example": b.example}}]`, `[0].domains."@a.example": "@a.example" is not a domain`},

		// Who.
		{"account and accounts", "[{account: erp, accounts: [crm], from: off}]", "[0].account: does not go with accounts"},
		{"an account that is not there", "[{account: epr, from: off}]", `[0].account: there is no account "epr"`},
		{"one of several accounts that is not there", "[{accounts: [erp, x], from: off}]", `[0].accounts[1]: there is no account "x"`},
		{"an account in another letter case", "[{account: ERP, from: off}]", ""},
		{"a listener that is not there", "[{listeners: [floor4], from: off}]", `[0].listeners[0]: there is no listener "floor4"; listeners has submission, floor3`},
		{"a name twice", "[{name: x, account: erp, from: off}, {name: x, account: crm, from: off}]", `[1].name: "x" is already the name of rewrite[0]`},
		{"a name of ours", "[{name: date, from: off}]", `[0].name: "date" is what this relay calls a rule of its own`},
		{"a name with a space", "[{name: my rule, from: off}]", `[0].name: "my rule" is not a name for a rule`},

		// From.
		{"an unknown word", "[{from: always, address: noreply@example.com}]", `[0].from: "always" is not known; write force, if_unauthorized, off`},
		{"an unknown place for the original", "[{account: erp, from: force, original_to: bcc}]", `[0].original_to: "bcc" is not known; write reply-to, x-original-from, none`},
		{"an unknown thing to do with Sender", "[{account: erp, from: force, sender: drop}]", `[0].sender: "drop" is not known`},
		{"off with an address", "[{from: off, address: noreply@example.com}]", "[0].from: is off, so nothing else is said"},
		{"an address that is none", "[{account: erp, from: force, address: noreply}]", `[0].address: "noreply": it is not a mailbox`},
		{"an address of two lines", `[{account: erp, from: force, address: "A\r\nBcc: x@example.com <noreply@example.com>"}]`, `[0].address: `},
		{"no address, and a default", "[{account: erp, from: force}]", ""},
		{"no address, and no default", "[{accounts: [erp, crm], from: force}]", "[0].address: is missing, and account crm has no default_from that could stand in"},
		{"an address the account may not use", "[{account: crm, from: if_unauthorized, address: noreply@example.com}]", "[0].address: account crm may not send as <noreply@example.com>, so its mail would always be refused; add it to its senders (@crm.example)"},
		{"an address some account may not use", "[{from: force, address: scan@example.com}]", "[0].address: account crm may not send as <scan@example.com>"},
		{"a rule behind one for all", "[{from: off}, {account: erp, from: force}]", "[1].from: can never be used: rewrite[0] before it decides for all the mail it is for"},
		{"a rule for all behind one for some", "[{accounts: [crm, printer], from: off}, {from: off}]", ""},
		{"a rule behind one for a wider network", "[{networks: [10.0.0.0/8], from: off}, {networks: [10.1.0.0/16], from: off}]", "[1].from: can never be used"},
		{"a rule behind one for a narrower network", "[{networks: [10.1.0.0/16], from: off}, {networks: [10.0.0.0/8], from: off}]", ""},
		{"a rule behind one for another listener", "[{listeners: [floor3], from: off}, {listeners: [submission], from: off}]", ""},

		// Senders.
		{"a target the account may not use", "[{account: printer, match: root@nas.local, to: root@example.com}]", `[0].to: "root@example.com" is nothing that account printer may send as, so its mail would always be refused; add it to its senders (scan@example.com)`},
		{"a domain the account may not use", `[{account: printer, match: "*@*.local", to: "%u@example.org"}]`, `[0].to: "%u@example.org" is nothing that account printer may send as`},
		{"a domain of which the account may use some", `[{account: printer, match: "*@*.local", to: "%u@example.com"}]`, ""},
		{"a domain that nobody may use", `[{match: "*@*.local", to: "%u@example.org"}]`, `[0].to: "%u@example.org" is nothing that the accounts crm, erp, printer may send as`},
		{"a domain that somebody may use", `[{match: "*@*.local", to: "%u@crm.example"}]`, ""},
		{"a part of an address that the account may use with more", `[{account: printer, match: "/ca/", to: "%u@example.com"}]`, ""},
		{"a target for what is no sender", `[{match: "*@*.local", to: "%u@example.org", fields: [to, reply-to]}]`, ""},
		{"a domain of the address itself", `[{account: printer, match: "*@*.local", to: "scan@%d"}]`, ""},

		// Rules beside one another.
		{"an address that is gone already", `[{match: "@old.example", to: "%u@example.com"}, {match: ann@old.example, to: bob@example.com}]`, "[1].: can never do anything: rewrite[0] before it makes others of all the addresses it names"},
		{"the same rule twice", `[{match: "*@*.local", to: "%u@example.com"}, {match: "*@*.local", to: it@example.com}]`, "[1].: can never do anything"},
		{"a recipient that is refused already", `[{recipient: "@b.example", deny: no}, {recipient: a@b.example, to: it@example.com}]`, "[1].: can never do anything"},
		{"an expression behind a domain", `[{match: "@old.example", to: "%u@example.com"}, {match: "/^(.+)@old\\.example$/", to: "$1@crm.example"}]`, "[1].: can never do anything"},
		{"an address behind others", `[{match: ann@old.example, to: bob@example.com}, {match: "@old.example", to: "%u@example.com"}]`, ""},
		{"everybody behind one whose name is any", `[{match: any@old.example, to: bob@example.com}, {match: "@old.example", to: "%u@example.com"}]`, ""},
		{"an address behind the same of another account", `[{account: erp, match: "@old.example", to: "%u@example.com"}, {account: crm, match: ann@old.example, to: bob@crm.example}]`, ""},
		{"an address behind the same in other fields", `[{match: "@old.example", to: "%u@example.com", fields: [to]}, {match: ann@old.example, to: bob@example.com}]`, ""},
		{"an address that one between makes", `[{match: "@old.example", to: "%u@example.com"}, {match: boss@example.com, to: ann@old.example, fields: [reply-to]}, {match: ann@old.example, to: bob@example.com, fields: [reply-to]}]`, ""},
		{"there and back", `[{match: "@a.example", to: "%u@b.example", fields: [to]}, {match: "@b.example", to: "%u@a.example", fields: [to]}]`, "[1].: turns back what rewrite[0] does: of <any@a.example> that makes <any@b.example>, and this one <any@a.example> again"},
		{"there and back in three steps", `[{match: "@a.example", to: "%u@b.example", fields: [to]}, {match: "@b.example", to: "%u@c.example", fields: [to]}, {match: "@c.example", to: "%u@a.example", fields: [to]}]`, "[2].: turns back what rewrite[0] does"},
		{"there and back by a map", `[{domains: {a.example: b.example}}, {match: "/^(.+)@b\\.example$/", to: "$1@a.example", fields: [cc]}]`, "[1].: turns back what rewrite[0] does"},
		{"there and back in different fields", `[{match: "@a.example", to: "%u@b.example", fields: [to]}, {match: "@b.example", to: "%u@a.example", fields: [reply-to]}]`, ""},
		{"there and back for different accounts", `[{account: erp, match: "@a.example", to: "%u@b.example", fields: [to]}, {account: crm, match: "@b.example", to: "%u@a.example", fields: [to]}]`, ""},
		{"one step each", `[{match: "@b.example", to: "%u@c.example", fields: [to]}, {match: "@a.example", to: "%u@b.example", fields: [to]}]`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.want == "unreadable" {
				if err := yaml.Unmarshal([]byte(tt.rules), new([]rewrite.Rule)); err == nil {
					t.Error("it can be read")
				}
				return
			}
			got := problems(t, tt.rules)
			if len(got) > 1 || (len(got) == 0) != (tt.want == "") || len(got) == 1 && !strings.HasPrefix(got[0], tt.want) {
				t.Errorf("problems %q, want %q", got, tt.want)
			}
		})
	}
}

func TestMatchForms(t *testing.T) {
	for _, text := range []string{
		"", "scan", "scan@", "a@b@c", "*@", "@", "@*", "a b*@c.example", "x*", "*@-*", "*..*@b.example", "**@b c", "@*.*.", "scan%@example.com",
		"//(/", "/(/", "/a{2000}/", `/\C/`, "/(?=a)/", "/" + strings.Repeat("a", 1001) + "/",
	} {
		var m rewrite.Match
		if err := m.UnmarshalText([]byte(text)); err == nil || len(err.Error()) > 1200 {
			t.Errorf("%.80q was read: %v", text, err)
		}
	}
	for _, text := range []string{"scan@example.com", "@example.com", "@*.example.com", "*", "*@*", "root@*", "*@*.local", "scan-*@*.example.com", "/a/", "/^a|b$/", "//"} {
		var m rewrite.Match
		if err := m.UnmarshalText([]byte(text)); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if written, err := m.MarshalText(); err != nil || string(written) != text {
			t.Errorf("%q is written %q, %v", text, written, err)
		}
	}
}

// Which addresses a form names, as seen by what becomes of a recipient.
func TestMatches(t *testing.T) {
	for _, tt := range []struct{ match, yes, no string }{
		{"scan@example.com", "scan@example.com SCAN@EXAMPLE.COM", "xscan@example.com scan@example.com.org scan@xexample.com"},
		{"root@*", "root@a root@a.b Root@[192.0.2.1]", "toor@a xroot@a"},
		{"*@*.local", "a@b.local a@b.c.LOCAL", "a@local a@b.locals a@b.local.example"},
		{"scan-*@example.com", "scan-@example.com scan-3@example.com", "scan@example.com xscan-3@example.com scan-3@example.com.org"},
		{"*.*@example.com", "a.b@example.com", "ab@example.com"},
		{"a+*@*", "a+b@c", "aab@c"},
		{"*@*", "a@b", ""},
		{"/^root@/", "root@a ROOT@a", "xroot@a"},
		{"/a@b|c@d/", "a@b xa@bx c@d", "b@a"},
		{`/^a b@c$/`, `"a b"@c`, "ab@c"},
	} {
		list := rules(t, fmt.Sprintf("[{recipient: %q, to: yes@example.com}]", tt.match))
		r, err := rewrite.New(rewrite.Config{}, list, nil, "relay.example.com")
		if err != nil {
			t.Fatal(tt.match, err)
		}
		for _, a := range addresses(t, tt.yes) {
			if to, _, err := r.Recipient(message.Client{}, message.Recipient{Address: a}); to.Address.Local != "yes" || err != nil {
				t.Errorf("%s does not name %s: %v", tt.match, a, err)
			}
		}
		for _, a := range addresses(t, tt.no) {
			if to, changes, _ := r.Recipient(message.Client{}, message.Recipient{Address: a}); to.Address != a || len(changes) > 0 {
				t.Errorf("%s names %s", tt.match, a)
			}
		}
	}
}

// addresses are those in text, a space before each but within quotes.
func addresses(t *testing.T, text string) []message.Address {
	t.Helper()
	var all []message.Address
	for _, s := range strings.Fields(strings.ReplaceAll(text, `"a b"`, `"a_b"`)) {
		a, err := message.ParseAddress(strings.ReplaceAll(s, "a_b", "a b"))
		if err != nil {
			t.Fatal(s, err)
		}
		all = append(all, a)
	}
	return all
}
