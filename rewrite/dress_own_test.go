package rewrite_test

import (
	"testing"

	"postern/relay/message"
	"postern/rewrite"
)

// A report has no return path, and leaves as the postmaster. Where that would be
// refused it leaves as the mailbox; the same mail of a client is not touched.
func TestMailOfOurOwnGoesAsTheMailboxRatherThanNotAtAll(t *testing.T) {
	mailbox := address(t, "relay@example.com")
	it, err := message.ParsePatterns("it@example.com")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name       string
		cfg        rewrite.Upstream
		path, from string // of the report
		refused    bool   // of the same from a client
	}{
		{"it takes everything", rewrite.Upstream{Mailbox: mailbox}, "", "it@example.com", false},
		{"it takes its mailbox alone", rewrite.Upstream{Mailbox: mailbox, Otherwise: "refuse"}, "", "relay@example.com", true},
		{"and from <> nothing", rewrite.Upstream{Mailbox: mailbox, Otherwise: "refuse", NullSender: "otherwise"}, "relay@example.com", "relay@example.com", true},
		{"another upstream might take it", rewrite.Upstream{Mailbox: mailbox, Otherwise: "next", NullSender: "otherwise"}, "relay@example.com", "relay@example.com", true},
		{"its provider refuses <>", rewrite.Upstream{Mailbox: mailbox, NullRefused: true}, "relay@example.com", "relay@example.com", false},
		{"its provider refuses <>, and lets it send as the postmaster", rewrite.Upstream{Mailbox: mailbox, Senders: it, NullRefused: true},
			"relay@example.com", "it@example.com", false},
		{"there is no mailbox to send as", rewrite.Upstream{NullRefused: true}, "", "it@example.com", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := &message.Message{About: "06f0000000000001", Body: message.Bytes(""), Header: message.Header{message.NewField("From", "Mail <it@example.com>")}}
			m.To = []message.Recipient{{Address: address(t, "anna@example.com")}}
			d := rewrite.NewDressing("m365", c.cfg)
			got, _, err := d.Dress(m, rewrite.Offer{})
			if err != nil {
				t.Fatal(err)
			}
			from, err := message.ParseMailboxes(got.Header.Get("From"))
			if err != nil || got.From.String() != c.path || from[0].String() != c.from {
				t.Errorf("from <%s>, From %v, %v", got.From, from, err)
			}
			m.About = ""
			got, changes, err := d.Dress(m, rewrite.Offer{})
			if (err != nil) != c.refused || err == nil && (!got.From.IsNull() || len(changes) > 0) {
				t.Errorf("of a client: %v, %v", changes, err)
			}
		})
	}
}
