package relay_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	msgauth "github.com/emersion/go-msgauth/dkim"
	"github.com/emersion/go-smtp"

	"postern/relay/dkim"
)

func writeKey(t *testing.T, path string, pem []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A device may send as somebody of example.com and nobody else; the key of the
// boss's domain is right beside.
func TestNothingIsSignedInAForeignName(t *testing.T) {
	host := newSmarthost(t, "127.0.0.1:0")
	records := map[string]string{}
	keys := "dkim:"
	dir := t.TempDir()
	for _, domain := range []string{"example.com", "boss.example"} {
		pair, err := dkim.Generate(domain, "s1", dkim.Ed25519)
		if err != nil {
			t.Fatal(err)
		}
		records["s1._domainkey."+domain] = pair.Record
		path := dir + "/" + domain + ".pem"
		writeKey(t, path, pair.PEM)
		keys += fmt.Sprintf("\n  - {domain: %s, selector: s1, key: %s, state: active}", domain, path)
	}
	r := start(t, through(host.address)+"\n"+keys+"\n")
	letter := func(from, subject string) string {
		return strings.Replace(fmt.Sprintf(scan, subject), "Scanner <scan@example.com>", from, 1)
	}

	mustRefuse(t, "mail in the boss's name", r.submit(letter("ceo@boss.example", "bill")), 550, "5.7.1")
	mustRefuse(t, "mail in both names", r.submit(letter("scan@example.com, ceo@boss.example", "bill")), 550, "5.7.1")
	if err := r.submit(letter("scan@example.com", "mine")); err != nil {
		t.Fatal(err)
	}
	got := host.receive(t, "Subject: mine")
	found, err := msgauth.VerifyWithOptions(strings.NewReader(got), &msgauth.VerifyOptions{
		LookupTXT: func(name string) ([]string, error) { return []string{records[name]}, nil }})
	if err != nil || len(found) != 1 || found[0].Err != nil || found[0].Domain != "example.com" {
		t.Errorf("the signatures are %+v, %v\n%s", found, err, got)
	}
}

// An upstream that insists gets nothing unsigned: the mail waits for its key.
func TestMailWaitsForItsKey(t *testing.T) {
	host := newSmarthost(t, "127.0.0.1:0")
	path := t.TempDir() + "/s1.pem"
	makeKey(t, "example.com", path)
	insisting := strings.Replace(through(host.address), "tls: none", "tls: none, dkim: on", 1)
	// Nobody answers there, so the record of the key is never seen.
	config := func(key string) string {
		return fmt.Sprintf("%s\ndns: {resolver: \"127.0.0.1:1\"}\ndkim: [{domain: example.com, selector: s1, key: %s%s}]\n", insisting, path, key)
	}
	r := start(t, config(""))
	if err := r.submit(fmt.Sprintf(scan, "unsigned")); err != nil {
		t.Fatal(err)
	}
	r.log.await(t, `"msg":"deferred"`, "not sent unsigned (dkim: on): no DKIM key of example.com signs")

	r.configure(config(", state: active"))
	if err := r.Reload(r.configFile()); err != nil {
		t.Fatal(err)
	}
	if got := host.receive(t, "Subject: unsigned"); !strings.HasPrefix(got, "DKIM-Signature: ") {
		t.Errorf("sent without a signature:\n%s", got)
	}
}

// What can never be signed is refused at once, where it must be.
func TestMailWithoutAnyKeyIsRefusedWhereItMustBeSigned(t *testing.T) {
	host := newSmarthost(t, "127.0.0.1:0")
	path := t.TempDir() + "/s1.pem"
	makeKey(t, "other.example", path)
	insisting := strings.Replace(through(host.address), "tls: none", "tls: none, dkim: on", 1)
	r := start(t, insisting+fmt.Sprintf("\ndkim: [{domain: other.example, selector: s1, key: %s, state: active}]\n", path))
	mustRefuse(t, "mail without a key", r.submit(fmt.Sprintf(scan, "unsigned")), 550, "there is no DKIM key for example.com")
}

func TestARetryCarriesTheSignatureItHad(t *testing.T) {
	host := newSmarthost(t, "127.0.0.1:0")
	offered := make(chan string, 10)
	first := true
	host.fault = func(content string, _ *smtp.Conn) error {
		offered <- content
		if first {
			first = false
			return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "not yet"}
		}
		return nil
	}
	path := t.TempDir() + "/s1.pem"
	makeKey(t, "example.com", path)
	r := start(t, through(host.address)+fmt.Sprintf("\ndkim: [{domain: example.com, selector: s1, key: %s, state: active}]\n", path))
	if err := r.submit(fmt.Sprintf(scan, "twice")); err != nil {
		t.Fatal(err)
	}
	host.receive(t, "Subject: twice")
	once, again := <-offered, <-offered
	if !strings.HasPrefix(once, "DKIM-Signature: ") || once != again {
		t.Errorf("sent first:\n%s\nand then:\n%s", once, again)
	}
	r.log.await(t, `"msg":"delivered"`, `"attempts":2`)
}

func makeKey(t *testing.T, domain, path string) {
	t.Helper()
	pair, err := dkim.Generate(domain, "s1", dkim.Ed25519)
	if err != nil {
		t.Fatal(err)
	}
	writeKey(t, path, pair.PEM)
}
