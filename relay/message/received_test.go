package message_test

import (
	"net/netip"
	"strings"
	"testing"

	"postern/relay/message"
)

// submitted is a usual submission; the rows change what they are about.
func submitted() *message.Message {
	return &message.Message{
		ID:       "0q5g1x2y3z4a5b6c",
		Received: noon,
		Envelope: message.Envelope{To: []message.Recipient{{Address: message.Address{Local: "a", Domain: "example.org"}}}},
		Client: message.Client{Identity: message.Identity{Account: "printer"}, Mechanism: "PLAIN", Address: netip.MustParseAddrPort("192.0.2.7:4711"),
			Hello: "[192.0.2.7]", Extended: true, TLSVersion: "TLS 1.3", TLSCipher: "TLS_AES_128_GCM_SHA256"},
	}
}

func TestReceived(t *testing.T) {
	const rest = "by relay.example.com with ESMTPSA tls TLS_AES_128_GCM_SHA256 id 0q5g1x2y3z4a5b6c for <a@example.org>; Sun, 01 Mar 2026 12:00:00 +0100"
	const usual = "from [192.0.2.7] ([192.0.2.7]) " + rest
	replaced := func(old, with string) string { return strings.Replace(usual, old, with, 1) }
	const inClear = "by relay.example.com with ESMTPSA tls TLS_AES_128_GCM_SHA256"
	for _, tt := range []struct {
		name   string
		change func(*message.Message)
		hide   bool
		want   string
	}{
		{"an authenticated submission over TLS", func(*message.Message) {}, false, usual},
		{"the client is hidden", func(*message.Message) {}, true, rest},
		{"in clear", func(m *message.Message) { m.Client.TLSVersion, m.Client.TLSCipher = "", "" }, false,
			replaced(inClear, "by relay.example.com with ESMTPA")},
		{"without AUTH, by network", func(m *message.Message) { m.Client.Mechanism = "" }, false, replaced("ESMTPSA", "ESMTPS")},
		{"HELO in clear without account", func(m *message.Message) { m.Client = message.Client{Address: m.Client.Address, Hello: "pc"} }, false,
			strings.Replace(replaced(inClear, "by relay.example.com with SMTP"), "from [192.0.2.7]", "from pc", 1)},
		{"SMTPUTF8", func(m *message.Message) { m.SMTPUTF8 = true }, false, replaced("ESMTPSA", "UTF8SMTPSA")},
		{"an IPv6 client", func(m *message.Message) { m.Client.Address = netip.MustParseAddrPort("[fe80::1%eth0]:25") }, false,
			replaced("([192.0.2.7])", "([IPv6:fe80::1])")},
		{"an IPv4 client on an IPv6 socket", func(m *message.Message) { m.Client.Address = netip.MustParseAddrPort("[::ffff:192.0.2.7]:25") }, false, usual},
		{"a client without address", func(m *message.Message) { m.Client.Address = netip.AddrPort{} }, false, replaced("([192.0.2.7])", "([unknown])")},
		{"several recipients do not learn of each other", func(m *message.Message) { m.To = append(m.To, m.To[0]) }, false, replaced(" for <a@example.org>", "")},
		{"a quoted recipient", func(m *message.Message) { m.To[0].Address.Local = "a;b>c" }, false, replaced("<a@", `<"a;b>c"@`)},
		{"a device with a name of its own", func(m *message.Message) { m.Client.Hello = "HP Scanner (3rd floor)" }, false, replaced("from [192.0.2.7]", "from unknown")},
		{"an EHLO of punctuation", func(m *message.Message) { m.Client.Hello = "]:.[" }, false, replaced("from [192.0.2.7]", "from unknown")},
		{"an EHLO outside ASCII", func(m *message.Message) { m.Client.Hello = "büro" }, false, replaced("from [192.0.2.7]", "from unknown")},
		{"an empty EHLO", func(m *message.Message) { m.Client.Hello = "" }, false, replaced("from [192.0.2.7]", "from unknown")},
		{"an EHLO that says by", func(m *message.Message) { m.Client.Hello = "x by relay.example.com" }, false, replaced("from [192.0.2.7]", "from unknown")},
		{"a host name with an underscore", func(m *message.Message) { m.Client.Hello = "MFP_3F" }, false, replaced("from [192.0.2.7]", "from MFP_3F")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := submitted()
			tt.change(m)
			f := message.Received(m, "relay.example.com", tt.hide)
			if !f.Is("Received") {
				t.Errorf("its name is %q", f.Name())
			}
			if got := strings.ReplaceAll(f.Value(), "\t", " "); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestReceivedLinesAreShort(t *testing.T) {
	m := submitted()
	m.Client.Hello = strings.Repeat(strings.Repeat("h", 63)+".", 4)[:253]
	to, err := message.NewAddress(strings.Repeat(`"`, 64), strings.Repeat("d", 60)+"."+strings.Repeat("e", 60))
	if err != nil {
		t.Fatal(err)
	}
	m.To[0].Address = to
	f := message.Received(m, strings.Repeat("r", 63)+".example", false)
	for line := range strings.SplitSeq(string(f.Raw()), "\r\n") {
		if len(line) > 400 {
			t.Errorf("a line of %d octets: %q", len(line), line)
		}
	}
	if h, err := message.ParseHeader(f.Raw()); err != nil || len(h) != 1 {
		t.Errorf("it is read as %d fields, %v", len(h), err)
	}
	m.Client.Hello += strings.Repeat("x", 2000)
	if got := message.Received(m, "relay.example.com", false).Value(); !strings.HasPrefix(got, "from unknown (") {
		t.Errorf("an endless EHLO stands in %.40q", got)
	}
}
