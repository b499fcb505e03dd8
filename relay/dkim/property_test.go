package dkim

import (
	"bufio"
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"postern/relay/message"
)

// Whatever valid message is signed, its signatures verify.
func TestAnySignatureVerifies(t *testing.T) {
	p := newPlace(t)
	sets := map[string]*Set{}
	for i, canonicalization := range canonicalizations {
		k, second := p.key(Ed25519, "example.com", "e1"), p.key(RSA, "example.com", "r1")
		k.Canonicalization, second.Canonicalization = canonicalization, canonicalizations[len(canonicalizations)-1-i]
		sets[canonicalization] = p.forced(k, second)
	}
	name := rapid.SampledFrom(append([]string{"X-Any", "Received", "DKIM-Signature"}, signed[1:]...))
	value := rapid.StringMatching(`([ \t]{0,3}[!-~\x80-\xff]{1,20}(\r\n[ \t]{1,3}[!-~]{1,9})?){0,6}[ \t]{0,2}`)
	line := rapid.StringMatching(`[ \t]{0,2}([ -~\x80-\xff]{0,30}[ \t]{0,3}){0,4}`)
	rapid.Check(t, func(t *rapid.T) {
		var raw bytes.Buffer
		fields := rapid.SliceOfN(name, 0, 12).Draw(t, "fields")
		at := rapid.IntRange(0, len(fields)).Draw(t, "place of From")
		for i := range len(fields) + 1 {
			if i == at {
				raw.WriteString(rapid.SampledFrom([]string{"From: scan@example.com\r\n", "FROM :\r\n Scan <scan@example.com> \r\n"}).Draw(t, "From"))
			}
			if i < len(fields) {
				raw.WriteString(fields[i] + rapid.SampledFrom([]string{":", ": ", " :\t"}).Draw(t, "colon") + value.Draw(t, "value") + "\r\n")
			}
		}
		h, err := message.ReadHeader(bufio.NewReader(bytes.NewReader(raw.Bytes())))
		if err != nil {
			t.Fatalf("%v: %q", err, raw.Bytes())
		}
		body := strings.Join(rapid.SliceOfN(line, 0, 12).Draw(t, "lines"), "\r\n") + "\r\n"
		m := &message.Message{Header: h, Body: message.Bytes(body)}
		proof := mustSign(p.t, sets[rapid.SampledFrom(canonicalizations).Draw(t, "canonicalization")], m)
		good, err := p.verify(sent(p.t, m, proof))
		if len(good) < 2 {
			t.Fatalf("%d of 2 verify: %v\n%q", len(good), err, sent(p.t, m, proof))
		}
	})
}

// FuzzSign: what is signed verifies, and what is signed is what was given.
func FuzzSign(f *testing.F) {
	p := newPlace(f)
	var sets []*Set
	for _, canonicalization := range canonicalizations {
		k := p.key(Ed25519, "example.com", "e1")
		k.Canonicalization = canonicalization
		sets = append(sets, p.forced(k))
	}
	for _, text := range []string{plain, odd, "From: scan@example.com\n\n", "From: a@example.com,\n b@example.net\n\nx"} {
		header, body, _ := strings.Cut(strings.ReplaceAll(text, "\n", "\r\n"), "\r\n\r\n")
		f.Add([]byte(header+"\r\n"), []byte(body), byte(0))
	}
	f.Fuzz(func(t *testing.T, header, body []byte, which byte) {
		h, err := message.ParseHeader(header)
		if err != nil || hasBareLineEnd(body) {
			return // never accepted
		}
		m := &message.Message{Header: h, Body: message.Bytes(body)}
		proof, err := sets[int(which)%len(sets)].Sign(t.Context(), m, Upstream{}, true)
		if err != nil {
			t.Fatal(err)
		}
		if (len(proof.Signatures) == 0) == (proof.Unsigned == "") {
			t.Fatalf("neither signed nor told why not: %+v", proof)
		}
		text := sent(t, m, proof)
		if !strings.HasSuffix(text, "\r\n") {
			text += "\r\n"
		}
		if good, err := p.verify(text); len(proof.Signatures) == 1 && len(good) == 0 {
			t.Fatalf("it does not verify: %v\n%q", err, text)
		}
	})
}

// hasBareLineEnd tells of a CR or LF that is not part of CRLF.
func hasBareLineEnd(b []byte) bool {
	rest := bytes.ReplaceAll(b, []byte("\r\n"), nil)
	return bytes.ContainsAny(rest, "\r\n")
}

// BenchmarkSign signs a letter of 10 KB.
func BenchmarkSign(b *testing.B) {
	for _, algorithm := range []string{RSA, Ed25519} {
		b.Run(algorithm, func(b *testing.B) {
			p := newPlace(b)
			s := p.forced(p.key(algorithm, "example.com", "s1"))
			m := letter(b, plain+strings.Repeat("A line of seventy characters or so that fills the body of the letter.\n", 143))
			b.ReportAllocs()
			for b.Loop() {
				mustSign(b, s, m)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "signatures/s")
		})
	}
}

// BenchmarkSignScan signs a scan of 10 MiB.
func BenchmarkSignScan(b *testing.B) {
	p := newPlace(b)
	s := p.forced(p.key(RSA, "example.com", "s1"))
	m := letter(b, plain+strings.Repeat(strings.Repeat("Base64", 12)+"ABCD\n", 10<<20/78))
	b.SetBytes(m.Size())
	for b.Loop() {
		mustSign(b, s, m)
	}
}
