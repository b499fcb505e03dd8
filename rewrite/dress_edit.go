package rewrite

import (
	"slices"
	"strings"

	"postern/relay/message"
)

// note records a change of anything but a header field.
func (e *edit) note(rule, what, before, after string) {
	e.changes = append(e.changes, message.Change{Rule: rule, Field: what, Before: brief(before), After: brief(after)})
}

// replace puts a field where the i-th is, unless it is the same.
func (e *edit) replace(rule string, i int, field message.Field) {
	if string(e.header[i].Raw()) != string(field.Raw()) {
		e.put(rule, i, field)
	}
}

// drop takes out the i-th field.
func (e *edit) drop(rule string, i int) {
	e.note(rule, e.header[i].Name(), e.header[i].Value(), "")
	e.header = slices.Delete(slices.Clone(e.header), i, i+1)
}

// add puts in a field before those of MIME: where these begin, some take the
// rest for theirs.
func (e *edit) add(rule string, field message.Field) {
	e.note(rule, field.Name(), "", field.Value())
	i := slices.IndexFunc(e.header, isMIME)
	if i < 0 {
		i = len(e.header)
	}
	e.header = slices.Insert(slices.Clone(e.header), i, field)
}

func isMIME(f message.Field) bool {
	name := strings.ToLower(f.Name())
	return name == "mime-version" || strings.HasPrefix(name, "content-")
}

// addresses lists them for the history.
func addresses(list []message.Address) string {
	texts := make([]string, len(list))
	for i, a := range list {
		texts[i] = a.String()
	}
	return strings.Join(texts, ", ")
}
