package config

import (
	"encoding"
	"reflect"
	"slices"
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

// meant is the known word that was probably meant, or "".
func meant(word string, known []string) string {
	word = strings.NewReplacer("-", "_", " ", "_").Replace(strings.ToLower(word))
	best, least := "", 3
	if len(word) < 5 {
		least = 2
	}
	for _, k := range known {
		if d := distance(word, strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	if best == "" && len(word) > 2 {
		i := slices.IndexFunc(known, func(k string) bool { return strings.HasPrefix(k, word) })
		if i >= 0 {
			best = known[i]
		}
	}
	return best
}

// distance counts the letters to insert, delete or replace to make a of b
// (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
