package config

import (
	"encoding"
	"reflect"
	"strings"
)

// field is a key of a section and where its value is kept.
type field struct {
	key   string
	index []int
}

// fields lists the keys of a struct, those of inlined structs among them.
func fields(t reflect.Type) []field {
	var all []field
	for i := range t.NumField() {
		switch key, options, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ","); {
		case options == "inline":
			for _, inner := range fields(t.Field(i).Type) {
				all = append(all, field{inner.key, append([]int{i}, inner.index...)})
			}
		case key != "" && key != "-":
			all = append(all, field{key, []int{i}})
		}
	}
	return all
}

func keys(t reflect.Type) []string {
	var names []string
	for _, fd := range fields(t) {
		names = append(names, fd.key)
	}
	return names
}

var textType = reflect.TypeFor[encoding.TextUnmarshaler]()

// isText tells whether values of t read themselves from text.
func isText(t reflect.Type) bool { return reflect.PointerTo(t).Implements(textType) }

// isSection tells whether values of t are keys with values.
func isSection(t reflect.Type) bool { return t.Kind() == reflect.Struct && !isText(t) }

// isList tells whether values of t are lists.
func isList(t reflect.Type) bool { return t.Kind() == reflect.Slice && !isText(t) }

// isOneOrList tells whether values of t are written as one value or a list.
func isOneOrList(t reflect.Type) bool { return t.Kind() == reflect.Slice && isText(t) }
