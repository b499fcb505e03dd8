package relay_test

import (
	"strings"
	"testing"

	"postern/relay"
	"postern/relay/config"
	"postern/relay/dkim"
	"postern/relay/dkim/dnstest"
)

func TestAlignment(t *testing.T) {
	const gmail = "{name: gmail, preset: gmail, mailbox: box@example.com, username: u, password: p}"
	const sendgrid = "{name: sendgrid, preset: sendgrid, password: p}"
	const ses = "{name: ses, preset: ses, region: eu-west-1, username: u, password: p}"
	reject := map[string]string{"_dmarc.example.com": "v=DMARC1; p=reject", "example.com": "v=spf1 include:_spf.google.com -all"}
	for _, row := range []struct {
		name      string
		senders   string
		upstreams []string
		records   map[string]string
		key       bool
		want      string
	}{
		{"a failover to one the domain knows nothing of", "scan@example.com", []string{gmail, sendgrid}, reject, false,
			"route default fails over to sendgrid: mail from example.com would fail DMARC there (p=reject), as no key at s1._domainkey.example.com, no key at s2._domainkey.example.com; publish what the provider asks for, or sign here (docs/dkim.md)"},
		{"the same as the first", `"@example.com"`, []string{sendgrid}, reject, false,
			"route default sends through sendgrid: mail from example.com would fail DMARC there (p=reject), as no key at s1._domainkey.example.com, no key at s2._domainkey.example.com; publish what the provider asks for, or sign here (docs/dkim.md)"},
		{"signed here", "scan@example.com", []string{gmail, sendgrid}, reject, true, ""},
		{"signed here, but not for that one", "scan@example.com", []string{strings.Replace(sendgrid, "}", ", dkim: off}", 1)}, reject, true,
			"route default sends through sendgrid: mail from example.com would fail DMARC there (p=reject), as no key at s1._domainkey.example.com, no key at s2._domainkey.example.com; publish what the provider asks for, or sign here (docs/dkim.md)"},
		{"what DNS does not show", "scan@example.com", []string{gmail, ses}, reject, false,
			"route default fails over to ses: whether mail from example.com passes DMARC there (p=reject) cannot be seen in DNS; see that the provider signs for the domain, or sign here (docs/dkim.md)"},
		{"a domain that asks for nothing", "scan@example.com", []string{gmail, sendgrid}, map[string]string{"_dmarc.example.com": "v=DMARC1; p=none"}, false, ""},
		{"a domain without a record", "scan@example.com", []string{gmail, sendgrid}, nil, false, ""},
		{"senders of no domain", `"*", "@*.example.com"`, []string{sendgrid}, reject, false, ""},
		{"each domain once", `scan@example.com, it@example.com`, []string{ses}, reject, false,
			"route default sends through ses: whether mail from example.com passes DMARC there (p=reject) cannot be seen in DNS; see that the provider signs for the domain, or sign here (docs/dkim.md)"},
		{"mail that goes out as the mailbox", "scan@old.example", []string{strings.Replace(gmail, "}", ", otherwise: force}", 1)},
			map[string]string{"_dmarc.old.example": "v=DMARC1; p=reject", "_dmarc.example.com": "v=DMARC1; p=reject", "example.com": "v=spf1 include:_spf.google.com -all"}, false, ""},
		{"mail that does not go there", "scan@old.example", []string{strings.Replace(gmail, "}", ", otherwise: next}", 1)}, map[string]string{"_dmarc.old.example": "v=DMARC1; p=reject"}, false, ""},
		{"a capture", "scan@example.com", []string{"{name: sandbox, preset: capture}"}, reject, false, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			dns := dnstest.Start(t, "127.0.0.1:0")
			for name, text := range row.records {
				dns.TXT(name, text)
			}
			cfg := aligned(t, row.senders, row.upstreams)
			if row.key {
				cfg.DKIM = []dkim.Key{{Domain: "example.com", Selector: "s2026"}}
			}
			if got := strings.Join(relay.Alignment(t.Context(), cfg, dns.Address), "\n"); got != row.want {
				t.Errorf("got\n%s\nwant\n%s", got, row.want)
			}
		})
	}
}

// aligned is a configuration with one account and one route.
func aligned(t *testing.T, senders string, upstreams []string) *config.Config {
	t.Helper()
	var names []string
	for _, u := range upstreams {
		_, rest, _ := strings.Cut(u, "name: ")
		name, _, _ := strings.Cut(rest, ",")
		names = append(names, name)
	}
	dir := t.TempDir()
	(&running{t: t, dir: dir}).writeCertificate()
	cfg, err := config.Parse("a.yaml", []byte("hostname: relay.example.com\ndata_dir: "+dir+
		"\ntls: {certificates: [{certificate: \""+dir+"/tls.crt\", key: \""+dir+"/tls.key\"}]}"+
		"\nlisteners: [{name: floor, address: \"127.0.0.1:0\", tls: none, networks: [127.0.0.1], plaintext_auth: true}]"+
		"\naccounts: [{name: printer, senders: ["+senders+"]}]\nupstreams: ["+strings.Join(upstreams, ", ")+
		"]\nroutes: [{name: default, upstreams: ["+strings.Join(names, ", ")+"]}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestAlignmentWithoutDNS(t *testing.T) {
	dns := dnstest.Start(t, "127.0.0.1:0")
	dns.Down(true)
	cfg := aligned(t, "scan@example.com", []string{"{name: sendgrid, preset: sendgrid, password: p}"})
	got := relay.Alignment(t.Context(), cfg, dns.Address)
	if len(got) != 1 || !strings.HasPrefix(got[0], "route default, upstream sendgrid: DNS does not answer about _dmarc.example.com") {
		t.Errorf("got %q", got)
	}
}
