package dkim

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/relay/setting"
)

// inPEM is a private key in a block of that type.
func inPEM(t *testing.T, kind string, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if old, ok := key.(*rsa.PrivateKey); ok && kind == "RSA PRIVATE KEY" {
		der, err = x509.MarshalPKCS1PrivateKey(old), nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func rsaOf(t *testing.T, bits int) *rsa.PrivateKey {
	t.Helper()
	t.Setenv("GODEBUG", "rsa1024min=0")
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestWhatIsNoKeyForASignature(t *testing.T) {
	elliptic256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	small := rsaOf(t, 1024)
	good := string(pair(t, Ed25519, "s1").PEM)
	long := rsaOf(t, 1024)
	noted := func(domain, selector string) string { return fmt.Sprintf(note, domain, selector) + good }
	for _, row := range []struct{ name, algorithm, pem, want string }{
		{"PKCS #8", "", good, ""},
		{"PKCS #1", "rsa", string(inPEM(t, "RSA PRIVATE KEY", small)), ""},
		{"with its note", "ed25519", noted("example.com", "S1"), ""},
		{"without an end of line", "", strings.TrimSpace(good), ""},
		{"nothing", "", "", "there is no key in PEM form in it"},
		{"DER", "", "0\x82\x04\xa4\x02", "there is no key in PEM form in it"},
		{"512 bits", "", string(inPEM(t, "RSA PRIVATE KEY", rsaOf(t, 512))), "it is an RSA key of 512 bits, whose signatures nobody need accept (RFC 8301); make one of 2048"},
		{"ECDSA", "", string(inPEM(t, "PRIVATE KEY", elliptic256)), "it is neither an RSA nor an Ed25519 key"},
		{"ECDSA in its own form", "", string(inPEM(t, "EC PRIVATE KEY", elliptic256)), "it is neither an RSA nor an Ed25519 key"},
		{"a public key", "", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "it holds a public key, not a private key"},
		{"a certificate", "", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "it holds a certificate, not a private key"},
		{"encrypted", "", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n", "it is encrypted"},
		{"encrypted as of old", "", "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n", "it is encrypted"},
		{"damaged", "", string(inPEM(t, "PRIVATE KEY", long)[:600]) + "\n-----END PRIVATE KEY-----\n", "it is damaged"},
		{"another algorithm than is said", "rsa", good, "it is an ed25519 key, and algorithm says rsa"},
		{"the key of another domain", "", noted("example.net", "s1"), "it says that it is the key of example.net, and domain is example.com"},
		{"the key of another selector", "", noted("example.com", "s2"), "it says that it is the key of selector s2, and selector is s1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := Key{Domain: "example.com", Selector: "s1", Algorithm: row.algorithm}.parse(row.pem)
			if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.HasPrefix(err.Error(), row.want)) {
				t.Errorf("got %v, want %q", err, row.want)
			}
			if err != nil && (strings.Contains(err.Error(), "AAAA") || len(err.Error()) > 150) {
				t.Errorf("the error repeats the key: %v", err)
			}
		})
	}
}

func TestSources(t *testing.T) {
	dir := t.TempDir()
	p := &place{t: t}
	path := filepath.Join(dir, "key.pem")
	text := pair(t, Ed25519, "s1").PEM
	p.write(path, text)
	t.Setenv("POSTERN_TEST_DKIM", string(text))
	for _, row := range []struct{ name, written, shown, want string }{
		{"a path", path, "file:" + path, ""},
		{"a reference", "file:" + path, "file:" + path, ""},
		{"the environment", "${env:POSTERN_TEST_DKIM}", "${env:POSTERN_TEST_DKIM}", ""},
		{"the key itself", string(text), "<secret>", ""},
		{"a path that is not whole", "key.pem", "", "it is neither the whole path of a key file"},
		{"no such file", path + "x", "", "no such file"},
		{"an unset variable", "${env:POSTERN_TEST_NONE}", "", "POSTERN_TEST_NONE is not set"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var s Source
			err := s.UnmarshalText([]byte(row.written))
			if row.want != "" {
				if err == nil || !strings.Contains(err.Error(), row.want) {
					t.Errorf("got %v, want %q", err, row.want)
				}
				return
			}
			k := Key{Domain: "example.com", Selector: "s1", Key: s}
			if _, loadErr := k.load(); err != nil || loadErr != nil || s.String() != row.shown {
				t.Errorf("%v, %v, shown as %q", err, loadErr, s)
			}
			if strings.Contains(fmt.Sprintf("%v %+v %#v", k, k, k), "MC4CAQ") {
				t.Error("a print shows the key")
			}
		})
	}
}

// What is printed for the zone file is what the key is checked against.
func TestGenerate(t *testing.T) {
	for _, algorithm := range []string{RSA, Ed25519} {
		made, err := Generate("Example.com", "s2026", algorithm)
		if err != nil {
			t.Fatal(err)
		}
		k, err := Key{Domain: "example.com", Selector: "s2026", Algorithm: algorithm}.parse(string(made.PEM))
		if err != nil {
			t.Fatal(err)
		}
		line := ZoneLine(RecordName("example.com", "s2026"), made.Record)
		record, err := dns.NewRR(line)
		if err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		txt := record.(*dns.TXT)
		if got := strings.Join(txt.Txt, ""); got != made.Record || txt.Hdr.Name != "s2026._domainkey.example.com." {
			t.Errorf("the zone line is for %s: %s", txt.Hdr.Name, got)
		}
		if verdict, problems := judgeTexts(k.Public(), []string{made.Record}); verdict != Good {
			t.Errorf("its record is %s: %q", verdict, problems)
		}
	}
	if _, err := Generate("example.com", "s1", "dsa"); err == nil {
		t.Error("a key of an unknown algorithm was made")
	}
}

func TestWarnings(t *testing.T) {
	p := newPlace(t)
	weak := p.key(Ed25519, "weak.example", "w1")
	p.write(filepath.Join(p.dir, "w1.weak.example.pem"), inPEM(t, "PRIVATE KEY", rsaOf(t, 1024)))
	got := Warnings([]Key{p.key(RSA, "example.com", "r1"), p.key(Ed25519, "example.com", "e1"), weak,
		p.key(Ed25519, "alone.example", "e1"), p.key(Ed25519, "alone.example", "e2")})
	want := []string{
		"the DKIM key w1._domainkey.weak.example has 1024 bits; 2048 are what receivers expect",
		"alone.example has no RSA key; many receivers cannot verify Ed25519 (RFC 8463, section 3)",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestCheckBetweenKeys(t *testing.T) {
	var got []string
	Check([]Key{{Domain: "example.com", Selector: "s1"}, {Domain: "Example.com", Selector: "S1"}, {Domain: "example.com", Selector: "s2", Expire: setting.Duration(3600e9)}},
		setting.Duration(96*3600e9), func(key, format string, args ...any) { got = append(got, key+": "+fmt.Sprintf(format, args...)) })
	want := "dkim[1].selector: s1._domainkey.example.com is the record of dkim[0] already; give each key its own selector\n" +
		"dkim[2].expire: 1h is less than the 4d mail may wait in the queue; a late retry would carry a dead signature"
	if strings.Join(got, "\n") != want {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
}
