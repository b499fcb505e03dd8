package dkim

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"postern/relay/message"
	"postern/relay/setting"
)

// odd has what spoils signatures made carelessly.
const odd = "from:Scanner 3F <scan@example.com>\nTo :   <you@example.org>,\n\t<us@example.org>\n" +
	"SUBJECT:  two  blanks and\n \ta tab \nX-Empty:\nReferences:\n <1@example.com>\n\t\n <2@example.com>\n" +
	"MIME-Version: 1.0\nContent-Type: text/plain;\n  charset=utf-8\nContent-Transfer-Encoding: 8bit\n" +
	"List-Unsubscribe: <https://example.com/u>\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\n" +
	"DKIM-Signature: v=1; a=rsa-sha256; d=example.net; s=x; h=from;\n bh=abc=; b=def=\n\n" +
	"\n\n.\n..\n trailing  blanks \t \n\ttab\nGr\xc3\xbc\xc3\x9fe \xe4\xff\n\n \n\n"

func TestSignaturesVerify(t *testing.T) {
	for _, algorithm := range []string{RSA, Ed25519} {
		for _, canonicalization := range canonicalizations {
			t.Run(algorithm+"/"+canonicalization, func(t *testing.T) {
				p := newPlace(t)
				k := p.key(algorithm, "example.com", "s1")
				k.Canonicalization = canonicalization
				s := p.forced(k)
				for name, m := range map[string]*message.Message{
					"plain":                 letter(t, plain),
					"odd":                   letter(t, odd),
					"no body":               letter(t, "From: scan@example.com\n\n"),
					"no end of line":        letter(t, "From: scan@example.com\n\nhello"),
					"only blank lines":      letter(t, "From: scan@example.com\n\n\n\n \n\n"),
					"a line over 998":       letter(t, "From: scan@example.com\nSubject: "+strings.Repeat("x", 5000)+"\n\n"+strings.Repeat("y", 70_000)+"\n"),
					"a header of 200 KB":    letter(t, "To: "+strings.Repeat("a.rather.long.name.of.somebody@example.org,\n ", 4_500)+"b@example.org\n"+plain[:strings.Index(plain, "To:")]+"\nhello\n"),
					"two fields of a name":  letter(t, "Subject: first\nSubject: second\nReferences: <a@b>\nReferences: <c@d>\n"+plain),
					"twenty fields of many": letter(t, strings.Repeat("Subject: a\nTo: b@example.org\nContent-Transfer-Encoding: 7bit\nList-Unsubscribe-Post: x\n", 20)+plain),
				} {
					proof := mustSign(t, s, m)
					text := sent(t, m, proof)
					if !strings.HasSuffix(text, "\r\n") {
						text += "\r\n" // as it goes on the wire
					}
					good, err := p.verify(text)
					if !slices.Contains(good, "example.com") {
						t.Errorf("%s does not verify: %v\n%.3000s", name, err, text)
					}
					if again := message.Header(proof.Fields()); len(again) != 1 || !again[0].Is("DKIM-Signature") {
						t.Errorf("%s: the fields are %q", name, again.Bytes())
					}
					for line := range strings.Lines(string(proof.Signatures[0].Field.Raw())) {
						if len(line) > 998 {
							t.Errorf("%s: a line of %d octets", name, len(line))
						}
					}
				}
			})
		}
	}
}

// A verifier must notice what a reader would.
func TestWhatBreaksASignature(t *testing.T) {
	p := newPlace(t)
	s := p.forced(p.key(Ed25519, "example.com", "s1"))
	m := letter(t, plain)
	change := func(old, new string) func(string) string {
		return func(text string) string { return strings.Replace(text, old, new, 1) }
	}
	top := func(field string) func(string) string {
		return func(text string) string { return field + "\r\n" + text }
	}
	for _, row := range []struct {
		name    string
		exclude []string
		change  func(string) string
		holds   bool
	}{
		{"nothing", nil, top("Received: from a by b; Mon, 02 Mar 2026 09:00:00 +0100"), true},
		{"blanks at the end of a line", nil, change("Hello.", "Hello. \t"), true},
		{"another body", nil, change("Hello.", "Hello!"), false},
		{"another From", nil, change("scan@", "ceo@"), false},
		{"another Subject", nil, change("a scan", "a bill"), false},
		{"a second From", nil, top("From: ceo@example.com"), false},
		{"a second Subject", nil, top("Subject: a bill"), false},
		{"a Reply-To where there was none", nil, top("Reply-To: thief@example.net"), false},
		{"a Content-Type where there was none", nil, top("Content-Type: text/html"), false},
		{"another Message-ID", nil, change("<1@", "<2@"), false},
		{"another Message-ID, which is excluded", []string{"message-id", "date"}, change("<1@", "<2@"), true},
		{"a second Message-ID, which is excluded", []string{"Message-ID"}, top("Message-ID: <3@example.net>"), true},
		{"a list's List-Id", nil, top("List-Id: <list.example.org>"), true},
	} {
		t.Run(row.name, func(t *testing.T) {
			text := row.change(sent(t, m, mustSign(t, s, m, row.exclude...)))
			if good, err := p.verify(text); (len(good) == 1) != row.holds {
				t.Errorf("verified: %q, %v", good, err)
			}
		})
	}
}

