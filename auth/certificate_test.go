package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"log/slog"
	"math/big"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"postern/relay/setting"
)

// certify makes the certificate of a device.
func certify(t *testing.T, template x509.Certificate) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(1)
	template.NotAfter = time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCertificateNames(t *testing.T) {
	sum := strings.Repeat("0123456789abcdef", 4)
	for text, want := range map[string]string{
		"sha256:" + sum:                  "sha256:" + sum,
		"sha256:" + strings.ToUpper(sum): "sha256:" + sum,
		"sha256:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF": "sha256:" + sum,
		"subject:CN=Printer 3F,O=Example": "subject:CN=Printer 3F,O=Example",
		"dns:Printer.example.com":         "dns:printer.example.com",
		"email:Scan@Example.com":          "email:scan@example.com",
		"uri:urn:uuid:1-2":                "uri:urn:uuid:1-2",
		"":                                "",
		"printer":                         "",
		"dns:":                            "",
		"cn:printer":                      "",
		"sha256:" + sum[1:]:               "",
		"sha256:" + sum[2:]:               "",
		"sha256:" + sum + "00":            "",
	} {
		var n CertificateName
		err := n.UnmarshalText([]byte(text))
		if string(n) != want || (err == nil) != (want != "") {
			t.Errorf("%q is %q, %v; want %q", text, n, err, want)
		}
	}
}

func TestCertificate(t *testing.T) {
	urn, _ := url.Parse("urn:uuid:1-2")
	device := certify(t, x509.Certificate{
		Subject:        pkix.Name{CommonName: "Printer 3F", Organization: []string{"Example"}},
		DNSNames:       []string{"Printer.example.com"},
		EmailAddresses: []string{"scan@example.com"},
		URIs:           []*url.URL{urn},
	})
	ordered := certify(t, x509.Certificate{Subject: pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{ // O, ST, CN
		{Type: asn1.ObjectIdentifier{2, 5, 4, 10}, Value: "Example"}, {Type: asn1.ObjectIdentifier{2, 5, 4, 8}, Value: "Bavaria"},
		{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "a"}}}})
	doubled := certify(t, x509.Certificate{Subject: pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{
		{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "of another"}, {Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "a"}}}})
	other := certify(t, x509.Certificate{Subject: device.Subject, DNSNames: []string{"other.example.com"}})
	var network setting.Network
	if err := network.UnmarshalText([]byte("10.20.0.0/16")); err != nil {
		t.Fatal(err)
	}
	account := func(name string, certificates ...CertificateName) Account {
		return Account{Name: name, Aliases: []string{name + "@example.com"}, Certificates: certificates}
	}
	bound := account("bound", "dns:printer.example.com")
	bound.Networks = setting.Networks{network}
	sum := sha256.Sum256(device.Raw)
	for _, row := range []struct {
		what     string
		accounts []Account
		shown    *x509.Certificate
		name     string
		from     netip.Addr
		want     string // the account, or what the error holds, 535 at least
	}{
		{"by fingerprint", []Account{account("a", CertificateName(fmt.Sprintf("sha256:%x", sum))), account("b")}, device, "", stranger, "a"},
		{"by subject", []Account{account("a", "subject:CN=Printer 3F,O=Example")}, device, "", stranger, "a"},
		{"by subject, in the order that openssl prints", []Account{account("a", "subject:CN=a,ST=Bavaria,O=Example")}, ordered, "", stranger, "a"},
		{"by half of a subject", []Account{account("a", "subject:CN=a")}, doubled, "", stranger, "535"},
		{"by DNS name", []Account{account("a", "dns:printer.example.com")}, device, "", stranger, "a"},
		{"by address", []Account{account("a", "email:scan@example.com")}, device, "", stranger, "a"},
		{"by URI", []Account{account("a", "uri:urn:uuid:1-2")}, device, "", stranger, "a"},
		{"by two names of one account", []Account{account("a", "uri:urn:uuid:1-2", "dns:printer.example.com")}, device, "", stranger, "a"},
		{"with the account's name", []Account{account("a", "dns:printer.example.com")}, device, "A", stranger, "a"},
		{"with the account's alias", []Account{account("a", "dns:printer.example.com")}, device, "a@example.com", stranger, "a"},
		{"with the name of another", []Account{account("a", "dns:printer.example.com"), account("b")}, device, "b", stranger, "535"},
		{"with the name of nobody", []Account{account("a", "dns:printer.example.com")}, device, "c", stranger, "535"},
		{"by another certificate with the same subject", []Account{account("a", CertificateName(fmt.Sprintf("sha256:%x", sum)))}, other, "", stranger, "535"},
		{"by a name it does not have", []Account{account("a", "dns:other.example.com")}, device, "", stranger, "535"},
		{"from the account's network", []Account{bound}, device, "", office, "bound"},
		{"from elsewhere", []Account{bound}, device, "", stranger, "535"},
		{"as one of two accounts", []Account{account("a", "dns:printer.example.com"), account("b", "uri:urn:uuid:1-2")}, device, "", stranger, `is of accounts "a" and "b"; name it in one of them: 535`},
		{"as one of two accounts, by its name", []Account{account("a", "dns:printer.example.com"), account("b", "uri:urn:uuid:1-2")}, device, "b", stranger, "b"},
	} {
		t.Run(row.what, func(t *testing.T) {
			a, err := New(DefaultConfig(), row.accounts, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			got, err := a.Certificate([]*x509.Certificate{row.shown}, row.name, row.from)
			switch {
			case strings.Contains(row.want, "535"):
				if err == nil || !strings.Contains(err.Error(), row.want) || replyCode(t, err) != 535 || got.Account != "" {
					t.Errorf("it failed with %v, want %s", err, row.want)
				}
			case err != nil || got.Account != row.want || !got.Expires.Equal(row.shown.NotAfter):
				t.Errorf("it is %+v, %v; want %s", got, err, row.want)
			}
		})
	}
}
