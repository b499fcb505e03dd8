package rewrite_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"postern/relay/message"
	"postern/rewrite"
)

// newRules makes a Rewrite of rules in YAML for the account printer, which may
// send as scan@example.com.
func newRules(t testing.TB, text string) *rewrite.Rewrite {
	t.Helper()
	senders, err := message.ParsePatterns("scan@example.com")
	if err != nil {
		t.Fatal(err)
	}
	r, err := rewrite.New(rewrite.Config{}, rules(t, text),
		map[string]rewrite.Account{"printer": {DefaultFrom: "scan@example.com", Senders: senders}}, "relay.example.com")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// many are rules of every kind that have nothing to do with most mail.
const many = `
- {match: nobody@example.com, to: somebody@example.com}
- {match: "*@*.invalid", to: "%u@example.com", fields: [from, to, cc, sender, reply-to]}
- {match: "/^x(.)y@z$/", to: "$1@example.com", fields: [to]}
- {domains: {gone.example: example.com}}
- {account: other, from: force, address: scan@example.com}
- {networks: [203.0.113.0/24], from: force, address: scan@example.com}
- {from: off}
`

// Where no rule applies a message leaves as it would without rules.
func FuzzNoRuleApplies(f *testing.F) {
	for _, s := range []string{"", "From: a@b\r\n", "From: A <a@b>\r\nTo: c@d, (x) \"y\" <e@f>\r\n", "To:g:a@b;\r\nCc:\r\n a\r\n\t@ b", "Reply-To: \"\r\nFrom: =?utf-8?q?x?= <a@b>\r\n"} {
		f.Add([]byte(s))
	}
	none, some := newRules(f, ""), newRules(f, many)
	f.Fuzz(func(t *testing.T, in []byte) {
		h, err := message.ParseHeader(in)
		if err != nil || bytes.Contains(bytes.ToLower(in), []byte("nobody")) || bytes.Contains(bytes.ToLower(in), []byte("invalid")) ||
			bytes.Contains(bytes.ToLower(in), []byte("gone")) || bytes.ContainsAny(in, "zZ") {
			return
		}
		want, got := submitted(t, ""), submitted(t, "")
		want.Header, got.Header = h, h
		wantChanges, wantErr := none.Complete(want, noon)
		gotChanges, gotErr := some.Complete(got, noon)
		if fmt.Sprint(wantErr) != fmt.Sprint(gotErr) || !slices.Equal(wantChanges, gotChanges) || !bytes.Equal(want.Header.Bytes(), got.Header.Bytes()) {
			t.Fatalf("%q becomes %q (%v, %v) without rules, and %q (%v, %v) with some that do not apply",
				in, want.Header.Bytes(), wantChanges, wantErr, got.Header.Bytes(), gotChanges, gotErr)
		}
	})
}

// Whatever rules are loaded and whatever a header holds: what leaves is the
// header a parser reads, with no field that nobody asked for and no octet
// changed but in fields that a change names.
func FuzzRules(f *testing.F) {
	f.Add([]byte("From: a@b\r\nTo: c@d\r\n"), "*@b", "%u@example.com", "X", "%{user}", "ann")
	f.Add([]byte("From: a@b\r\n"), "/(.*)/", "$1", "X-Y", "a%%b", "\r\nBcc: x")
	f.Add([]byte("From: a@b\r\n"), "@b", "it@example.com\r\nBcc: x@y", "X\r\nBcc", "a\r\nBcc: x", "ü")
	f.Add([]byte("Cc: \"a b\"@c\r\n"), "*@*", "%u.%d@d", "Reply-To", "%{user} <a@b>", "\"x\" <y@z>,")
	f.Fuzz(func(t *testing.T, in []byte, match, to, field, value, user string) {
		h, err := message.ParseHeader(in)
		if err != nil {
			return
		}
		rule := rewrite.Rule{To: to, Fields: []string{"from", "sender", "reply-to", "to", "cc", "envelope"}}
		if rule.Match.UnmarshalText([]byte(match)) != nil {
			return
		}
		cfg := rewrite.Config{Add: []rewrite.FieldConfig{{Name: field, Value: value}}}
		sound := true
		bad := func(string, string, ...any) { sound = false }
		rule.Check(bad)
		cfg.Check(bad)
		r, err := rewrite.New(cfg, []rewrite.Rule{rule}, nil, "relay.example.com")
		if sound != (err == nil) {
			t.Fatalf("%+v is sound: %v, and New says %v", rule, sound, err)
		}
		if err != nil {
			return
		}
		m := submitted(t, "")
		m.Header, m.Client.User = h, user
		m.From = message.Address{Local: "scan", Domain: "example.com"}
		changes, err := r.Complete(m, noon)
		if err != nil {
			checkRefused(t, err, m, h)
			return
		}
		again, err := message.ParseHeader(m.Header.Bytes())
		if err != nil || len(again) != len(m.Header) {
			t.Fatalf("%q leaves as %q, which reads as %d fields, not %d: %v", in, m.Header.Bytes(), len(again), len(m.Header), err)
		}
		for i, field := range m.Header[1:] {
			if field.Name() != again[i+1].Name() {
				t.Fatalf("the field %q reads as %q", field.Raw(), again[i+1].Raw())
			}
			as := func(old message.Field) bool { return bytes.Equal(old.Raw(), field.Raw()) }
			told := func(c message.Change) bool { return field.Is(c.Field) }
			if !slices.ContainsFunc(h, as) && !slices.ContainsFunc(changes, told) {
				t.Fatalf("%q has become part of %q, and nobody told", field.Raw(), m.Header.Bytes())
			}
		}
	})
}

// A To of 200 KB and 5,000 recipients passes many rules; the history stays small.
func TestFiveThousandRecipients(t *testing.T) {
	var text strings.Builder
	for i := range 50 {
		fmt.Fprintf(&text, "- {match: \"*%d@old.example\", to: \"%%u@r%d.example\", fields: [to, recipients]}\n", i+10, i)
	}
	r := newRules(t, text.String()+"- {recipient: \"@r7.example\", to: all@example.com}")
	m := submitted(t, "")
	to := "To: "
	for i := range 5000 {
		a := message.Address{Local: fmt.Sprintf("recipient-number-%d", i), Domain: "old.example"}
		to += fmt.Sprintf("\"Recipient, %d\" <%s>,\r\n ", i, a)
		got, changes, err := r.Recipient(m.Client, message.Recipient{Address: a})
		if err != nil {
			t.Fatal(err)
		}
		m.To, m.Changes = append(m.To, got), rewrite.Add(m.Changes, changes...)
	}
	m.To = rewrite.Collapse(m.To)
	if n := len(m.To); n != 4951 { // 50 end in 17, and all of them went to one
		t.Errorf("%d recipients are left", n)
	}
	var err error
	if m.Header, err = message.ParseHeader([]byte("From: scan@example.com\r\n" + to + "you@example.org\r\n")); err != nil {
		t.Fatal(err)
	}
	changes, err := r.Complete(m, noon)
	if err != nil {
		t.Fatal(err)
	}
	m.Changes = rewrite.Add(m.Changes, changes...)
	size := 0
	for _, c := range m.Changes {
		size += len(c.Before) + len(c.After)
	}
	if len(m.Changes) > 110 || size > 300_000 {
		t.Errorf("%d changes of %d octets are kept", len(m.Changes), size)
	}
	found, err := m.Header.All("To")[0].Mailboxes()
	moved := 0
	for _, m := range found {
		if m.Address.Domain != "old.example" {
			moved++
		}
	}
	if len(found) != 5001 || err != nil || moved != 2501 {
		t.Errorf("%d mailboxes, %d of them moved, %v", len(found), moved, err)
	}
}

// What no mail program writes is refused whole, or passed whole.
func TestHostileHeaders(t *testing.T) {
	r := newRules(t, `[{match: "@old.example", to: "%u@example.com", fields: [from, to, reply-to]}, {from: if_unauthorized, account: other, address: scan@example.com}]`)
	for _, tt := range []struct{ name, header, reply string }{
		{"a thousand authors", "From: " + strings.Repeat("scan@example.com,\r\n ", 999) + "scan@old.example\r\n", "550 5.6.0 the From field cannot be read: it is longer than 16384 octets"},
		{"authors that cannot be told apart", "From: scan@example.com <scan@old.example>\r\n", "550 5.6.0 the From field cannot be read"},
		{"a name that is another address", "From: =?utf-8?q?ceo=40example=2Ecom?= <scan@old.example>\r\n", "550 5.6.0 the From field cannot be read"},
		{"ten thousand fields", "From: scan@old.example\r\n" + strings.Repeat("To-: scan@old.example\r\n", 9999), ""},
		{"a line of a megabyte", "From: scan@old.example\r\nReply-To: " + strings.Repeat("a", 1<<20-100) + "@old.example\r\n", ""},
		{"a megabyte of mailboxes", "From: scan@old.example\r\nTo: " + strings.Repeat("a@old.example,", 74_000) + "b@c\r\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := submitted(t, tt.header)
			before := m.Header
			_, err := r.Complete(m, noon)
			if tt.reply == "" {
				if err != nil || m.Header.Get("From") != "scan@example.com" {
					t.Errorf("From %s, %v", m.Header.Get("From"), err)
				}
				return
			}
			if err == nil || !strings.HasPrefix(err.Error(), tt.reply) {
				t.Fatalf("the answer is %v", err)
			}
			checkRefused(t, err, m, before)
		})
	}
}

