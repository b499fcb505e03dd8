package graph

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"

	"golang.org/x/text/transform"

	"postern/relay/message"
	"postern/relay/upstream/webapi"
)

// document is JSON made while it is sent: known octets, and between them what is
// read from the message.
type document struct {
	pieces []opener
	size   int64
}

type opener func() (io.ReadCloser, error)

func (d *document) literal(format string, args ...any) {
	text := fmt.Appendf(nil, format, args...)
	d.stream(int64(len(text)), func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil })
}

func (d *document) stream(size int64, open opener) {
	d.pieces, d.size = append(d.pieces, open), d.size+size
}

// content is the document as that of a request.
func (d *document) content() *webapi.Content {
	return &webapi.Content{Size: d.size, Open: func() (io.ReadCloser, error) { return &chain{rest: d.pieces}, nil }}
}

// chain reads one piece after the other, each opened when its turn has come.
type chain struct {
	rest []opener
	now  io.ReadCloser
}

func (c *chain) Read(p []byte) (n int, err error) {
	for {
		if c.now == nil {
			if len(c.rest) == 0 {
				return 0, io.EOF
			}
			if c.now, err = c.rest[0](); err != nil {
				return 0, err
			}
			c.rest = c.rest[1:]
		}
		n, err := c.now.Read(p)
		if err != io.EOF {
			return n, err
		}
		if err := c.Close(); err != nil || n > 0 {
			return n, err
		}
	}
}

func (c *chain) Close() error {
	if c.now == nil {
		return nil
	}
	now := c.now
	c.now = nil
	return now.Close()
}

// quote is v as JSON. What is quoted here always can be.
func quote(v any) []byte {
	text, _ := json.Marshal(v)
	return text
}

// draftDocument is the draft with those of its files that have room beside it in
// one request, and the files that have not.
func (d *draft) document(m *message.Message) (doc *document, rest []*file) {
	doc = &document{}
	kind := "text"
	if d.html {
		kind = "html"
	}
	head := quote(describe(m))
	doc.literal(`%s,"body":{"contentType":%q,"content":"`, head[:len(head)-1], kind)
	if d.body != nil {
		doc.stream(d.size, func() (io.ReadCloser, error) { return d.escaped(m.Body) })
	}
	doc.literal(`"},"attachments":[`)
	comma := ""
	for _, f := range d.files {
		if f.size >= minSession || doc.size+f.jsonSize() > maxRequest-2 {
			rest = append(rest, f)
			continue
		}
		doc.literal("%s", comma)
		f.add(doc, m.Body)
		comma = ","
	}
	doc.literal(`]}`)
	return doc, rest
}

// attributes are those of f as a fileAttachment.
func (f *file) attributes() map[string]any {
	a := map[string]any{"@odata.type": "#microsoft.graph.fileAttachment", "name": f.name, "contentType": f.media}
	if f.inline {
		a["isInline"] = true
	}
	if f.id != "" {
		a["contentId"] = f.id
	}
	return a
}

// add writes f, its content in base64.
func (f *file) add(doc *document, body message.Body) {
	head := quote(f.attributes())
	doc.literal(`%s,"contentBytes":"`, head[:len(head)-1])
	doc.stream(int64(base64.StdEncoding.EncodedLen(int(f.size))), func() (io.ReadCloser, error) { return inBase64(f.content(body)) })
	doc.literal(`"}`)
}

// jsonSize is more than what add takes.
func (f *file) jsonSize() int64 {
	return int64(len(quote(f.attributes()))) + int64(base64.StdEncoding.EncodedLen(int(f.size))) + 32
}

// escaped is the text as it stands between the quotes of JSON.
func (d *draft) escaped(body message.Body) (io.ReadCloser, error) {
	text, err := d.body.text(body)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{transform.NewReader(text, escaper{}), text}, nil
}

// escaper escapes a text in UTF-8 for JSON (RFC 8259, section 7).
type escaper struct{ transform.NopResetter }

func (escaper) Transform(dst, src []byte, _ bool) (made, read int, err error) {
	var escape [6]byte
	for _, c := range src {
		out := append(escape[:0], c)
		switch {
		case c == '"' || c == '\\':
			out = append(escape[:0], '\\', c)
		case c < ' ':
			out = fmt.Appendf(escape[:0], `\u%04x`, c)
		}
		if made+len(out) > len(dst) {
			return made, read, transform.ErrShortDst
		}
		made += copy(dst[made:], out)
		read++
	}
	return made, read, nil
}
