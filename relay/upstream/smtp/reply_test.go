package smtp_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"postern/relay/message"
	"postern/relay/upstream/smtp"
)

func TestReply(t *testing.T) {
	for _, c := range []struct {
		in   string
		want message.Reply
	}{
		{"250 2.1.0 ok\r\n", message.Reply{Code: 250, Enhanced: "2.1.0", Text: "ok"}},
		{"250\r\n", message.Reply{Code: 250}},
		{"250 ok\n", message.Reply{Code: 250, Text: "ok"}},
		{"550-5.4.5 Daily user\r\n550 5.4.5 limit exceeded\r\n", message.Reply{Code: 550, Enhanced: "5.4.5", Text: "Daily user\nlimit exceeded"}},
		{"250-one\r\n250-\r\n250 two\r\n", message.Reply{Code: 250, Text: "one\n\ntwo"}},
		{"554 5.7.1\r\n", message.Reply{Code: 554, Enhanced: "5.7.1"}},
		{"250 1.2.3.4 is fine\r\n", message.Reply{Code: 250, Text: "1.2.3.4 is fine"}},
		{"550 no\x1b[31m\xff\r\n", message.Reply{Code: 550, Text: "no [31m?"}},
	} {
		got, err := smtp.ReadReply(strings.NewReader(c.in))
		if err != nil || got != c.want {
			t.Errorf("%q: %+v, %v", c.in, got, err)
		}
	}
	for _, in := range []string{"", "250", "25 ok\r\n", "2500 ok\r\n", "150 ok\r\n", "650 ok\r\n", "250-one\r\n", "250-one\r\n550 two\r\n", "\r\n", "abc\r\n"} {
		if got, err := smtp.ReadReply(strings.NewReader(in)); err == nil {
			t.Errorf("%q is read as %+v", in, got)
		}
	}
	if _, err := smtp.ReadReply(strings.NewReader("")); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

func FuzzReply(f *testing.F) {
	for _, seed := range []string{"250 2.1.0 ok\r\n", "550-5.4.5 a\r\n550 5.4.5 b\r\n", "250\n", "354 go\r\n", "421-x\r\n421 \x00\r\n",
		"250-mx\r\n250-SIZE 1\r\n250 AUTH PLAIN\r\n", strings.Repeat("250-a\r\n", 200), "220 " + strings.Repeat("y", 3000)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		reply, err := smtp.ReadReply(bytes.NewReader(in))
		if err != nil {
			if reply != (message.Reply{}) {
				t.Fatalf("%+v with %v", reply, err)
			}
			return
		}
		if reply.Code < 200 || reply.Code > 599 || len(reply.Text) > 64<<10 || !utf8.ValidString(reply.Text) {
			t.Fatalf("%+v", reply)
		}
		if strings.ContainsFunc(reply.Text, func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f }) {
			t.Fatalf("control characters in %q", reply.Text)
		}
		smtp.RemoteID(reply.Text)
	})
}

func TestRemoteID(t *testing.T) {
	for text, want := range map[string]string{
		"Ok: queued as 4XyZ12abc":                                 "4XyZ12abc",
		"queued as 0123456789abcdef":                              "0123456789abcdef",
		"from MTA(smtp:[127.0.0.1]:10025): 250 queued as 9F3.":    "9F3",
		"OK id=1tQZxY-000000001Ab-2cde":                           "1tQZxY-000000001Ab-2cde",
		"Ok 0102018c2f3d4e5f-a1b2c3d4-e5f6-7890-abcd-ef01-000000": "0102018c2f3d4e5f-a1b2c3d4-e5f6-7890-abcd-ef01-000000",
		"OK  1700000000 5b1f17b1804b1-4330000000sm12345 - gsmtp":  "5b1f17b1804b1-4330000000sm12345",
		"<abc@relay.example.com> [InternalId=123, Hostname=AM0.prod.outlook.com] 9000 bytes in 0.1, 80 KB/sec Queued mail for delivery": "abc@relay.example.com",
		"w1ABCdef012345 Message accepted for delivery": "w1ABCdef012345",
		"Great success":                         "",
		"Ok":                                    "",
		"OK thank you":                          "",
		"queued as " + strings.Repeat("x", 300): "",
	} {
		if got := smtp.RemoteID(text); got != want {
			t.Errorf("%q: %q; want %q", text, got, want)
		}
	}
}

// unstuff is the other side of dot-stuffing, written apart from it.
func unstuff(wire string) (content string, ok bool) {
	var b strings.Builder
	for {
		line, rest, found := strings.Cut(wire, "\r\n")
		if !found || strings.ContainsAny(line, "\r\n") {
			return "", false
		}
		if line == "." {
			return b.String(), rest == ""
		}
		b.WriteString(strings.TrimPrefix(line, ".") + "\r\n")
		wire = rest
	}
}

func TestDotStuffing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pieces := rapid.SliceOf(rapid.SampledFrom([]string{".", "\r\n", "\r", "\n", "a", "..", "\r\n.\r\n", "\n.\n", "\r.\r"})).Draw(t, "pieces")
		var wire bytes.Buffer
		var split [][]byte
		for _, p := range pieces {
			split = append(split, []byte(p))
		}
		if err := smtp.Stuff(&wire, split...); err != nil {
			t.Fatal(err)
		}
		sent := strings.Join(pieces, "")
		clean := strings.NewReplacer("\r\n", "\r\n", "\r", "\r\n", "\n", "\r\n").Replace(sent)
		if clean != "" && !strings.HasSuffix(clean, "\r\n") {
			clean += "\r\n"
		}
		got, ok := unstuff(wire.String())
		if !ok || got != clean {
			t.Fatalf("%q leaves as %q and is read as %q; want %q", sent, wire.String(), got, clean)
		}
	})
}