// Whom a rule is for is decided the same for the envelope and the header.
func TestScopesHoldEverywhere(t *testing.T) {
	accounts, listeners := []string{"", "printer", "erp"}, []string{"", "submission", "floor3"}
	networks := []string{"", "10.0.0.0/8", "192.0.2.0/24"}
	rapid.Check(t, func(rt *rapid.T) {
		account, listener, network := rapid.SampledFrom(accounts).Draw(rt, "account"), rapid.SampledFrom(listeners).Draw(rt, "listener"), rapid.SampledFrom(networks).Draw(rt, "network")
		text := "{match: \"*@a.example\", to: \"%u@b.example\", fields: [envelope, recipients, from, to]"
		if account != "" {
			text += ", account: " + strings.ToUpper(account)
		}
		if listener != "" {
			text += ", listeners: [x, " + listener + "]"
		}
		if network != "" {
			text += ", networks: [198.51.100.0/24, " + network + "]"
		}
		r := newRules(t, "["+text+"}]")
		m := submitted(t, "From: x@a.example\r\nTo: x@a.example\r\n")
		m.Client.Account = rapid.SampledFrom(accounts[1:]).Draw(rt, "client's account")
		m.Client.Listener = rapid.SampledFrom(listeners[1:]).Draw(rt, "client's listener")
		m.Client.Address = netip.MustParseAddrPort(rapid.SampledFrom([]string{"10.1.2.3:4", "192.0.2.7:4", "[::ffff:192.0.2.7]:4", "[2001:db8::1]:4"}).Draw(rt, "client"))
		in := (account == "" || account == m.Client.Account) && (listener == "" || listener == m.Client.Listener) &&
			(network == "" || netip.MustParsePrefix(network).Contains(m.Client.Address.Addr().Unmap()))
		a := message.Address{Local: "x", Domain: "a.example"}
		from, _, err1 := r.Sender(m.Client, a)
		to, _, err2 := r.Recipient(m.Client, message.Recipient{Address: a})
		_, err3 := r.Complete(m, noon)
		want := map[bool]string{true: "x@b.example", false: "x@a.example"}[in]
		for _, got := range []string{from.String(), to.Address.String(), m.Header.Get("From"), m.Header.Get("To")} {
			if got != want || err1 != nil || err2 != nil || err3 != nil {
				rt.Fatalf("%s makes %s for %+v, want %s; %v %v %v", text, got, m.Client, want, err1, err2, err3)
			}
		}
	})
}

