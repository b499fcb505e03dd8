//go:build linux

package main_test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"postern/relay/dkim/dnstest"
)

// signingKey makes a key with the binary and returns its entry in the
// configuration and the text of its record.
func signingKey(t testing.TB, dir, selector, algorithm, more string) (entry, record string) {
	t.Helper()
	path := filepath.Join(dir, selector+".pem")
	said := mustRun(t, exec.Command(stage.postern, "dkim", "generate", "example.com", "--selector", selector, "--algorithm", algorithm, "--out", path))
	record = regexp.MustCompile(`(?m)^v=DKIM1; .*$`).FindString(said)
	return fmt.Sprintf("{domain: example.com, selector: %s, key: %s%s}", selector, path, more), record
}

// signed is the section dkim with one RSA key, and its record in DNS.
func signed(t testing.TB, dns *dnstest.Server, canonicalization string) sections {
	t.Helper()
	entry, record := signingKey(t, workDir(t), "s1", "rsa", ", state: active, canonicalization: "+canonicalization)
	dns.TXT("s1._domainkey.example.com", record)
	return sections{"dkim": "[" + entry + "]"}
}

func mustSend(t testing.TB, r *relay, l letter) {
	t.Helper()
	d := r.session()
	defer d.close()
	if _, _, err := d.send(l); err != nil {
		t.Fatalf("%s was not accepted: %v", l.id, err)
	}
}

// scanLetter is what a scanner sends: size octets in Base64.
func scanLetter(size int) letter {
	l := newLetter("")
	head, _, _ := strings.Cut(string(l.data), "\r\n\r\n")
	line := strings.Repeat("JVBERi0x", 9) + "LjQK\r\n"
	l.data = []byte(head + "\r\nMIME-Version: 1.0\r\nContent-Type: application/pdf; name=\"scan.pdf\"\r\n" +
		"Content-Transfer-Encoding: base64\r\n\r\n" + strings.Repeat(line, size/len(line)+1))
	return l
}

// foldedLetter has what is easily spoilt between signing and verifying.
func foldedLetter() letter {
	l := newLetter("")
	l.data = []byte("From: Scanner 3F\r\n <" + sender + ">\r\nTo:   <" + recipient + ">,\r\n\t\"Last, First\" <you@mail.example.com>\r\n" +
		"Date: Mon, 02 Mar 2026 09:00:00 +0100\r\nMessage-ID:\r\n <" + l.id + ">\r\n" +
		"SUBJECT:  two  blanks =?utf-8?q?and?=\r\n\ta tab \r\nX-Empty:\r\nList-Unsubscribe: <https://example.com/u>\r\n" +
		"MIME-Version: 1.0\r\nContent-Type: text/plain;\r\n  charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" +
		"\r\nfirst\r\n.\r\n..dots\r\n trailing \t \r\nFrom here\r\nGrüße\r\n" + strings.Repeat("x", 998) + "\r\n\r\n \r\n\r\n")
	return l
}

// Whoever gets the mail behind a real Postfix or a real Exim can verify it.
func TestForeignProgramsVerifyOurSignatures(t *testing.T) {
	dns := needNames(t)
	host, other := needSmarthost(t), needExim(t)
	for _, canonicalization := range []string{"relaxed/relaxed", "simple/simple"} {
		letters := map[string]letter{"a folded letter": foldedLetter(), "a letter without body": newLetter("")}
		if canonicalization == "relaxed/relaxed" {
			letters["a scan of 10 MiB"] = scanLetter(10 << 20)
		}
		key := signed(t, dns.Server, canonicalization)
		first := startRelay(t, host.address, key)
		second := startRelay(t, "", key.with(sections{"upstreams": fmt.Sprintf("[{name: postfix, address: %q, tls: none}]", other.address)}))
		for what, l := range letters {
			mustSend(t, first, l)
			dns.mustVerify(t, what+", "+canonicalization+", after Postfix", host.mail.await(t, l.id).file)
			mustSend(t, second, l)
			dns.mustVerify(t, what+", "+canonicalization+", after Exim", other.await(t, l.id))
		}
	}
}

