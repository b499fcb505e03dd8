package rewrite_test

import (
	"fmt"
	"strings"
	"testing"

	"postern/relay/message"
	"postern/rewrite"
)

func TestUpstreamCheck(t *testing.T) {
	scan, err := message.ParsePatterns("scan@example.com")
	if err != nil {
		t.Fatal(err)
	}
	relay := message.Address{Local: "relay", Domain: "example.com"}
	for _, tt := range []struct {
		name     string
		upstream rewrite.Upstream
		want     string
	}{
		{"nothing is said", rewrite.Upstream{}, ""},
		{"a mailbox alone says nothing of senders", rewrite.Upstream{Mailbox: relay}, ""},
		{"senders alone", rewrite.Upstream{Senders: scan}, ""},
		{"only the mailbox", rewrite.Upstream{Mailbox: relay, Otherwise: "refuse"}, ""},
		{"all of it", rewrite.Upstream{Mailbox: relay, Senders: scan, Otherwise: "force", OriginalTo: "x-original-from", NullSender: "otherwise"}, ""},
		{"an unknown way", rewrite.Upstream{Mailbox: relay, Otherwise: "forced"}, `otherwise: "forced" is not refuse, next or force`},
		{"a word of the sentence", rewrite.Upstream{Mailbox: relay, Otherwise: "or"}, `otherwise: "or" is not refuse, next or force`},
		{"an unknown place", rewrite.Upstream{Mailbox: relay, Otherwise: "force", OriginalTo: "To"}, `original_to: "To" is not reply-to, x-original-from or none`},
		{"an unknown use", rewrite.Upstream{Senders: scan, NullSender: "refuse"}, `null_sender: "refuse" is not keep or otherwise`},
		{"force without a mailbox", rewrite.Upstream{Senders: scan, Otherwise: "force"}, "otherwise: force needs mailbox: the address to send as"},
		{"nobody allowed", rewrite.Upstream{Otherwise: "next"}, "otherwise: it says what becomes of mail from others than senders; set senders, or mailbox"},
		{"a place for nothing", rewrite.Upstream{Senders: scan, OriginalTo: "none"}, "original_to: nothing is replaced without otherwise: force"},
		{"nothing to fall back to", rewrite.Upstream{Mailbox: relay, NullSender: "otherwise"}, "null_sender: otherwise is not set"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			tt.upstream.Check(func(key, format string, args ...any) { got = append(got, key+": "+fmt.Sprintf(format, args...)) })
			if strings.Join(got, "\n") != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}
