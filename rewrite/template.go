package rewrite

import (
	"fmt"
	"slices"
	"strings"
)

// template is text with references in it, such as %u, %{account} or, for a
// group of an expression, $1. %% and $$ are the characters themselves.
type template []part

// part is either text or a reference as it is written.
type part struct{ text, reference string }

// parseTemplate reads a template. known are the references it may have.
func parseTemplate(s string, known []string) (template, error) {
	var t template
	for s != "" {
		i := strings.IndexAny(s, "%$")
		if i < 0 {
			return append(t, part{text: s}), nil
		}
		ref := s[i:min(i+2, len(s))]
		if end := strings.IndexByte(s[i:], '}'); ref == "%{" && end > 0 {
			ref = s[i : i+end+1]
		}
		p := part{text: s[:i], reference: ref}
		switch {
		case ref == "%%" || ref == "$$":
			p = part{text: s[:i+1]}
		case !slices.Contains(known, ref):
			return nil, fmt.Errorf("%.40q is not known here; there are %s, and %%%% and $$ for the characters themselves", ref, strings.Join(known, " "))
		}
		t, s = append(t, p), s[i+len(ref):]
	}
	return t, nil
}

// expand puts values in the place of references.
func (t template) expand(value func(reference string) string) string {
	var b strings.Builder
	for _, p := range t {
		b.WriteString(p.text)
		if p.reference != "" {
			b.WriteString(value(p.reference))
		}
	}
	return b.String()
}
