package graph

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"postern/relay/message"
)

// draft is what becomes of a message that is taken apart.
type draft struct {
	body *part // its text; nil: it has none
	html bool
	// size is that of the text as JSON, in octets.
	size  int64
	files []*file
	// lost is what a draft cannot hold, for a person.
	lost []string
}

// file is an attachment.
type file struct {
	*part
	name   string
	inline bool   // it is shown within the text, which names it by
	id     string // its Content-ID
	size   int64  // decoded, in octets
}

// newDraft takes m apart and measures what is in it. Errors are an unfit, or
// come from reading the body.
func newDraft(m *message.Message) (*draft, error) {
	if len(named(m.Header, "From")) > 1 {
		return nil, unfit("it has several authors")
	}
	root, err := split(m)
	if err != nil {
		return nil, err
	}
	d := &draft{}
	if err := d.whole(root); err != nil {
		return nil, err
	}
	if err := d.measure(m.Body); err != nil {
		return nil, err
	}
	d.lost = append(d.lost, lostFields(m.Header)...)
	return d, nil
}

// whole reads the outermost part: a text, a file, or a text with files.
func (d *draft) whole(p *part) error {
	switch {
	case p.media != "multipart/mixed":
		return d.first(p)
	case len(p.parts) == 0:
		return unfit("a multipart has no parts")
	}
	for i, child := range p.parts {
		attach := d.attach
		if i == 0 {
			attach = d.first
		}
		if err := attach(child); err != nil {
			return err
		}
	}
	return nil
}

// first reads the part that is shown.
func (d *draft) first(p *part) error {
	switch p.media {
	case "multipart/alternative":
		return d.alternative(p)
	case "multipart/related":
		return d.related(p)
	}
	if disposition, name := p.wanted(); !isText(p) || disposition == "attachment" || name != "" {
		return d.attach(p)
	}
	d.body, d.html = p, p.media == "text/html"
	return nil
}

// alternative takes the HTML of two forms of one text. Exchange makes plain text
// of it for those who want it.
func (d *draft) alternative(p *part) error {
	var plain, rich *part
	for _, child := range p.parts {
		switch {
		case child.media == "text/plain" && plain == nil && rich == nil:
			plain = child
		case (child.media == "text/html" || child.media == "multipart/related") && rich == nil:
			rich = child
		default:
			return unfit(fmt.Sprintf("its text has a form of type %.60s", child.media))
		}
	}
	switch {
	case rich == nil && plain == nil:
		return unfit("a multipart has no parts")
	case rich == nil:
		return d.first(plain)
	case plain != nil:
		d.lost = append(d.lost, "the plain text beside the HTML")
	}
	return d.first(rich)
}

// related takes a text and the images in it.
func (d *draft) related(p *part) error {
	for i, child := range p.parts {
		if i == 0 {
			if child.media != "text/html" && child.media != "multipart/alternative" {
				return unfit(fmt.Sprintf("a part of type %.60s has others that belong to it", child.media))
			}
			if err := d.first(child); err != nil {
				return err
			}
			continue
		}
		if err := d.attach(child); err != nil {
			return err
		}
		last := d.files[len(d.files)-1]
		last.inline = last.id != ""
	}
	if d.body == nil {
		return unfit("a text with images has no text")
	}
	return nil
}

// refusedTypes are those whose meaning is lost, or that are worth nothing without
// the octets around them.
var refusedTypes = []string{"application/pkcs7-mime", "application/x-pkcs7-mime", "application/pkcs7-signature",
	"application/x-pkcs7-signature", "application/pgp-signature", "application/pgp-encrypted", "application/ms-tnef", "text/calendar"}

// attach takes p as a file.
func (d *draft) attach(p *part) error {
	disposition, name := p.wanted()
	major, _, _ := strings.Cut(p.media, "/")
	switch {
	case major == "multipart" || major == "message" || slices.Contains(refusedTypes, p.media):
		return unfit(fmt.Sprintf("it holds a part of type %.60s", p.media))
	case isText(p) && name == "" && disposition != "attachment":
		return unfit("it shows more than one text")
	case name == "":
		name = fmt.Sprintf("attachment-%d", len(d.files)+1)
	}
	id := strings.Trim(p.header.Get("Content-ID"), "<> ")
	d.files = append(d.files, &file{part: p, name: name, id: id})
	return nil
}

// isText tells whether p is shown as a text.
func isText(p *part) bool { return p.media == "text/plain" || p.media == "text/html" }

// sourceError is an error of reading the body, not of decoding it.
type sourceError struct{ error }

func (s sourceError) Unwrap() error { return s.error }

// measure reads every part, to know how large it is and that it can be decoded.
func (d *draft) measure(body message.Body) (err error) {
	if d.body != nil {
		if d.size, err = count(d.escaped(body)); err != nil {
			return undecodable("its text", err)
		}
	}
	for _, f := range d.files {
		if f.size, err = count(f.content(body)); err != nil {
			return undecodable(fmt.Sprintf("the attachment %.60q", f.name), err)
		}
	}
	return nil
}

// count is how many octets there are to read.
func count(r io.ReadCloser, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	defer r.Close()
	return io.Copy(io.Discard, r)
}

func undecodable(what string, err error) error {
	if errors.As(err, new(sourceError)) || errors.As(err, new(unfit)) {
		return err
	}
	return unfit(fmt.Sprintf("%s cannot be decoded: %v", what, err))
}
