package graph

import (
	"io"
	"strings"
	"testing"

	"postern/relay/message"
)

// FuzzDraft takes any message apart: what it makes of it is whole, or unfit.
func FuzzDraft(f *testing.F) {
	for _, s := range []string{
		"Subject: x\r\n\r\nhello",
		"Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n\r\nhello\r\n--m\r\nContent-Type: x/y; name=\"=?utf-8?q?=C3=BC?=\"\r\nContent-Transfer-Encoding: base64\r\n\r\naGVs bG8=\r\n--m--\r\n",
		"Content-Type: multipart/related; boundary=m\r\n\r\n--m\r\nContent-Type: text/html; charset=shift_jis\r\n\r\n\x83\x5c\r\n--m\r\nContent-ID: <x>\r\nContent-Type: image/gif\r\n\r\nG\r\n--m--",
		"Content-Type: multipart/alternative; boundary=m\r\n\r\n--m\r\n\r\na\r\n--m\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=\r\n=BC\r\n--m--",
		"Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n--m--",
		"From: a@b, c@d\r\nTo: x@y\r\nX-A: 1\r\n\r\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		head, body, _ := strings.Cut(in, "\r\n\r\n")
		header, err := message.ParseHeader([]byte(head + "\r\n"))
		if err != nil {
			return
		}
		m := &message.Message{Header: header, Body: message.Bytes(body)}
		m.To = []message.Recipient{{Address: message.Address{Local: "x", Domain: "y"}}}
		d, err := newDraft(m)
		if err != nil {
			if _, ok := err.(unfit); !ok {
				t.Fatalf("%T %v", err, err)
			}
			return
		}
		p := describe(m)
		if n := len(p.To) + len(p.Cc) + len(p.Bcc); n != 1 {
			t.Fatalf("it goes to %d", n)
		}
		doc, rest := d.document(m)
		r, err := doc.content().Open()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		made, err := io.ReadAll(r)
		if err != nil || int64(len(made)) != doc.size {
			t.Fatalf("%d octets instead of %d, %v", len(made), doc.size, err)
		}
		if len(rest) == 0 {
			checkDocument(t, made, len(d.files))
		}
	})
}

// FuzzAnswers reads the ids and ranges that a server gives.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte(`{"@odata.context":"x","id":"AAMk","body":{"content":"x`), int64(10))
	f.Add([]byte(`{"nextExpectedRanges":["5-9"]}`), int64(10))
	f.Fuzz(func(t *testing.T, body []byte, size int64) {
		draftID(body)
		if at, ok := wanted(answer(body), size); ok && (at < 0 || at >= size) {
			t.Fatal(at)
		}
	})
}
