package relay_test

import (
	"regexp"
	"strings"
	"testing"

	"postern/relay"
	"postern/relay/config"
	"postern/relay/dkim"
	"postern/relay/message"
	"postern/relay/setting"
)

// TestAMessageIsMadeAsThePresetWantsIt: what the presets know reaches the rooms
// that dress and sign.
func TestAMessageIsMadeAsThePresetWantsIt(t *testing.T) {
	pair, err := dkim.Generate("example.com", "s1", dkim.RSA)
	if err != nil {
		t.Fatal(err)
	}
	through := func(t *testing.T, upstream string, from message.Address) relay.Through {
		t.Helper()
		cfg := aligned(t, "scan@example.com", []string{upstream})
		cfg.Accounts[0].Policy.NullSender = true
		cfg.DKIM = []dkim.Key{{Domain: "example.com", Selector: "s1", State: "active", Key: dkim.Source{Secret: setting.Plain(string(pair.PEM))}}}
		e, err := relay.Explain(t.Context(), cfg, submissionOf(cfg, from))
		if err != nil || e.Refused != nil || len(e.Upstreams) != 1 {
			t.Fatalf("%+v, %v", e, err)
		}
		return e.Upstreams[0]
	}
	scan := message.Address{Local: "scan", Domain: "example.com"}
	ses := through(t, "{name: a, preset: ses, region: eu-west-1, username: u, password: p}", scan)
	if names := signedFields(ses.Header); !strings.Contains(names, "from") || strings.Contains(names, "message-id") || strings.Contains(names, "date") {
		t.Errorf("before SES the signature covers %q", names)
	}
	own := through(t, `{name: a, address: "mail.example.com:587"}`, scan)
	if names := signedFields(own.Header); !strings.Contains(names, "message-id") {
		t.Errorf("before a server nobody knows the signature covers %q", names)
	}
	if m365 := through(t, "{name: a, preset: microsoft365, mailbox: box@example.com, password: p}", scan); signedFields(m365.Header) != "" {
		t.Errorf("it is signed before one that rebuilds it:\n%s", m365.Header)
	}
	if gmail := through(t, "{name: a, preset: gmail, mailbox: box@example.com, otherwise: force, password: p}", message.Address{}); gmail.From != "box@example.com" {
		t.Errorf("mail from <> leaves through Gmail as %q", gmail.From)
	}
}

func submissionOf(cfg *config.Config, from message.Address) relay.Submission {
	return relay.Submission{Account: cfg.Accounts[0].Auth.Name, From: from, To: []message.Address{{Local: "a", Domain: "example.net"}},
		Content: []byte("From: scan@example.com\r\nSubject: scan\r\n\r\nhello\r\n")}
}

var signedForm = regexp.MustCompile(`(?i)dkim-signature:[^:]*[;\s]h=([^;]*);`)

// signedFields are those that the signature on top of a header covers, in lower
// case; "" when there is none.
func signedFields(header string) string {
	found := signedForm.FindStringSubmatch(header)
	if found == nil {
		return ""
	}
	return strings.ToLower(strings.Join(strings.Fields(found[1]), ""))
}
