package dmarc_test

import (
	"strings"
	"testing"

	"postern/relay/dkim/dnstest"
	"postern/relay/dmarc"
)

func TestJudge(t *testing.T) {
	google := dmarc.Way{SPF: "_spf.google.com", KeepsReturnPath: true, Selectors: []string{"google"}}
	for _, row := range []struct {
		name    string
		domain  string
		records map[string]string
		way     dmarc.Way
		want    string
	}{
		{"no record", "example.com", nil, google, " unknown"},
		{"SPF includes it", "example.com", map[string]string{"_dmarc.example.com": "v=DMARC1; p=reject", "example.com": "v=spf1 include:_spf.google.com ~all"}, google,
			"reject passes SPF of example.com includes _spf.google.com"},
		{"SPF includes it by another", "example.com", map[string]string{"_dmarc.example.com": "v=DMARC1;p=Quarantine;", "example.com": "v=spf1 ip4:192.0.2.1 include:_spf.example.com -all",
			"_spf.example.com": "v=spf1 ?include:other.example +include:_spf.google.com -all"}, google,
			"quarantine passes SPF of example.com includes _spf.google.com"},
		{"SPF redirects to it", "example.com", map[string]string{"_dmarc.example.com": "v=DMARC1; p=none", "example.com": "v=spf1 redirect=_spf.google.com"}, google,
			"none passes SPF of example.com includes _spf.google.com"},
		{"SPF includes itself", "example.com", map[string]string{"_dmarc.example.com": "v=DMARC1; p=reject", "example.com": "v=spf1 include:example.com -all"}, google,
			"reject fails SPF of example.com does not include _spf.google.com, no key at google._domainkey.example.com"},
		{"a record that only looks like SPF", "example.com", map[string]string{"_dmarc.example.com": "v=DMARC1; p=reject", "example.com": "v=spf10 include:_spf.google.com"}, google,
			"reject fails SPF of example.com does not include _spf.google.com, no key at google._domainkey.example.com"},
		{"a key of the provider", "example.com", map[string]string{"_dmarc.example.com": "v=DMARC1; p=reject", "google._domainkey.example.com": "v=DKIM1; p=x"}, google,
			"reject passes there is a key at google._domainkey.example.com"},
		{"SPF is of no use where the return path is replaced", "example.com", map[string]string{"_dmarc.example.com": "v=DMARC1; p=reject", "example.com": "v=spf1 include:_spf.google.com"},
			dmarc.Way{SPF: "_spf.google.com", Selectors: []string{"s1"}}, "reject fails no key at s1._domainkey.example.com"},
		{"keys whose names nobody knows", "example.com", map[string]string{"_dmarc.example.com": "v=DMARC1; p=reject"}, dmarc.Way{SPF: "amazonses.com", KeepsReturnPath: true},
			"reject unknown SPF of example.com does not include amazonses.com"},
		{"signed here", "example.com", map[string]string{"_dmarc.example.com": "v=DMARC1; p=reject"}, dmarc.Way{Signed: true}, "reject passes it is signed here"},
		{"below the domain with the record", "a.b.example.com", map[string]string{"_dmarc.example.com": "v=DMARC1; p=none; sp=reject"}, dmarc.Way{Signed: true}, "reject passes it is signed here"},
		{"below, without a word for that", "a.example.com", map[string]string{"_dmarc.example.com": "v=DMARC1; p=quarantine"}, dmarc.Way{Signed: true}, "quarantine passes it is signed here"},
		{"sp is not for itself", "example.com", map[string]string{"_dmarc.example.com": "v=DMARC1; p=none; sp=reject"}, dmarc.Way{Signed: true}, "none passes it is signed here"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := dnstest.Start(t, "127.0.0.1:0")
			for name, text := range row.records {
				s.TXT(name, text)
			}
			v, err := dmarc.NewResolver(s.Address).Judge(t.Context(), row.domain, row.way)
			if err != nil {
				t.Fatal(err)
			}
			got := v.Policy + " unknown"
			switch {
			case v.Passes:
				got = v.Policy + " passes"
			case v.Known:
				got = v.Policy + " fails"
			}
			if v.Why != "" {
				got += " " + v.Why
			}
			if got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
		})
	}
}

func TestAnOutageOfDNSIsNoVerdict(t *testing.T) {
	s := dnstest.Start(t, "127.0.0.1:0")
	s.Down(true)
	_, err := dmarc.NewResolver(s.Address).Judge(t.Context(), "example.com", dmarc.Way{Signed: true})
	if err == nil || !strings.Contains(err.Error(), "DNS does not answer about _dmarc.example.com") {
		t.Errorf("the error is %v", err)
	}
}

func TestStrict(t *testing.T) {
	for policy, want := range map[string]bool{"": false, "none": false, "quarantine": true, "reject": true} {
		if got := (dmarc.Verdict{Policy: policy}).Strict(); got != want {
			t.Errorf("%q: %t", policy, got)
		}
	}
}
