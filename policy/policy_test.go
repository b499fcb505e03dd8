package policy_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"postern/policy"
	"postern/relay/message"
	"postern/relay/setting"
)

// The account the tests are about is printer-3f.
var client = message.Client{Identity: message.Identity{Account: "printer-3f"}}

func patterns(t testing.TB, texts ...string) message.Patterns {
	t.Helper()
	list, err := message.ParsePatterns(texts...)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func address(t testing.TB, s string) message.Address {
	t.Helper()
	var a message.Address
	if err := a.UnmarshalText([]byte(s)); err != nil {
		t.Fatal(err)
	}
	return a
}

func office(t testing.TB) *policy.Policy {
	return policy.New(policy.Config{Limits: policy.Limits{RecipientsPerMessage: 3}}, map[string]policy.Account{
		"printer-3f": {
			Senders:    patterns(t, "scan@example.com", "@scans.example.com"),
			Recipients: patterns(t, "@example.com", "@*.example.com"),
		},
		"monitor": {Senders: patterns(t, "*"), NullSender: true},
		"mute":    {},
	})
}

// check compares an answer with what a row wants: the rule, and the reply, of
// which the row may give the beginning.
func check(t *testing.T, err error, rule, reply string) {
	t.Helper()
	if rule == "" {
		if err != nil {
			t.Errorf("refused: %v", err)
		}
		return
	}
	var refusal *policy.Refusal
	var r *message.Reply
	if !errors.As(err, &refusal) || !errors.As(err, &r) {
		t.Fatalf("the answer is %v, want %s", err, reply)
	}
	if refusal.Rule != rule || !strings.HasPrefix(err.Error(), reply) {
		t.Errorf("rule %s: %v\nwant %s: %s", refusal.Rule, err, rule, reply)
	}
	if len(err.Error()) > 500 || strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Errorf("the reply does not fit a line: %q", err)
	}
}

func TestSender(t *testing.T) {
	const may = "550 5.7.1 account printer-3f may not send as "
	const allowed = " as the envelope sender; allowed: scan@example.com, @scans.example.com"
	for _, tt := range []struct{ name, account, from, rule, reply string }{
		{"a listed mailbox", "printer-3f", "scan@example.com", "", ""},
		{"in another letter case", "printer-3f", "SCAN@Example.COM", "", ""},
		{"any mailbox of a listed domain", "printer-3f", "floor3@scans.example.com", "", ""},
		{"another mailbox", "printer-3f", "boss@example.com", "sender", may + "<boss@example.com>" + allowed},
		{"a tag is another mailbox", "printer-3f", "scan+x@example.com", "sender", may + "<scan+x@example.com>" + allowed},
		{"a domain below", "printer-3f", "x@a.scans.example.com", "sender", may},
		{"a listed address inside a local part", "printer-3f", `"scan@example.com"@evil.example`, "sender", may + `<"scan@example.com"@evil.example>`},
		{"a look-alike is shown escaped", "printer-3f", "\u0455can@example.com", "sender", may + `<\u0455can@example.com>`},
		{"a long address is shown in part", "printer-3f", strings.Repeat("a", 64) + "@" + strings.Repeat("b.", 60) + "example", "sender", may + "<" + strings.Repeat("a", 64) + "@b.b.b.b.b.b.b.b...>"},
		{"the null sender", "printer-3f", "", "null_sender", "550 5.7.1 account printer-3f may not use the null sender <>; use one of its senders: scan@example.com"},
		{"the null sender where it is allowed", "monitor", "", "", ""},
		{"an account that lists nothing", "mute", "scan@example.com", "sender", "550 5.7.1 account mute may not send as <scan@example.com> as the envelope sender; allowed: nothing"},
		{"an account that is gone", "old", "scan@example.com", "sender", "550 5.7.1 there is no account old any more"},
		{"no account", "", "scan@example.com", "sender", "550 5.7.1 there is no account"},
		{"the null sender without account", "", "", "sender", "550 5.7.1 there is no account"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			check(t, office(t).Sender(message.Client{Identity: message.Identity{Account: tt.account}}, address(t, tt.from)), tt.rule, tt.reply)
		})
	}
}