// With an Ed25519 key beside the RSA key, mail has both signatures. Of the
// programs dkimpy knows both; the others must still be content.
func TestTwoSignaturesVerify(t *testing.T) {
	dns := needNames(t)
	host, dir := needSmarthost(t), workDir(t)
	rsa, rsaRecord := signingKey(t, dir, "r1", "rsa", ", state: active")
	modern, modernRecord := signingKey(t, dir, "e1", "ed25519", ", state: active")
	dns.TXT("r1._domainkey.example.com", rsaRecord)
	dns.TXT("e1._domainkey.example.com", modernRecord)
	r := startRelay(t, host.address, sections{"dkim": "[" + rsa + ", " + modern + "]"})
	l := foldedLetter()
	mustSend(t, r, l)
	file := host.mail.await(t, l.id).file
	for i, algorithm := range []string{"rsa", "ed25519"} {
		said, err := dns.verify([]string{"dkimverify", "--index", fmt.Sprint(i)}, file)
		if err != nil || !strings.Contains(said, "signature ok") {
			t.Errorf("the %s signature: dkimpy says %q, %v\n%s", algorithm, said, err, file)
		}
	}
	if said, err := dns.verify([]string{"opendkim-testmsg"}, file); err != nil {
		t.Errorf("OpenDKIM says %q, %v", said, err)
	}
	if said, err := dns.verify([]string{"dkimproxy-verify"}, file); err != nil || !strings.Contains(said, "verify result: pass") {
		t.Errorf("Mail::DKIM says %q, %v", said, err)
	}
}

// A key is used once its record has been seen, and then on: DNS may fail and the
// relay may restart. The command tells the same story.
func TestAKeyIsUsedOnceItsRecordIsThere(t *testing.T) {
	host, dns, dir := needSmarthost(t), dnstest.Start(t, "127.0.0.1:0"), workDir(t)
	entry, record := signingKey(t, dir, "s1", "rsa", "")
	r := startRelay(t, host.address, sections{"dkim": "[" + entry + "]", "dns": fmt.Sprintf("{resolver: %q}", dns.Address)})
	isSigned := func() bool {
		l := newLetter("hello\r\n")
		mustSend(t, r, l)
		return strings.Contains(string(host.mail.await(t, l.id).file), "DKIM-Signature: ")
	}
	check := func(wantCode int, want string) {
		t.Helper()
		out, errs, code := postern(t, "dkim", "check", "--config", r.config)
		if code != wantCode || !strings.Contains(out, want) {
			t.Errorf("dkim check: exit code %d, want %d with %q\n%s%s", code, wantCode, want, out, errs)
		}
	}
	r.awaitLog(`"record":"missing"`)
	if isSigned() {
		t.Error("signed with a key that nobody can look up")
	}
	check(1, "there is no TXT record")

	dns.TXT("s1._domainkey.example.com", record[:100])
	check(1, "p= is cut off after")
	dns.TXT("s1._domainkey.example.com", record)
	check(0, "new        good")
	again := func() {
		if code := r.stop(); code != 0 {
			t.Fatalf("exit code %d", code)
		}
		r.start()
	}
	again() // which looks at once
	r.awaitLog(`"record":"good"`)
	if !isSigned() {
		t.Error("not signed although the record is there")
	}
	check(0, "active     good")
	dns.Down(true)
	again()
	if !isSigned() {
		t.Error("not signed after a restart while DNS is away")
	}
	check(1, "active     unknown")
	numbers, _ := r.get("/metrics")
	for _, want := range []string{
		`postern_dkim_key_state{domain="example.com",selector="s1",state="active"} 1`,
		`postern_dkim_signatures_total{algorithm="rsa",domain="example.com",result="ok"} 1`,
		"postern_dkim_sign_seconds_count 1",
	} {
		if !strings.Contains(numbers, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	out, _, _ := postern(t, "dkim", "check", "--json", "--config", r.config)
	var views []struct{ Record, State, DNS, Publish string }
	if err := json.Unmarshal([]byte(out), &views); err != nil || len(views) != 1 || views[0].Publish != record || views[0].DNS != "unknown" {
		t.Errorf("dkim check --json: %v\n%s", err, out)
	}
}

// awaitLog waits for a text in the log.
func (r *relay) awaitLog(text string) {
	r.t.Helper()
	await(r.t, text+" in the log", func() bool { return r.log.contains(text) })
}

// What a device may not send as is not signed as that either.
func TestTheBossIsNotSigned(t *testing.T) {
	host, dns := needSmarthost(t), dnstest.Start(t, "127.0.0.1:0")
	over := signed(t, dns, "relaxed/relaxed")
	over["accounts"] = "\n" + strings.Replace(account(user, needHash(t)), `"@example.com"`, sender, 1)
	r := startRelay(t, host.address, over)
	l := newLetter("a bill\r\n")
	l.data = []byte(strings.Replace(string(l.data), "<"+sender+">", "<ceo@example.com>", 1))
	d := r.session()
	defer d.close()
	if _, _, err := d.send(l); code(err) != 550 || !strings.Contains(err.Error(), "5.7.1") {
		t.Errorf("mail in the boss's name: %v", err)
	}
}
