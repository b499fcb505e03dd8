package rewrite

import (
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

// maxBefore bounds what the history keeps of a removed value, in octets: a
// client may put a megabyte into one.
const maxBefore = 1000

func brief(value string) string {
	if len(value) > maxBefore {
		value = value[:maxBefore] + "..."
	}
	return strings.ToValidUTF8(value, "?")
}
