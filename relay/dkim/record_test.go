package dkim

import (
	"fmt"
	"strings"
	"testing"
)

func TestRecords(t *testing.T) {
	p := newPlace(t)
	record := func(algorithm, name string) (private, string) {
		t.Helper()
		k, err := parsePrivate(string(pair(t, algorithm, name).PEM))
		if err != nil {
			t.Fatal(err)
		}
		return k, pair(t, algorithm, name).Record
	}
	ours, right := record(RSA, "s1")
	_, other := record(RSA, "s2")
	_, modern := record(Ed25519, "s1")
	_, publicKey, _ := strings.Cut(right, "p=")
	const name = "s1._domainkey.example.com"
	for _, row := range []struct {
		name    string
		texts   []string
		verdict Verdict
		problem string
	}{
		{"what is to be published", []string{right}, Good, ""},
		{"the least there may be", []string{"p=" + publicKey}, Good, ""},
		{"blanks, notes and more tags", []string{"v=DKIM1 ; n=a note; h=sha1:sha256; s=*; t=s; k=rsa; p=" + publicKey[:50] + " \t" + publicKey[50:] + " ;"}, Good, ""},
		{"testing", []string{strings.Replace(right, "k=rsa", "k=rsa; t=s:y", 1)}, Testing, "t=y tells receivers to treat the mail as unsigned"},
		{"nothing", nil, Missing, "there is no TXT record"},
		{"another key", []string{other}, Wrong, "it publishes another key"},
		{"revoked", []string{"v=DKIM1; k=rsa; p="}, Wrong, "p= is empty: the key is revoked"},
		{"another kind of key", []string{modern}, Wrong, "it is for a key of kind ed25519, and ours is rsa"},
		{"our key under another kind", []string{"v=DKIM1; k=ed25519; p=" + publicKey}, Wrong, "it is for a key of kind ed25519, and ours is rsa"},
		{"cut at the end of the first string", []string{right[:255]}, Wrong, "p= is cut off after 237 characters; a string of a TXT record holds 255"},
		{"two records", []string{right, "v=spf1 -all"}, Wrong, "there are 2 TXT records"},
		{"no DKIM record", []string{"v=spf1 -all"}, Wrong, "it is not a DKIM record"},
		{"another version", []string{"v=DKIM2; p=" + publicKey}, Wrong, "v=DKIM2 should be v=DKIM1"},
		{"the version too late", []string{"k=rsa; v=DKIM1; p=" + publicKey}, Wrong, "v=DKIM1 must stand first"},
		{"the quotes of a zone file", []string{`"v=DKIM1; k=rsa; " "p=` + publicKey + `"`}, Wrong, "it holds quotation marks or backslashes"},
		{"escaped semicolons", []string{strings.ReplaceAll(right, ";", `\;`)}, Wrong, "it holds quotation marks or backslashes"},
		{"damaged", []string{"v=DKIM1; k=rsa; p=" + publicKey[1:]}, Wrong, "p= is damaged: it is no rsa key"},
		{"another hash", []string{"v=DKIM1; h=sha1; p=" + publicKey}, Wrong, "h=sha1 does not allow sha256"},
		{"another service", []string{"v=DKIM1; s=tlsrpt; p=" + publicKey}, Wrong, "s=tlsrpt does not allow email"},
		{"a tag twice", []string{right + "; p="}, Wrong, "it holds p= twice"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p.dns.TXT(name, row.texts...)
			got := NewResolver(p.dns.Address).look(t.Context(), name, ours.Public())
			said := strings.Join(got.Problems, "; ")
			if got.Verdict != row.verdict || !strings.HasPrefix(said, row.problem) || (said == "") != (row.problem == "") {
				t.Errorf("got %s: %q", got.Verdict, said)
			}
		})
	}
}

func TestLookingUp(t *testing.T) {
	p := newPlace(t)
	ours, err := parsePrivate(string(pair(t, RSA, "s1").PEM))
	if err != nil {
		t.Fatal(err)
	}
	right := pair(t, RSA, "s1").Record
	look := func(name string) string {
		r := NewResolver(p.dns.Address).look(t.Context(), name, ours.Public())
		return fmt.Sprintf("%s %s %s", r.Verdict, r.Alias, strings.Join(r.Problems, "; "))
	}
	p.dns.CNAME("a._domainkey.example.com", "a.keys.example.net")
	p.dns.TXT("a.keys.example.net", right)
	if got := look("a._domainkey.example.com"); got != "good  " {
		t.Errorf("a CNAME to the right record: %q", got)
	}
	p.dns.TXT("a.keys.example.net", pair(t, RSA, "s2").Record)
	if got := look("a._domainkey.example.com"); got != "wrong a.keys.example.net it publishes another key; the name is a CNAME to a.keys.example.net, so the record is to be put right there" {
		t.Errorf("a CNAME to another key: %q", got)
	}
	p.dns.TXT("a.keys.example.net")
	if got := look("a._domainkey.example.com"); !strings.HasPrefix(got, "missing a.keys.example.net there is no TXT record; the name is a CNAME") {
		t.Errorf("a CNAME to nothing: %q", got)
	}
	p.dns.Down(true)
	if got := look("a._domainkey.example.com"); !strings.HasPrefix(got, "unknown  DNS does not answer: ") {
		t.Errorf("an outage: %q", got)
	}
	p.dns.Down(false)
	p.dns.TXT("big._domainkey.example.com", right+"; n="+strings.Repeat("long ", 700))
	if got := look("big._domainkey.example.com"); got != "good  " {
		t.Errorf("an answer too large for UDP: %q", got)
	}
}
