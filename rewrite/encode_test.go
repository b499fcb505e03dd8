package rewrite_test

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"postern/relay/message"
	"postern/rewrite"
)

// leaves is what another reader, that of the standard library, finds in a
// message: the type, encoding applied, and octets of every part without parts.
func leaves(header map[string][]string, body io.Reader) ([]string, error) {
	get := func(name string) string {
		if v := header[name]; len(v) > 0 {
			return v[0]
		}
		return ""
	}
	media, params, err := mime.ParseMediaType(get("Content-Type"))
	if err != nil && get("Content-Type") != "" {
		return nil, err
	}
	switch {
	case strings.HasPrefix(media, "multipart/"):
		return leavesOfParts(multipart.NewReader(body, params["boundary"]))
	case media == "message/rfc822":
		m, err := mail.ReadMessage(body)
		if err != nil {
			return nil, err
		}
		decoder := mime.WordDecoder{CharsetReader: func(_ string, r io.Reader) (io.Reader, error) { return r, nil }} // unknown-8bit
		subject, err := decoder.DecodeHeader(m.Header.Get("Subject"))
		if err != nil {
			return nil, err
		}
		found, err := leaves(m.Header, m.Body)
		return append([]string{"Subject " + subject}, found...), err
	}
	switch encoding := strings.ToLower(get("Content-Transfer-Encoding")); encoding {
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	case "", "7bit", "8bit", "binary":
	default:
		media += " " + encoding
	}
	content, err := io.ReadAll(body)
	name := params["name"]
	if len(content) > 1000 {
		content = fmt.Appendf(nil, "%d octets, %x", len(content), sha256.Sum256(content))
	}
	return []string{fmt.Sprintf("%s %q %q", media, name, content)}, err
}

func leavesOfParts(r *multipart.Reader) ([]string, error) {
	var found []string
	for {
		p, err := r.NextRawPart()
		if err == io.EOF {
			return found, nil
		}
		if err != nil {
			return found, err
		}
		some, err := leaves(p.Header, p)
		if err != nil {
			return found, err
		}
		found = append(append(found, "part"), some...)
	}
}