func TestCollapse(t *testing.T) {
	to := func(local string, notify ...string) message.Recipient {
		return message.Recipient{Address: message.Address{Local: local, Domain: "example.com"}, Notify: notify, Original: local + strings.Join(notify, "")}
	}
	for _, tt := range []struct {
		name string
		all  []message.Recipient
		want string
	}{
		{"nobody twice", []message.Recipient{to("a"), to("b")}, "a[] b[]"},
		{"somebody twice", []message.Recipient{to("a"), to("b"), to("a")}, "a[] b[]"},
		{"never, and then the usual", []message.Recipient{to("a", "NEVER"), to("a")}, "a[]"},
		{"never, and then success", []message.Recipient{to("a", "NEVER"), to("a", "SUCCESS")}, "a[SUCCESS]"},
		{"success, and then never", []message.Recipient{to("a", "SUCCESS"), to("a", "NEVER")}, "a[SUCCESS]"},
		{"success and failure", []message.Recipient{to("a", "SUCCESS", "DELAY"), to("a", "FAILURE", "DELAY")}, "a[SUCCESS DELAY FAILURE]"},
		{"success and the usual", []message.Recipient{to("a", "SUCCESS"), to("a")}, "a[]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			first := tt.all[0].Original
			kept := rewrite.Collapse(tt.all)
			for _, r := range kept {
				got = append(got, fmt.Sprintf("%s%v", r.Address.Local, r.Notify))
			}
			if strings.Join(got, " ") != tt.want || kept[0].Original != first {
				t.Errorf("left are %v of %s, want %s", got, kept[0].Original, tt.want)
			}
		})
	}
}

func TestOriginalRecipientOfTheClientStays(t *testing.T) {
	r := newRules(t, `[{recipient: "*", to: test@example.com}]`)
	to, _, err := r.Recipient(message.Client{}, message.Recipient{Address: message.Address{Local: "a", Domain: "b"}, OriginalType: "rfc822", Original: "c@d"})
	if err != nil || to.Original != "c@d" || to.Address.String() != "test@example.com" {
		t.Errorf("%+v, %v", to, err)
	}
}

func TestRulesAreNamed(t *testing.T) {
	cfg := rewrite.Config{Add: []rewrite.FieldConfig{{Name: "X-A", Value: "a"}}, Replace: []rewrite.FieldConfig{{Name: "X-B", Value: "b"}}}
	r, err := rewrite.New(cfg, rules(t, "[{from: off}, {name: stage, recipient: \"*\", to: a@b.example}]"), nil, "relay.example.com")
	if err != nil {
		t.Fatal(err)
	}
	want := append(slices.Clone(rewrite.Completing), "rewrite[0]", "stage", "headers.replace[0]", "headers.add[0]")
	if got := r.Rules(); !slices.Equal(got, want) {
		t.Errorf("rules are %q, want %q", got, want)
	}
}
