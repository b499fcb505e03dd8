package dkim

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	msgauth "github.com/emersion/go-msgauth/dkim"
)

// The keys and the message of RFC 8463, appendix A.
const (
	rfc8463Ed25519 = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
	rfc8463Record  = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
	rfc8463BodySum = "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="
	rfc8463Message = "From: Joe SixPack <joe@football.example.com>\nTo: Suzie Q <suzie@shopping.example.net>\n" +
		"Subject: Is dinner ready?\nDate: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\n" +
		"Message-ID: <20030712040037.46341.5F8J@football.example.com>\n\n" +
		"Hi.\n\nWe lost the game.  Are you hungry yet?\n\nJoe.\n"
	rfc8463Signed = `DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
`
)

// rfc8463Key is the Ed25519 key as a file.
func rfc8463Key(t *testing.T, p *place) Key {
	t.Helper()
	seed, err := base64.StdEncoding.DecodeString(rfc8463Ed25519)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed(seed))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(p.dir, "brisbane.pem")
	p.write(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	return Key{Domain: "football.example.com", Selector: "brisbane", Key: source(t, path)}
}

// Our record of the RFC's private key verifies the RFC's signature, and our
// signature of the RFC's message has its body hash.
func TestVectorOfRFC8463(t *testing.T) {
	p := newPlace(t)
	s := p.forced(rfc8463Key(t, p))
	status, err := s.Look(t.Context())
	if err != nil || status[0].Want != rfc8463Record || status[0].Record.Verdict != Good {
		t.Fatalf("the record is %+v, %v", status, err)
	}
	theirs := strings.ReplaceAll(rfc8463Signed+rfc8463Message, "\n", "\r\n")
	if good, err := p.verify(theirs); len(good) != 1 {
		t.Errorf("the RFC's signature: %v", err)
	}
	m := letter(t, rfc8463Message)
	proof := mustSign(t, s, m)
	if tags, _ := parseTags(proof.Signatures[0].Field.Value()); tags.values["bh"] != rfc8463BodySum {
		t.Errorf("bh=%s, the RFC has %s", tags.values["bh"], rfc8463BodySum)
	}
	if good, err := p.verify(sent(t, m, proof)); len(good) != 1 {
		t.Errorf("ours: %v", err)
	}
}

// The examples of canonicalization in RFC 6376, sections 3.4.3 to 3.4.6.
func TestVectorsOfRFC6376(t *testing.T) {
	const header, body = "From: a@example.com\r\nA: X\r\nB : Y\t\r\n\tZ  \r\n", " C \r\nD \t E\r\n\r\n\r\n"
	sum := func(canonical string) string {
		b := sha256.Sum256([]byte(canonical))
		return base64.StdEncoding.EncodeToString(b[:])
	}
	p := newPlace(t)
	for _, row := range []struct{ canonicalization, body, want string }{
		{"relaxed/relaxed", body, sum(" C\r\nD E\r\n")},
		{"relaxed/simple", body, sum(" C \r\nD \t E\r\n")},
		{"simple/simple", "", "frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY="},  // section 3.4.3
		{"simple/relaxed", "", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}, // section 3.4.4
	} {
		k := p.key(Ed25519, "example.com", "s1")
		k.Canonicalization = row.canonicalization
		m := letter(t, strings.ReplaceAll(header+"\r\n"+row.body, "\r\n", "\n"))
		proof := mustSign(t, p.forced(k), m)
		if tags, _ := parseTags(proof.Signatures[0].Field.Value()); tags.values["bh"] != row.want {
			t.Errorf("%s of %q: bh=%s, want %s", row.canonicalization, row.body, tags.values["bh"], row.want)
		}
	}
}

// The record of RFC 6376, appendix C, publishes the key that signed appendix
// A.2; judged against another one it says so.
func TestRecordOfRFC6376(t *testing.T) {
	const record = "v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB"
	tags, problem := parseTags(record)
	key, err := parsePublished(RSA, tags.values["p"])
	if err != nil || problem != "" {
		t.Fatal(problem, err)
	}
	if verdict, problems := judgeTexts(key, []string{record}); verdict != Good {
		t.Errorf("judged %s: %q", verdict, problems)
	}
	ours, err := parsePrivate(string(pair(t, RSA, "s1").PEM))
	if err != nil {
		t.Fatal(err)
	}
	if verdict, problems := judgeTexts(ours.Public(), []string{record}); verdict != Wrong || problems[0] != "it publishes another key" {
		t.Errorf("judged %s: %q", verdict, problems)
	}
	signed := strings.ReplaceAll(rfc6376Signed, "\n", "\r\n")
	found, err := msgauth.VerifyWithOptions(strings.NewReader(signed), &msgauth.VerifyOptions{LookupTXT: func(name string) ([]string, error) {
		if name != RecordName("example.com", "brisbane") {
			return nil, errors.New(name)
		}
		return []string{record}, nil
	}})
	if err != nil || len(found) != 1 || found[0].Err != nil {
		t.Errorf("the signature of appendix A.2: %+v, %v", found, err)
	}
}

const rfc6376Signed = `DKIM-Signature: v=1; a=rsa-sha256; s=brisbane; d=example.com;
      c=simple/simple; q=dns/txt; i=joe@football.example.com;
      h=Received : From : To : Subject : Date : Message-ID;
      bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
      b=AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB
      4nujc7YopdG5dWLSdNg6xNAZpOPr+kHxt1IrE+NahM6L/LbvaHut
      KVdkLLkpVaVVQPzeRDI009SO2Il5Lu7rDNH6mZckBdrIx0orEtZV
      4bmp/YzhwvcubU4=;
Received: from client1.football.example.com  [192.0.2.1]
      by submitserver.example.com with SUBMISSION;
      Fri, 11 Jul 2003 21:01:54 -0700 (PDT)
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game. Are you hungry yet?

Joe.
`
