package upstream_test

import (
	"strings"
	"testing"

	"postern/relay/message"
)

func TestEnvelope(t *testing.T) {
	dsn := func(m *message.Message) {
		m.Return, m.EnvelopeID = "HDRS", "id 1+1=2"
		m.To[0].Notify, m.To[0].OriginalType, m.To[0].Original = []string{"SUCCESS", "FAILURE"}, "rfc822", "a+b@example.net"
	}
	for _, c := range []struct {
		name    string
		without string // the extension the server lacks
		set     func(*message.Message)
		from    string // what must stand in MAIL
		absent  string // and what must not
		to      string // in the first RCPT
		want    string // outcomes
		text    string // in the first reply
	}{
		{name: "the size is declared", from: " SIZE=23", want: "delivered delivered"},
		{name: "the null sender", set: func(m *message.Message) { m.From = message.Address{} }, from: "FROM:<> ", want: "delivered delivered"},
		{name: "a local part that must be quoted", set: func(m *message.Message) { m.From.Local = `a b"c` }, from: `FROM:<"a b\"c"@example.com>`, want: "delivered delivered"},
		{name: "7-bit content is not declared 8-bit", absent: "BODY", from: "FROM", want: "delivered delivered"},
		{name: "8-bit content is declared", set: func(m *message.Message) { m.Body = message.Bytes("\xe4\r\n") }, from: "BODY=8BITMIME", absent: "SMTPUTF8", want: "delivered delivered"},
		{name: "what the client declared 8-bit", set: func(m *message.Message) { m.BodyType = "8BITMIME" }, from: "BODY=8BITMIME", want: "delivered delivered"},
		{name: "7-bit content declared 8-bit without 8BITMIME", without: "8BITMIME", set: func(m *message.Message) { m.BodyType = "8BITMIME" }, from: "FROM", absent: "BODY", want: "delivered delivered"},
		{name: "8-bit content without 8BITMIME", without: "8BITMIME", set: func(m *message.Message) { m.Body = message.Bytes("\xe4\r\n") }, want: "failed failed", text: "5.6.3"},
		{name: "ASCII flagged SMTPUTF8 goes without it", without: "SMTPUTF8", set: func(m *message.Message) { m.SMTPUTF8 = true }, from: "FROM", absent: "SMTPUTF8", want: "delivered delivered"},
		{name: "a UTF-8 recipient", set: func(m *message.Message) { m.To[0].Address.Local = "jörg" }, from: "SMTPUTF8", to: "<jörg@", want: "delivered delivered"},
		{name: "a UTF-8 recipient without SMTPUTF8", without: "SMTPUTF8", set: func(m *message.Message) { m.To[0].Address.Local = "jörg" }, from: "FROM", absent: "SMTPUTF8", want: "failed delivered", text: "5.6.7"},
		{name: "a UTF-8 sender without SMTPUTF8", without: "SMTPUTF8", set: func(m *message.Message) { m.From.Local = "jörg" }, want: "failed failed", text: "5.6.7"},
		{name: "a message over the limit", set: func(m *message.Message) { m.Body = lines(1 << 20) }, want: "failed failed", text: "5.3.4"},
		{name: "DSN", set: dsn, from: " RET=HDRS ENVID=id+201+2B1+3D2", to: " NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a+2Bb@example.net", want: "delivered delivered"},
		{name: "DSN not offered", without: "DSN", set: dsn, from: "FROM", absent: "ENVID", to: "<a@example.net>", want: "delivered delivered"},
		{name: "ORCPT in UTF-8", set: func(m *message.Message) { m.To[0].OriginalType, m.To[0].Original = "utf-8", "jörg@example.net" }, from: "FROM", to: `ORCPT=utf-8;j\x{F6}rg@example.net`, want: "delivered delivered"},
		{name: "a line end in a parameter", set: func(m *message.Message) { m.Return = "FULL\r\nRCPT TO:<x@example.net>" }, want: "deferred deferred"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			s.ext = without(s.ext, c.without)
			o, _ := options(t)
			set := newSet(t, route(smarthost(t, s.listen(t))), o)
			m := letter("xyz\r\n", "a@example.net", "b@example.net")
			if c.set != nil {
				c.set(m)
			}
			results, err := send(t, set, m)
			if err != nil || outcomes(results) != c.want || !strings.Contains(results[0].Reply.String(), c.text) {
				t.Fatal(results, err)
			}
			got := s.got()
			if c.from == "" {
				if len(got) != 0 {
					t.Errorf("the server has %+v", got)
				}
				return
			}
			if len(got) != 1 || !strings.Contains(got[0].from, c.from) || c.absent != "" && strings.Contains(got[0].from, c.absent) {
				t.Fatalf("the server has %+v", got)
			}
			if !strings.Contains(got[0].to[0], c.to) || c.to == "<a@example.net>" && !strings.HasSuffix(got[0].to[0], c.to) {
				t.Errorf("%s", got[0].to[0])
			}
		})
	}
}
