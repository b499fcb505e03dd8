package rewrite

import (
	"slices"
	"strings"

	"postern/relay/message"
)

// edit is a header being changed, and what was changed in it so far.
type edit struct {
	header  message.Header
	changes []message.Change
}

// ensure adds the field at the end unless there is one with a value. A field
// left empty, as devices do for what was never configured, is replaced.
func (e *edit) ensure(rule, name, value string) {
	if e.header.Get(name) != "" {
		return
	}
	kept, _ := e.header.Remove(name)
	e.header = kept.Append(message.NewField(name, value))
	e.changes = append(e.changes, message.Change{Rule: rule, Field: name, After: value})
}

// remove takes out every field of that name. They make one change.
func (e *edit) remove(rule, name string) {
	kept, removed := e.header.Remove(name)
	if len(removed) == 0 {
		return
	}
	values := make([]string, len(removed))
	for i, f := range removed {
		values[i] = f.Value()
	}
	e.header = kept
	e.changes = append(e.changes, message.Change{Rule: rule, Field: removed[0].Name(), Before: brief(strings.Join(values, ", "))})
}

// index is where the first field of that name stands; there is one.
func (e *edit) index(name string) int {
	return slices.IndexFunc(e.header, func(f message.Field) bool { return f.Is(name) })
}

// put has the field f stand at i instead of the one there.
func (e *edit) put(rule string, i int, f message.Field) {
	e.changes = append(e.changes, message.Change{Rule: rule, Field: f.Name(), Before: brief(e.header[i].Value()), After: brief(f.Value())})
	e.header = slices.Clone(e.header)
	e.header[i] = f
}

// set has the message leave with f and no other field of that name: in the
// place of the first one, else at the end.
func (e *edit) set(rule string, f message.Field) {
	var before []string
	header := make(message.Header, 0, len(e.header)+1)
	for _, old := range e.header {
		if !old.Is(f.Name()) {
			header = append(header, old)
			continue
		}
		if before == nil {
			header = append(header, f)
		}
		before = append(before, old.Value())
	}
	if before == nil {
		header = append(header, f)
	}
	if len(before) == 1 && before[0] == f.Value() {
		return
	}
	e.header = header
	e.changes = append(e.changes, message.Change{Rule: rule, Field: f.Name(), Before: brief(strings.Join(before, ", ")), After: brief(f.Value())})
}

// maxBefore bounds what the history keeps of a removed value, in octets: a
// client may put a megabyte into one.
const maxBefore = 1000

func brief(value string) string {
	if len(value) > maxBefore {
		value = value[:maxBefore] + "..."
	}
	return strings.ToValidUTF8(value, "?")
}