// leavesOf reads a whole message. A Content-Type that a message without one
// may get is that it had.
func leavesOf(text string) ([]string, error) {
	m, err := mail.ReadMessage(strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	found, err := leaves(m.Header, m.Body)
	for i := range found {
		if rest, ok := strings.CutPrefix(found[i], ` "" `); ok {
			found[i] = `text/plain "" ` + rest
		}
	}
	return found, err
}

// sevenBit dresses a message for an upstream without extensions.
func sevenBit(t rapid.TB, text string) (*message.Message, error) {
	t.Helper()
	header, body, _ := strings.Cut(text, "\r\n\r\n")
	h, err := message.ParseHeader([]byte(header + "\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	m := &message.Message{Header: h, Body: message.Bytes(body)}
	dressed, _, err := rewrite.NewDressing("old", rewrite.Upstream{}).Dress(m, rewrite.Offer{})
	return dressed, err
}

// tree draws a message with parts within parts.
func tree(t *rapid.T, depth int) (header, body string) {
	kinds := []string{"text", "text", "binary", "encoded"}
	if depth < 3 {
		kinds = append(kinds, "multipart", "multipart", "message")
	}
	label := rapid.SampledFrom([]string{"", "", "Content-Transfer-Encoding: 8bit\r\n", "content-transfer-encoding :BINARY\r\n"}).Draw(t, "label")
	switch rapid.SampledFrom(kinds).Draw(t, "kind") {
	case "text":
		kind := rapid.SampledFrom([]string{"", "Content-Type: text/plain; charset=utf-8\r\n", "Content-type:TEXT/html;\r\n name=\"Bü.html\"\r\n"}).Draw(t, "type")
		return kind + label, lines(t)
	case "binary":
		return "Content-Type: image/x-odd; name=\"bild.odd\"\r\n" + label, lines(t)
	case "encoded":
		return "Content-Type: image/x-odd\r\nContent-Transfer-Encoding: base64\r\n", "R3LDvMOf\r\nZQ0K"
	case "message":
		header, body := tree(t, depth+1)
		return "Content-Type: message/rfc822\r\n" + label, "Subject: Grüße\r\nX: y\r\n" + header + "\r\n" + body
	}
	boundary := fmt.Sprintf("%s%d", rapid.SampledFrom([]string{"=_ ", "b", "--", "=2D"}).Draw(t, "boundary"), depth)
	header = fmt.Sprintf("Content-Type: multipart/mixed; boundary=\"%s\"\r\n%s", boundary, label)
	body = rapid.SampledFrom([]string{"", "Preamble\r\n"}).Draw(t, "preamble")
	for range rapid.IntRange(1, 3).Draw(t, "parts") {
		h, b := tree(t, depth+1)
		body += "--" + boundary + "\r\n" + h + "\r\n" + b + "\r\n"
	}
	return header, body + "--" + boundary + "--" + rapid.SampledFrom([]string{"", "\r\n", "  \r\nEpilogue"}).Draw(t, "end")
}

// lines draws content with all that an encoding must take care of.
func lines(t *rapid.T) string {
	pieces := rapid.SliceOfN(rapid.OneOf(
		rapid.SampledFrom([]string{"\r\n", "\r\n", " ", "\t", "=", "=3D", "-", "--", ".", "ü", "\xff", "\x00", "€", "\r\n--", "\r\n.\r\n", "From "}),
		rapid.StringMatching(`[ -~]{0,80}`), rapid.StringMatching(`[ü-ÿ]{0,40}`)), 0, 30).Draw(t, "content")
	return strings.Join(pieces, "")
}

// Whatever is sent encoded is read as it was written, part by part.
func TestEncodedPartsReadAsBefore(t *testing.T) {
	encoded := 0
	rapid.Check(t, func(t *rapid.T) {
		header, body := tree(t, 0)
		text := "From: a@example.com\r\n" + header + "\r\n" + body
		want, err := leavesOf(text)
		if err != nil {
			t.Skip(err)
		}
		m, err := sevenBit(t, text)
		if err != nil {
			checkUnfit(t, err)
			return
		}
		encoded++
		checkSevenBit(t, m, text, want)
	})
	if encoded == 0 {
		t.Error("no message could be encoded")
	}
}

// checkUnfit checks that a message was left to another upstream, with a reply.
func checkUnfit(t rapid.TB, err error) {
	t.Helper()
	var next *rewrite.Next
	if !errors.As(err, &next) || !next.Reply.Permanent() || !strings.HasPrefix(next.Reply.Enhanced, "5.6.") {
		t.Fatalf("the error is %v", err)
	}
}

// checkSevenBit checks that m can go anywhere and reads as the leaves before.
func checkSevenBit(t rapid.TB, m *message.Message, before string, want []string) {
	t.Helper()
	checkFits(t, m, rewrite.Offer{})
	text := read(t, m)
	got, err := leavesOf(text)
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("%.9000q\nis sent as %.9000q\nwhich reads as %.9000q, %v\ninstead of     %.9000q", before, text, got, err, want)
	}
}

// Whatever is in a message: it is left to others, or goes as it was if it is
// ASCII, or in 7 bits and reads as before, in lines no longer than they were.
func FuzzSevenBit(f *testing.F) {
	for _, s := range []string{
		"From: a@b\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n",
		"Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n\r\n\xff\r\n--m\r\nContent-Type: message/rfc822\r\n\r\nSubject: \xc3\xbc\r\n\r\n\x00\xfc\r\n--m--\r\n",
		"Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\nContent-Type: multipart/mixed; boundary=n\r\n\r\n--n\r\n\r\n\xff\r\n--m--\r\n",
		"Content-Type: image/x; name=\"\xc3\xbc\"\r\nContent-Transfer-Encoding: binary\r\n\r\n--\xfc",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		header, body, _ := strings.Cut(string(in), "\r\n\r\n")
		h, err := message.ParseHeader([]byte(header + "\r\n"))
		if err != nil {
			return
		}
		m := &message.Message{Header: h, Body: message.Bytes(body)}
		dressed, changes, err := rewrite.NewDressing("old", rewrite.Upstream{}).Dress(m, rewrite.Offer{})
		if err != nil {
			checkUnfit(t, err)
			return
		}
		if (dressed == m) != (len(changes) == 0) || dressed == m && m.NeedsEightBit() {
			t.Fatalf("changed %v, and told %v", dressed != m, changes)
		}
		checkFits(t, dressed, rewrite.Offer{})
		before := read(t, m)
		if long := longest(read(t, dressed)); long > 998 && longest(before) < 500 {
			t.Fatalf("a line has %d octets", long)
		}
		want, err := leavesOf(before)
		if err != nil || message.Bytes(header).EightBit() {
			return // the other reader does not understand it
		}
		checkSevenBit(t, dressed, before, want)
	})
}

func longest(text string) int {
	n := 0
	for line := range strings.SplitSeq(text, "\r\n") {
		n = max(n, len(line))
	}
	return n
}
