package rewrite_test

import (
	"mime"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"postern/relay/message"
	"postern/rewrite"
)

func TestOctetsInNoKnownCharset(t *testing.T) {
	const shiftJIS = "\x83X\x83L\x83\x83\x83\x93"
	for _, tt := range []struct {
		name, field string
		asked       bool
		offer       rewrite.Offer
		want        string // the field, or the beginning of the reply
	}{
		{"a subject in Shift-JIS, over 8BITMIME", "Subject: " + shiftJIS, false, rewrite.Offer{EightBit: true}, "Subject: " + shiftJIS},
		{"the same, SMTPUTF8 being asked for", "Subject: " + shiftJIS, true, rewrite.Offer{EightBit: true}, "Subject: " + shiftJIS},
		{"the same, in 7 bits", "Subject: scan " + shiftJIS + " 1", false, rewrite.Offer{}, "Subject: scan =?unknown-8bit?b?g1iDTIODg5M=?= 1"},
		{"a name in Latin-1, over 8BITMIME", "To: B\xfcro <a@example.org>", false, rewrite.Offer{EightBit: true}, "To: B\xfcro <a@example.org>"},
		{"the same, in 7 bits", "To: B\xfcro <a@example.org>", false, rewrite.Offer{}, "To: =?unknown-8bit?q?B=FCro?= <a@example.org>"},
		{"octets in a charset that may hold an @", "To: \x83@\x83A <a@example.org>", false, rewrite.Offer{}, "554 5.6.3"},
		{"an id in Latin-1, over 8BITMIME", "Message-ID: <\xfc@example.org>", false, rewrite.Offer{EightBit: true}, "Message-ID: <\xfc@example.org>"},
		{"the same, in 7 bits", "Message-ID: <\xfc@example.org>", false, rewrite.Offer{}, "554 5.6.3"},
		{"an id in UTF-8 that SMTPUTF8 was not asked for", "Message-ID: <\xc3\xbc@example.org>", false, rewrite.Offer{EightBit: true}, "Message-ID: <\xc3\xbc@example.org>"},
		{"an address in UTF-8 that SMTPUTF8 was not asked for", "Cc: <\xc3\xbc@example.org>", false, rewrite.Offer{EightBit: true}, "Cc: <\xc3\xbc@example.org>"},
		{"the same, in 7 bits", "Cc: <\xc3\xbc@example.org>", false, rewrite.Offer{}, "550 5.6.7"},
		{"a quote that is not closed", "Cc: \"\xc3\xbc <a@example.org>", false, rewrite.Offer{}, "554 5.6.3"},
		{"a comment within a comment", "Cc: a@example.org (\xc3\xbc (x))", false, rewrite.Offer{}, "554 5.6.3"},
		{"an escape in a quoted name", `Cc: "\"` + "\xc3\xbc" + `\" " <a@example.org>`, false, rewrite.Offer{}, "Cc: =?utf-8?b?IsO8IiA=?= <a@example.org>"},
		{"a domain that is none in ASCII", "Cc: <a@\xe2\x80\x8d\xc3\xbc.example>", false, rewrite.Offer{}, "554 5.6.3"},
		{"what begins like an encoded word beside one", "Subject: =?x \xc3\xbc", false, rewrite.Offer{EightBit: true}, "Subject: =?utf-8?q?=3D=3Fx_=C3=BC?="},
		{"a text in Japanese", "Subject: \xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e", false, rewrite.Offer{EightBit: true}, "Subject: =?utf-8?b?5pel5pys6Kqe?="},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := submitted(t, tt.field+"\r\n")
			m.SMTPUTF8 = tt.asked
			dressed, _, err := rewrite.NewDressing("old", rewrite.Upstream{}).Dress(m, tt.offer)
			if err != nil {
				checkUnfit(t, err)
				if !strings.HasPrefix(err.Error(), tt.want) {
					t.Errorf("the reply is %v", err)
				}
				return
			}
			checkFits(t, dressed, tt.offer)
			if got := strings.TrimSuffix(string(dressed.Header[0].Raw()), "\r\n"); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func TestEncodedWordsReadAsBefore(t *testing.T) {
	text := rapid.SliceOf(rapid.OneOf(
		rapid.SampledFrom([]string{" ", "  ", "\t", "\r\n ", "\xc3\xbc", "\xf0\x9f\x96\xa8", "plain", " =?utf-8?q?a_b?= ", "_", "="}),
		rapid.StringMatching(`[a-zß-ü日本]{1,120}`)))
	rapid.Check(t, func(t *rapid.T) {
		field := strings.ReplaceAll("Subject: "+strings.Join(text.Draw(t, "text"), "")+"x", "\r\n \r\n", "\r\n")
		h, err := message.ParseHeader([]byte(field + "\r\n"))
		if err != nil {
			t.Skip(err)
		}
		m := &message.Message{Header: h, Body: message.Bytes("")}
		dressed, _, err := rewrite.NewDressing("old", rewrite.Upstream{}).Dress(m, rewrite.Offer{})
		if err != nil {
			t.Fatal(err)
		}
		want, err := new(mime.WordDecoder).DecodeHeader(h[0].Value())
		if err != nil {
			t.Skip(err)
		}
		got, err := new(mime.WordDecoder).DecodeHeader(dressed.Header[0].Value())
		if err != nil || got != want {
			t.Fatalf("%q\nbecomes %q\nwhich reads as %q, %v\ninstead of     %q", field, dressed.Header[0].Raw(), got, err, want)
		}
	})
}
