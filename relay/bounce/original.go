package bounce

import (
	"bytes"
	"io"
	"unicode/utf8"

	"postern/relay/message"
)

// Bounds of what of the original is returned, in octets: a whole body only while
// it is small enough to be kept in memory, and so much of a header.
const (
	maxBody   = 32 << 10
	maxHeader = 16 << 10
)

// original returns what was sent: the whole of it where a failure is reported, the
// sender asked for that (RET=FULL) and it is small; else its header (RFC 3461,
// section 4.3). Of a message that cannot be read there is nothing to return.
func (p parts) original(r Report) {
	o := r.Original
	if o.Header == nil {
		return
	}
	if r.Action == Failed && o.Return == "FULL" {
		if whole := whole(o); whole != nil {
			encoding := "7bit"
			if message.Bytes(whole).EightBit() {
				encoding = "8bit"
			}
			p.add("Undelivered message", "message/rfc822", encoding, whole)
			return
		}
	}
	header := cut(o.Header, maxHeader).Bytes()
	media := "text/rfc822-headers"
	if message.Bytes(header).EightBit() && utf8.Valid(header) {
		media = "message/global-headers" // RFC 6533, section 4
	}
	encoding, content := encode(header)
	p.add("Header of your message", media, encoding, content)
}

// whole is the original as it was sent, nil if it cannot be shown so: a part of
// type message/rfc822 takes no encoding.
func whole(o *message.Message) []byte {
	if o.Body == nil || o.Body.Size() > maxBody || o.Header.Size() > maxHeader || !o.Header.IsASCII() {
		return nil
	}
	in, err := o.Open()
	if err != nil {
		return nil
	}
	defer in.Close()
	content, err := io.ReadAll(in)
	if err != nil || !hasLines(content) {
		return nil
	}
	return content
}

// hasLines tells whether content can stand in a message as it is.
func hasLines(content []byte) bool {
	for line := range bytes.Lines(content) {
		if len(line) > 1000 || bytes.IndexByte(line, 0) >= 0 {
			return false
		}
	}
	return true
}

// cut leaves out the fields that do not fit in that many octets.
func cut(h message.Header, limit int64) message.Header {
	var kept message.Header
	for _, f := range h {
		if size := int64(len(f.Raw())); size <= limit {
			kept = append(kept, f)
			limit -= size
		}
	}
	return kept
}