// People of a directory send as themselves where the account says so.
func TestOwnAddresses(t *testing.T) {
	p := policy.New(policy.Config{}, map[string]policy.Account{
		"staff":  {Senders: patterns(t, "office@example.com"), OwnAddresses: true},
		"people": {OwnAddresses: true},
		"guests": {Senders: patterns(t, "office@example.com")},
	})
	own := []message.Address{address(t, "jdoe@example.com"), address(t, "John.Doe@example.com")}
	for _, tt := range []struct{ name, account, from, reply string }{
		{"an own address", "staff", "jdoe@example.com", ""},
		{"another, in another letter case", "staff", "JOHN.doe@EXAMPLE.com", ""},
		{"a sender of the account", "staff", "office@example.com", ""},
		{"somebody else's", "staff", "boss@example.com", "550 5.7.1 jdoe, by account staff, may not send as <boss@example.com> @; allowed: jdoe@example.com, John.Doe@example.com, office@example.com"},
		{"an own address where there are no senders", "people", "jdoe@example.com", ""},
		{"an own address where they do not count", "guests", "jdoe@example.com", "550 5.7.1 jdoe, by account guests, may not send as <jdoe@example.com> @; allowed: office@example.com"},
	} {
		c := message.Client{Identity: message.Identity{Account: tt.account, User: "jdoe", Addresses: own}}
		expect := func(t *testing.T, err error, rule, where string) {
			if tt.reply == "" {
				rule = ""
			}
			check(t, err, rule, strings.Replace(tt.reply, "@;", where+";", 1))
		}
		t.Run(tt.name, func(t *testing.T) {
			expect(t, p.Sender(c, address(t, tt.from)), "sender", "as the envelope sender")
			expect(t, p.Message(&message.Message{Client: c, Header: with(t, "From: "+tt.from+"\r\n").Header}), "from", "in the From field")
		})
	}
	stranger := message.Client{Identity: message.Identity{Account: "people"}}
	check(t, p.Sender(stranger, address(t, "jdoe@example.com")), "sender", "550 5.7.1 account people may not send as <jdoe@example.com> as the envelope sender; allowed: nothing")
}

func TestRecipient(t *testing.T) {
	for _, tt := range []struct {
		name, account string
		already       int
		to            string
		rule, reply   string
	}{
		{"an allowed domain", "printer-3f", 0, "it@example.com", "", ""},
		{"a domain below", "printer-3f", 0, "it@a.example.com", "", ""},
		{"another domain", "printer-3f", 0, "x@example.org", "recipient", "550 5.7.1 account printer-3f may not send to <x@example.org>; allowed: @example.com, @*.example.com"},
		{"anyone where nothing is listed", "monitor", 0, "x@example.org", "", ""},
		{"the last of the transaction", "printer-3f", 2, "it@example.com", "", ""},
		{"one too many", "printer-3f", 3, "it@example.com", "recipients_per_message", "452 4.5.3 a message may have 3 recipients; send to the others in another one"},
		{"one too many that was never allowed", "printer-3f", 3, "x@example.org", "recipient", "550 5.7.1 "},
		{"an account that is gone", "old", 0, "it@example.com", "recipient", "550 5.7.1 there is no account old any more"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			check(t, office(t).Recipient(message.Client{Identity: message.Identity{Account: tt.account}}, tt.already, address(t, tt.to)), tt.rule, tt.reply)
		})
	}
	t.Run("without a limit any number", func(t *testing.T) {
		p := policy.New(policy.Config{}, map[string]policy.Account{"printer-3f": {}})
		check(t, p.Recipient(client, 1_000_000, address(t, "x@example.org")), "", "")
	})
}

