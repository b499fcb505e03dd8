package config

import (
	"encoding"
	"reflect"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"postern/auth"
	"postern/auth/bearer"
	"postern/auth/oauth"
	"postern/relay/dkim"
	"postern/relay/message"
	"postern/relay/setting"
	"postern/relay/upstream"
	"postern/relay/upstream/preset"
	"postern/rewrite"
)

// words says what a value of a type looks like, one of it and several.
var words = map[reflect.Type]struct{ one, many string }{
	reflect.TypeFor[string]():            {"one value", "values such as [a, b]"},
	reflect.TypeFor[bool]():              {"true or false", ""},
	reflect.TypeFor[int]():               {"a whole number such as 20", ""},
	reflect.TypeFor[setting.Duration]():  {"a duration such as 30s or 4d", "durations such as [1m, 5m, 1h]"},
	reflect.TypeFor[setting.Size]():      {"a size such as 50MiB", ""},
	reflect.TypeFor[setting.Rate]():      {"a rate such as 30/m or 2000/d", ""},
	reflect.TypeFor[setting.Network]():   {"a network such as 10.20.0.0/16", "networks such as [10.20.0.0/16]"},
	reflect.TypeFor[setting.Secret]():    {"a secret, written as itself, ${env:NAME}, file:/path or ${credential:NAME}", ""},
	reflect.TypeFor[dkim.Source]():       {"the whole path of a key file, or the key as a secret", ""},
	reflect.TypeFor[message.Address]():   {"an address such as scan@example.com", ""},
	reflect.TypeFor[message.Pattern]():   {"an address, @domain, @*.domain or *", `addresses such as [scan@example.com, "@example.com"]`},
	reflect.TypeFor[oauth.Date]():        {"a day such as 2027-03-01", ""},
	reflect.TypeFor[bearer.Audience]():   {"one value, or values such as [a, b]", ""},
	reflect.TypeFor[preset.Words]():      {"one value, or values such as [a, b]", ""},
	reflect.TypeFor[upstream.Group]():    {"an upstream, or some that share the load such as [a, b]", "upstreams such as [a, b], or [[a, b], c] where a and b share the load"},
	reflect.TypeFor[Level]():             {"debug, info, warn or error", ""},
	reflect.TypeFor[map[string]string](): {"keys with values such as {old.example: new.example}", ""},

	reflect.TypeFor[auth.CertificateName](): {"a certificate such as dns:printer.example.com", `certificates such as ["dns:printer.example.com"]`},
	reflect.TypeFor[rewrite.Match]():        {`an address, "@domain", "root@*" or an expression such as "/^(.+)@old\\.example$/"`, ""},
}

const noAnchors = "anchors, aliases and tags (& * !) are not supported; write the value itself, in quotes if it begins with one of them"

// decode fills v from n and notes where everything below path was written.
func (f *file) decode(v reflect.Value, n *yaml.Node, path string) {
	if _, ok := f.lines[path]; !ok {
		f.lines[path] = n.Line
	}
	switch {
	case isMarked(n):
		f.fail(path, noAnchors)
	case isSection(v.Type()):
		f.decodeSection(v, n, path)
	case isList(v.Type()), isOneOrList(v.Type()) && n.Kind == yaml.SequenceNode:
		f.decodeList(v, n, path)
	case v.Kind() == reflect.Map:
		f.decodeMap(v, n, path)
	default:
		f.decodeScalar(v, n, path)
	}
}

func isMarked(n *yaml.Node) bool {
	return n.Kind == yaml.AliasNode || n.Anchor != "" || n.Style&yaml.TaggedStyle != 0
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// decodeSection reads keys with values. A section whose keys are all commented
// out reads as null and keeps its defaults.
func (f *file) decodeSection(v reflect.Value, n *yaml.Node, path string) {
	known := fields(v.Type())
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		f.fail(path, "must be keys with values, not %s; the keys here are %s", kindOf(n), strings.Join(keys(v.Type()), ", "))
		return
	}
	first := map[string]int{}
	for i := 0; i < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if !f.isKey(key, path) {
			continue
		}
		at := join(path, keyText(key.Value))
		if line, ok := first[key.Value]; ok {
			f.reportAt(key.Line, at, "is written twice, first on line %d; keep one of them", line)
			continue
		}
		first[key.Value] = key.Line
		f.lines[at] = key.Line
		f.decodeKey(v, known, key.Value, value, path)
	}
}

