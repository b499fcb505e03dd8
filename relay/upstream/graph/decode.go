package graph

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"strings"

	"golang.org/x/net/html/charset"
	"golang.org/x/text/encoding"
	"golang.org/x/text/transform"

	"postern/relay/message"
)

// content is that of a part, decoded while it is read.
func (p *part) content(body message.Body) (io.ReadCloser, error) {
	source, err := body.Open()
	if err != nil {
		return nil, sourceError{err}
	}
	if _, err := io.CopyN(io.Discard, source, p.from); err != nil {
		source.Close()
		return nil, sourceError{err}
	}
	decoded, err := decoder(p.encoding, &counted{r: source, left: p.to - p.from})
	if err != nil {
		source.Close()
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{decoded, source}, nil
}

// counted reads just so many octets; fewer are an error.
type counted struct {
	r    io.Reader
	left int64
}

func (c *counted) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	switch {
	case err == io.EOF && c.left > 0:
		return n, sourceError{io.ErrUnexpectedEOF}
	case err == io.EOF:
		return n, nil
	case err != nil:
		return n, sourceError{err}
	}
	return n, nil
}

// decoder undoes a transfer encoding (RFC 2045, section 6).
func decoder(encoding string, r io.Reader) (io.Reader, error) {
	switch encoding {
	case "7bit", "8bit", "binary":
		return r, nil
	case "base64":
		return base64.NewDecoder(base64.StdEncoding, bufio.NewReaderSize(blanks{r}, lineBlock)), nil
	case "quoted-printable":
		return quotedprintable.NewReader(r), nil
	}
	return nil, unfit(fmt.Sprintf("a part has the unknown encoding %.40q", encoding))
}

// blanks takes out the white space within base64.
type blanks struct{ r io.Reader }

func (b blanks) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	kept := 0
	for _, c := range p[:n] {
		if c > ' ' {
			p[kept] = c
			kept++
		}
	}
	return kept, err
}

// text is the content of a part in UTF-8.
func (p *part) text(body message.Body) (io.ReadCloser, error) {
	source, err := p.content(body)
	if err != nil {
		return nil, err
	}
	in := strings.ToLower(p.charset)
	if in == "" || in == "us-ascii" {
		in = "utf-8" // which holds it
	}
	e, name := charset.Lookup(in)
	if e == nil {
		source.Close()
		return nil, unfit(fmt.Sprintf("its text is in the unknown charset %.40q", p.charset))
	}
	to := transform.Transformer(encoding.UTF8Validator)
	if name != "utf-8" {
		to = e.NewDecoder()
	}
	return struct {
		io.Reader
		io.Closer
	}{transform.NewReader(source, to), source}, nil
}

// decodeWords is text with its encoded words read (RFC 2047); as it stands if
// that is not possible.
func decodeWords(text string) string {
	decoder := mime.WordDecoder{CharsetReader: func(label string, r io.Reader) (io.Reader, error) {
		return charset.NewReaderLabel(label, r)
	}}
	if plain, err := decoder.DecodeHeader(text); err == nil {
		return plain
	}
	return text
}