func TestMessage(t *testing.T) {
	const no = "550 5.7.1 account printer-3f may not send as "
	const boss = no + "<boss@example.com> in the From field; allowed: scan@example.com, @scans.example.com"
	const unreadable = "550 5.6.0 the From field cannot be read: "
	for _, tt := range []struct{ name, header, rule, reply string }{
		{"a listed author", "From: Scanner <scan@example.com>\r\n", "", ""},
		{"in another letter case", "FROM: SCAN@EXAMPLE.COM\r\n", "", ""},
		{"with a name that is somebody else's address", "From: \"boss@example.com\" <scan@example.com>\r\n", "", ""},
		{"with a Sender of its own", "From: scan@example.com\r\nSender: a@scans.example.com\r\n", "", ""},
		{"two authors and a Sender, all listed", "From: scan@example.com, a@scans.example.com\r\nSender: scan@example.com\r\n", "", ""},
		{"a group of listed authors", "From: Scanners: scan@example.com, a@scans.example.com;\r\nSender: scan@example.com\r\n", "", ""},
		{"Reply-To is free", "From: scan@example.com\r\nReply-To: boss@example.com\r\n", "", ""},

		{"another author", "From: boss@example.com\r\n", "from", boss},
		{"a tag is another author", "From: scan+x@example.com\r\n", "from", no + "<scan+x@example.com>"},
		{"a space before the colon", "From : boss@example.com\r\n", "from", boss},
		{"a folded value", "From:\r\n \"Scan\"\r\n\t<boss@example.com>\r\n", "from", boss},
		{"a second author", "From: scan@example.com, boss@example.com\r\nSender: scan@example.com\r\n", "from", boss},
		{"a second author before a comma and brackets", "From: boss@example.com, <scan@example.com>\r\nSender: scan@example.com\r\n", "from", boss},
		{"an author in a group", "From: x: scan@example.com, boss@example.com;\r\nSender: scan@example.com\r\n", "from", boss},
		{"another Sender", "From: scan@example.com\r\nSender: boss@example.com\r\n", "from", no + "<boss@example.com> in the Sender field"},
		{"a second From", "From: scan@example.com\r\nfrom : boss@example.com\r\n", "from", boss},
		{"a second From that is allowed too", "From: scan@example.com\r\nFrom: scan@example.com\r\n", "from", "550 5.6.0 the message has 2 From and 0 Sender fields"},
		{"a second Sender", "From: scan@example.com\r\nSender: scan@example.com\r\nSender: scan@example.com\r\n", "from", "550 5.6.0 the message has 1 From and 2 Sender"},
		{"no From", "Subject: hi\r\n", "from", "550 5.6.0 the message has 0 From"},
		{"two authors without Sender", "From: scan@example.com, a@scans.example.com\r\n", "from", "550 5.6.0 the From field names 2 mailboxes; add a Sender field"},

		{"an empty From", "From:\r\n", "from", unreadable},
		{"an empty group", "From: undisclosed:;\r\n", "from", unreadable},
		{"the null address", "From: Scanner <>\r\n", "from", unreadable},
		{"an address in place of a name", "From: boss@example.com <scan@example.com>\r\n", "from", unreadable},
		{"an address in a comment", "From: scan@example.com (boss@example.com)\r\n", "from", unreadable},
		{"an address behind a comment", "From: boss@example.com(<)scan@example.com(>)\r\n", "from", unreadable},
		{"an address in brackets in a name", "From: \"<boss@example.com>\" <scan@example.com>\r\n", "from", unreadable},
		{"an address in an encoded word", "From: =?utf-8?q?boss=40example=2Ecom=2C?= <scan@example.com>\r\n", "from", unreadable},
		{"an encoded word for a local part", "From: =?utf-8?q?boss=40example=2Ecom=3E?=@scans.example.com\r\n", "from", unreadable},
		{"an @ in a quoted local part", "From: \"boss@example.com>\"@scans.example.com\r\n", "from", unreadable},
		{"a full-width @ in a local part", "From: boss\uff20example.com@scans.example.com\r\n", "from", unreadable},
		{"octets that are not UTF-8", "From: boss\xc0\x80 <scan@example.com>\r\n", "from", unreadable},
		{"a control character", "From: boss\x08 <scan@example.com>\r\n", "from", unreadable},
		{"a list with semicolons", "From: scan@example.com; boss@example.com\r\n", "from", unreadable},
		{"an unreadable Sender", "From: scan@example.com\r\nSender: x\r\n", "from", "550 5.6.0 the Sender field cannot be read"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			check(t, office(t).Message(with(t, tt.header)), tt.rule, tt.reply)
		})
	}
	t.Run("an account that is gone", func(t *testing.T) {
		m := with(t, "From: scan@example.com\r\n")
		m.Client.Account = "old"
		check(t, office(t).Message(m), "from", "550 5.7.1 there is no account old")
	})
}