// isKey tells whether n can be a key, and reports why when not.
func (f *file) isKey(n *yaml.Node, path string) bool {
	switch {
	case isMarked(n) && n.Kind == yaml.ScalarNode:
		at := join(path, keyText(n.Value))
		f.lines[at] = n.Line
		f.fail(at, noAnchors)
	case isMarked(n):
		f.reportAt(n.Line, path, noAnchors)
	case n.Kind != yaml.ScalarNode:
		f.reportAt(n.Line, path, "a key must be one word, not %s", kindOf(n))
	case n.Tag == "!!merge":
		f.reportAt(n.Line, path, "the merge key << is not supported; write the keys out")
	default:
		return true
	}
	return false
}

func (f *file) decodeKey(v reflect.Value, known []field, key string, value *yaml.Node, path string) {
	for _, fd := range known {
		if fd.key == key {
			f.decode(v.FieldByIndex(fd.index), value, join(path, key))
			return
		}
	}
	at, names := join(path, keyText(key)), keys(v.Type())
	if probably := setting.Meant(key, names); probably != "" {
		f.report(at, "unknown key; did you mean %q?", probably)
		f.broken = append(f.broken, join(path, probably))
		return
	}
	f.report(at, "unknown key; the keys here are %s", strings.Join(names, ", "))
}

func (f *file) decodeList(v reflect.Value, n *yaml.Node, path string) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.SequenceNode {
		f.fail(path, "must be a list of %s, not %s", several(v.Type().Elem()), kindOf(n))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, entry := range n.Content {
		if isNull(entry) {
			f.lines[item(path, i)] = entry.Line
			f.fail(item(path, i), "is empty; write a value, or remove it")
			continue
		}
		f.decode(v.Index(i), entry, item(path, i))
	}
}

// decodeMap reads keys of the operator's choice, each with one value.
func (f *file) decodeMap(v reflect.Value, n *yaml.Node, path string) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		f.fail(path, "must be %s, not %s", words[v.Type()].one, kindOf(n))
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for i := 0; i < len(n.Content); i += 2 {
		key, value := n.Content[i], reflect.New(v.Type().Elem()).Elem()
		if !f.isKey(key, path) {
			continue
		}
		at := join(path, keyText(key.Value))
		if v.MapIndex(reflect.ValueOf(key.Value)).IsValid() {
			f.reportAt(key.Line, at, "is written twice, first on line %d; keep one of them", f.lines[at])
			continue
		}
		f.lines[at] = key.Line
		f.decode(value, n.Content[i+1], at)
		v.SetMapIndex(reflect.ValueOf(key.Value), value)
	}
}

// decodeScalar reads one value. It repeats what was written only where that
// cannot be a secret.
func (f *file) decodeScalar(v reflect.Value, n *yaml.Node, path string) {
	right := words[v.Type()].one
	switch {
	case n.Kind != yaml.ScalarNode:
		f.fail(path, "must be %s, not %s", right, kindOf(n))
	case isNull(n):
		f.fail(path, "has no value; write %s behind the colon, or remove the line", right)
	case isText(v.Type()):
		f.decodeText(v, n.Value, path)
	case v.Kind() == reflect.Bool:
		if n.Value != "true" && n.Value != "false" {
			f.fail(path, "%q is not true or false", n.Value)
			return
		}
		v.SetBool(n.Value == "true")
	case v.CanInt():
		// Every number of a configuration is a count.
		count, err := strconv.ParseUint(n.Value, 10, 31)
		if err != nil {
			f.fail(path, "%q is not a count; write %s", n.Value, right)
			return
		}
		v.SetInt(int64(count))
	default:
		v.SetString(n.Value)
	}
}

func (f *file) decodeText(v reflect.Value, text, path string) {
	if v.Type() == reflect.TypeFor[setting.Secret]() && text == setting.Masked {
		f.fail(path, "%s only stands for a secret where a configuration is printed; write the secret itself", setting.Masked)
		return
	}
	if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text)); err != nil {
		f.fail(path, "%v", err)
	}
}

// several is what the entries of a list look like.
func several(t reflect.Type) string {
	if isSection(t) {
		return "entries with the keys " + strings.Join(keys(t), ", ") + ", each beginning with -"
	}
	return words[t].many
}

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys with values"
	case yaml.SequenceNode:
		return "a list"
	default:
		return "a single value"
	}
}

// keyText is a key as it stands in a path: as it is when it looks like one,
// else quoted and cut, so that a problem stays one line.
func keyText(key string) string {
	if key == "" {
		return `""`
	}
	for _, c := range []byte(key) {
		plain := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-'
		if !plain || len(key) > 40 {
			return strconv.Quote(key[:min(len(key), 40)])
		}
	}
	return key
}