func TestFieldsToSign(t *testing.T) {
	h := letter(t, "From: a@example.com\nTo: b@example.org\nto: c@example.org\nList-Id: x\nReceived: no\nBcc: no\n\n").Header
	got := strings.Join(fieldsToSign(h, []string{"Date", "content-type"}), ":")
	want := "From:From:Sender:Reply-To:To:To:To:Cc:Subject:Message-ID:In-Reply-To:References:MIME-Version:Content-Transfer-Encoding:List-Id"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	var all message.Header
	for _, name := range signed {
		for range 100 {
			all = append(all, message.NewField(name, "x"))
		}
	}
	if n := len(strings.Join(fieldsToSign(all, nil), ":")); n > 900 {
		t.Errorf("h= can be %d octets on one line", n)
	}
}

func TestWhoseMailItIs(t *testing.T) {
	for _, row := range []struct{ name, header, want string }{
		{"one author", "From: Scan <scan@Example.COM>", "example.com"},
		{"a display name that is an address", `From: "ceo@example.net" <scan@example.com>`, "example.com"},
		{"a folded field", "From: Scan\n <scan@example.com>", "example.com"},
		{"an international domain", "From: scan@bücher.example", "xn--bcher-kva.example"},
		{"a Sender elsewhere", "From: scan@example.com\nSender: it@example.net", "example.com"},
		{"several authors: the first", "From: a@example.com, b@example.net", "example.com"},
		{"several authors: the one who sends", "From: a@example.com, b@example.net\nSender: it@example.net", "example.net"},
		{"no From", "Subject: x", "it has 0 From fields"},
		{"two From fields", "From: a@example.com\nFrom: b@example.net", "it has 2 From fields"},
		{"a From that is none", "From: <scan@example.com", "its From cannot be read"},
		{"1,000 authors", "From: " + strings.Repeat("a.rather.long.name@example.com,\n ", 1000) + "b@example.com", "its From cannot be read: it is longer"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := author(letter(t, row.header+"\n\n").Header)
			if got != row.want && (err == nil || !strings.HasPrefix(err.Error(), row.want)) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestWhichKeysSign(t *testing.T) {
	p := newPlace(t)
	both := []Key{p.key(RSA, "example.com", "r1"), p.key(RSA, "example.com", "r2"), p.key(Ed25519, "example.com", "e1")}
	wide := p.key(Ed25519, "example.net", "n1")
	wide.Subdomains = true
	s := p.forced(append(both, wide, p.key(Ed25519, "own.example.net", "o1"))...)
	for _, row := range []struct{ from, want string }{
		{"scan@example.com", "rsa-sha256 of r1._domainkey.example.com, ed25519-sha256 of e1._domainkey.example.com"},
		{"scan@sub.example.com", ""},
		{"scan@example.net", "ed25519-sha256 of n1._domainkey.example.net"},
		{"scan@a.b.example.net", "ed25519-sha256 of n1._domainkey.example.net"},
		{"scan@own.example.net", "ed25519-sha256 of o1._domainkey.own.example.net"},
		{"scan@notexample.net", ""},
		{"scan@[192.0.2.1]", ""},
	} {
		m := letter(t, strings.Replace(plain, "scan@example.com", row.from, 1))
		proof, err := s.Sign(t.Context(), m, Upstream{}, true)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, g := range proof.Signatures {
			got = append(got, g.Change().After)
		}
		if strings.Join(got, ", ") != row.want || (proof.Unsigned == "") != (row.want != "") {
			t.Errorf("%s: %q, %q", row.from, got, proof.Unsigned)
		}
		if good, err := p.verify(sent(t, m, proof)); err != nil || len(good) != len(got) {
			t.Errorf("%s: verified %q, %v", row.from, good, err)
		}
	}
}

func TestWhatAnUpstreamWants(t *testing.T) {
	p := newPlace(t)
	s := p.forced(p.key(Ed25519, "example.com", "s1"))
	none := p.key(Ed25519, "new.example", "n1") // configured, and not published
	waiting := p.set(none)
	ours, foreign, fresh := letter(t, plain), letter(t, strings.Replace(plain, "example.com", "example.net", 1)), letter(t, strings.Replace(plain, "example.com", "new.example", 1))
	for _, row := range []struct {
		name       string
		s          *Set
		mode       string
		m          *message.Message
		keeps      bool
		signatures int
		said       string // Unsigned, or of the error
	}{
		{"auto with a key", s, "", ours, true, 1, ""},
		{"auto without a key", s, "auto", foreign, true, 0, "there is no DKIM key for example.net"},
		{"auto through one that rebuilds content", s, "auto", ours, false, 0, "the upstream changes what it is given"},
		{"auto before the record is there", waiting, "auto", fresh, true, 0, "no DKIM key of new.example signs: n1 is new"},
		{"on with a key", s, "on", ours, true, 1, ""},
		{"on through one that rebuilds content", s, "on", ours, false, 1, ""},
		{"on without a key", s, "on", foreign, true, 0, "not sent unsigned (dkim: on): there is no DKIM key for example.net"},
		{"on before the record is there", waiting, "on", fresh, true, 0, "not sent unsigned (dkim: on): no DKIM key of new.example signs: n1 is new"},
		{"off with a key", s, "off", ours, true, 0, "the upstream has dkim: off"},
	} {
		t.Run(row.name, func(t *testing.T) {
			proof, err := row.s.Sign(t.Context(), row.m, Upstream{DKIM: row.mode}, row.keeps)
			said := proof.Unsigned
			if err != nil {
				said = err.Error()
			}
			insisted := row.mode == "on" && row.signatures == 0
			if len(proof.Signatures) != row.signatures || said != row.said || (err != nil) != insisted {
				t.Errorf("%d signatures, %q, %v", len(proof.Signatures), proof.Unsigned, err)
			}
		})
	}
	on := Upstream{DKIM: "on"}
	if r := s.Unprovable(foreign.Header, on); r == nil || r.Code != 550 || !strings.Contains(r.Text, "no DKIM key for example.net") {
		t.Errorf("mail that can never be signed is answered %v", r)
	}
	for name, r := range map[string]*message.Reply{
		"a key": s.Unprovable(ours.Header, on), "a key that waits": waiting.Unprovable(fresh.Header, on), "auto": s.Unprovable(foreign.Header, Upstream{}),
	} {
		if r != nil {
			t.Errorf("%s: refused with %v", name, r)
		}
	}
	if got := testutil.ToFloat64(s.metrics.DKIMSignatures.WithLabelValues("example.com", Ed25519, "ok")); got != 3 {
		t.Errorf("%v signatures counted, want 3", got)
	}
}

// A signature is kept for retries; it may be used again while its basis is the
// same.
func TestBasis(t *testing.T) {
	p := newPlace(t)
	one, two := p.key(Ed25519, "example.com", "s1"), p.key(Ed25519, "example.com", "s2")
	s := p.forced(one)
	simple := one
	simple.Canonicalization = "simple/simple"
	m := letter(t, plain)
	replaced := newPlace(t)
	samePlace := replaced.key(Ed25519, "example.com", "s1")
	replaced.write(filepath.Join(replaced.dir, "s1.example.com.pem"), pair(t, Ed25519, "another").PEM)
	basis := s.Basis(m, Upstream{}, true)
	with := func(old, new string) *message.Message { return letter(t, strings.Replace(plain, old, new, 1)) }
	for _, row := range []struct {
		name string
		got  string
		same bool
	}{
		{"the same again", s.Basis(m, Upstream{DKIM: "on"}, true), true},
		{"after a restart", p.forced(one).Basis(m, Upstream{}, true), true},
		{"with a field that is not signed", s.Basis(letter(t, "Received: x\n"+plain), Upstream{}, true), true},
		{"another From", s.Basis(with("Scanner", "Printer"), Upstream{}, true), false},
		{"a field to be oversigned", s.Basis(letter(t, "Reply-To: it@example.com\n"+plain), Upstream{}, true), false},
		{"a field excluded", s.Basis(m, Upstream{Exclude: []string{"Date"}}, true), false},
		{"another key", p.forced(two).Basis(m, Upstream{}, true), false},
		{"another key under the same selector", replaced.forced(samePlace).Basis(m, Upstream{}, true), false},
		{"another canonicalization", p.forced(simple).Basis(m, Upstream{}, true), false},
	} {
		if (row.got == basis) != row.same || row.got == "" {
			t.Errorf("%s: %q, at first %q", row.name, row.got, basis)
		}
	}
	for name, got := range map[string]string{
		"no key": s.Basis(with("example.com", "example.net"), Upstream{}, true), "off": s.Basis(m, Upstream{DKIM: "off"}, true),
		"an upstream that rebuilds content": s.Basis(m, Upstream{}, false), "no author": s.Basis(letter(t, "To: x\n\n"), Upstream{}, true),
	} {
		if got != "" {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestSignaturesExpire(t *testing.T) {
	p := newPlace(t)
	k := p.key(Ed25519, "example.com", "s1")
	k.Expire = setting.Duration(14 * 24 * time.Hour)
	s := p.forced(k)
	m := letter(t, plain)
	before := time.Now()
	value := mustSign(t, s, m).Signatures[0].Field.Value()
	tags, _ := parseTags(value)
	x, err := time.Parse("2006", "1970")
	if err == nil {
		var seconds time.Duration
		seconds, err = time.ParseDuration(tags.values["x"] + "s")
		x = x.Add(seconds)
	}
	if err != nil || x.Before(before.Add(k.Expire.Std()-time.Second)) || x.After(time.Now().Add(k.Expire.Std())) {
		t.Errorf("x=%s is %v, %v", tags.values["x"], x, err)
	}
}

// slow is a body that can be read up to a gate.
type slow struct {
	message.Body
	reached chan struct{}
	gate    chan error
}

func (b slow) Open() (io.ReadCloser, error) { return b, nil }
func (b slow) Close() error                 { return nil }
func (b slow) Read([]byte) (int, error) {
	b.reached <- struct{}{}
	return 0, <-b.gate
}

func TestSigningIsBoundedAndEndsWithItsContext(t *testing.T) {
	p := newPlace(t)
	s := p.forced(p.key(Ed25519, "example.com", "s1"))
	b := slow{reached: make(chan struct{}, 1), gate: make(chan error)}
	var room int
	for s.pool.TryAcquire(1) {
		room++
	}
	if room == 0 {
		t.Fatal("nobody can sign")
	}
	s.pool.Release(1) // one is left
	first := make(chan error)
	m := letter(t, plain)
	m.Body = b
	go func() {
		_, err := s.Sign(context.Background(), m, Upstream{}, true)
		first <- err
	}()
	<-b.reached
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Sign(ctx, letter(t, plain), Upstream{}, true); !errors.Is(err, context.Canceled) {
		t.Errorf("with nobody free to sign and no time left: %v", err)
	}
	b.gate <- message.ErrDamaged
	if err := <-first; !errors.Is(err, message.ErrDamaged) {
		t.Errorf("a damaged body is not told: %v", err)
	}
	if got := testutil.ToFloat64(s.metrics.DKIMSignatures.WithLabelValues("example.com", Ed25519, "failed")); got != 1 {
		t.Errorf("%v failures counted", got)
	}
}

func TestAHeaderOfSoManyLinesThatTheLibraryTakesForEver(t *testing.T) {
	p := newPlace(t)
	k := p.key(Ed25519, "example.com", "s1")
	m := letter(t, "To: "+strings.Repeat("a@b,\n ", maxLines)+"b@example.org\n"+plain[:strings.Index(plain, "To:")]+"\nhello\n")
	mustSign(t, p.forced(k), m)
	k.Canonicalization = "simple/relaxed"
	if proof, err := p.forced(k).Sign(t.Context(), m, Upstream{}, true); err != nil || proof.Unsigned != errLines.Error() {
		t.Errorf("where it cannot be unfolded first: %q, %v", proof.Unsigned, err)
	}
}

func TestBlankLinesWithoutEndAreNotSigned(t *testing.T) {
	p := newPlace(t)
	s := p.forced(p.key(Ed25519, "example.com", "s1"))
	for _, line := range []string{"\n", " \n"} {
		fits, beyond := letter(t, plain+strings.Repeat(line, maxBlank-1)), letter(t, plain+strings.Repeat(line, maxBlank+1)+"end\n")
		if good, err := p.verify(sent(t, fits, mustSign(t, s, fits))); len(good) != 1 {
			t.Errorf("%d blank lines: %v", maxBlank-1, err)
		}
		proof, err := s.Sign(t.Context(), beyond, Upstream{}, true)
		if err != nil || proof.Unsigned != errBlank.Error() {
			t.Errorf("more blank lines than that: %q, %v", proof.Unsigned, err)
		}
		if _, err := s.Sign(t.Context(), beyond, Upstream{DKIM: "on"}, true); err == nil {
			t.Error("they are sent unsigned although dkim is on")
		}
	}
}