// with is a message of the account printer-3f with that header.
func with(t testing.TB, header string) *message.Message {
	t.Helper()
	h, err := message.ParseHeader([]byte(header))
	if err != nil {
		t.Fatal(err)
	}
	return &message.Message{Header: h, Client: client}
}

func TestLongListsAreShownInPart(t *testing.T) {
	var texts []string
	for i := range 40 {
		texts = append(texts, fmt.Sprintf("s%d@example.com", i))
	}
	long := strings.Repeat("a", 60) + "@" + strings.Repeat("d", 60) + ".example"
	for _, tt := range []struct {
		name     string
		patterns []string
		want     string
	}{
		{"five, and the number of the others", texts, "allowed: s0@example.com, s1@example.com, s2@example.com, s3@example.com, s4@example.com and 35 more"},
		{"five are all", texts[:5], "s3@example.com, s4@example.com"},
		{"long ones sooner", []string{long, long, long, long}, " and 2 more"},
		{"escaped when outside ASCII", []string{"@b\u00fccher.example"}, `allowed: @b\u00fccher.example`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := policy.New(policy.Config{}, map[string]policy.Account{strings.Repeat("ä", 90): {Senders: patterns(t, tt.patterns...)}})
			err := p.Sender(message.Client{Identity: message.Identity{Account: strings.Repeat("ä", 90)}}, address(t, strings.Repeat("ü", 32)+"@example.org"))
			check(t, err, "sender", "550 5.7.1 account \\u00e4")
			if !strings.HasSuffix(err.Error(), tt.want) {
				t.Errorf("the reply is %v", err)
			}
		})
	}
}

func TestTheStricterLimitHolds(t *testing.T) {
	accounts := map[string]policy.Account{
		"none": {}, "small": {Limits: policy.AccountLimits{Size: 10}}, "large": {Limits: policy.AccountLimits{Size: 1000}},
	}
	for _, tt := range []struct {
		name    string
		all     setting.Size
		account string
		want    int64
	}{
		{"neither", 0, "none", 0},
		{"for all only", 100, "none", 100},
		{"the account's only", 0, "small", 10},
		{"the account's is smaller", 100, "small", 10},
		{"the account's is larger", 100, "large", 100},
		{"before AUTH that for all", 100, "", 100},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := policy.Config{Limits: policy.Limits{Size: tt.all}}
			if got := policy.New(cfg, accounts).MaxSize(tt.account); got != tt.want {
				t.Errorf("it is %d, want %d", got, tt.want)
			}
		})
	}
}

func TestEnvelopeIsJudgedAsAWhole(t *testing.T) {
	to := func(addresses ...string) (all []message.Recipient) {
		for _, a := range addresses {
			all = append(all, message.Recipient{Address: address(t, a)})
		}
		return all
	}
	for _, tt := range []struct {
		name, from  string
		to          []message.Recipient
		rule, reply string
	}{
		{"what was allowed still is", "scan@example.com", to("a@example.com", "b@example.com"), "", ""},
		{"a sender that is not its own any more", "boss@example.com", to("a@example.com"), "sender", "550 5.7.1 account printer-3f may not send as <boss@example.com>"},
		{"the second recipient is not allowed any more", "scan@example.com", to("a@example.com", "b@example.org"), "recipient", "550 5.7.1 account printer-3f may not send to <b@example.org>"},
		{"fewer recipients are allowed", "scan@example.com", to("a@example.com", "b@example.com", "c@example.com", "d@example.com"), "recipients_per_message", "452 4.5.3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := &message.Message{Client: client, Envelope: message.Envelope{From: address(t, tt.from), To: tt.to}}
			check(t, office(t).Envelope(m), tt.rule, tt.reply)
		})
	}
}
