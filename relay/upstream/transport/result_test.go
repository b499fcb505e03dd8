package transport_test

import (
	"testing"

	"postern/relay/message"
	"postern/relay/upstream/transport"
)

func TestUsual(t *testing.T) {
	for _, c := range []struct {
		at       transport.Stage
		enhanced string
		code     int
		want     message.Outcome
	}{
		{transport.AtMail, "", 451, message.Deferred},
		{transport.AtMail, "5.7.1", 550, message.Failed},
		{transport.AtMail, "5.3.4", 552, message.Failed},
		{transport.AtMail, "4.7.1", 550, message.Deferred},
		{transport.AtMail, "", 250, message.Deferred},
		{transport.AtRcpt, "5.1.1", 550, message.Failed},
		{transport.AtRcpt, "", 550, message.Failed},
		{transport.AtRcpt, "", 552, message.Deferred},
		{transport.AtRcpt, "5.5.3", 552, message.Deferred},
		{transport.AtRcpt, "5.2.2", 552, message.Failed},
		{transport.AtData, "", 354, message.Deferred},
		{transport.AtEnd, "", 552, message.Failed},
		{transport.AtEnd, "", 554, message.Failed},
		{transport.AtEnd, "", 500, message.Deferred},
		{transport.AtEnd, "", 502, message.Deferred},
		{transport.AtEnd, "", 503, message.Deferred},
		{transport.AtMail, "", 555, message.Deferred},
		{transport.AtRcpt, "", 501, message.Failed},
	} {
		if got := transport.Usual(c.at, message.Reply{Code: c.code, Enhanced: c.enhanced}).Outcome; got != c.want {
			t.Errorf("%d %s at %s: %v; want %v", c.code, c.enhanced, c.at, got, c.want)
		}
	}
}
