package config

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

const (
	quoteStart = `a value that begins with * & ! @ % or a backquote must stand in quotes, such as "@example.com"`
	noTab      = "this line is indented with a tab; use spaces"
)

// syntax is the one document of a file, or nil when there is none to be read.
func (f *file) syntax(data []byte) *yaml.Node {
	if line := unreadable(data); line > 0 {
		f.reportAt(line, "", "this line holds characters that are not plain text; save the file as UTF-8")
		return nil
	}
	docs, err := documents(data)
	switch {
	case err != nil:
		f.reportSyntax(data, err)
		return nil
	case len(docs) == 0 || isNull(docs[0].Content[0]):
		f.reportAt(1, "", "the file is empty; begin with a copy of config.example.yaml, which explains every key")
		return nil
	case len(docs) > 1:
		f.reportAt(docs[1].Line, "", "a second document begins here; a configuration is one document, so remove the ---")
	}
	return docs[0].Content[0]
}

// documents are all documents in data; each has one node as its content.
func documents(data []byte) (docs []*yaml.Node, err error) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc yaml.Node
		switch err := decoder.Decode(&doc); {
		case errors.Is(err, io.EOF):
			return docs, nil
		case err != nil:
			return nil, err
		}
		docs = append(docs, &doc)
	}
}

// unreadable is the first line that is not UTF-8 or holds a control character
// that no editor shows; 0 when there is none.
func unreadable(data []byte) int {
	n := 0
	for line := range bytes.Lines(data) {
		n++
		line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		if !utf8.Valid(line) || bytes.ContainsFunc(line, invisible) {
			return n
		}
	}
	return 0
}

func invisible(r rune) bool {
	return unicode.IsControl(r) && r != '\t' || unicode.In(r, unicode.Zl, unicode.Zp)
}

// sayings puts what the YAML library says into words for the person who wrote
// the file. Of the library's own words only those without content of the file
// are passed on: the place of the mistake may be a password.
var sayings = []struct{ theirs, ours string }{
	{"found character that cannot start any token", quoteStart},
	{"did not find expected alphabetic or numeric character", quoteStart},
	{"unknown anchor", quoteStart},
	{"found undefined tag handle", quoteStart},
	{"found a tab character", noTab},
	{"mapping values are not allowed", "there is a colon too many, or the line is indented too far; put a value with a colon and a space in quotes"},
	{"could not find expected ':'", `a key needs a colon and a space behind it, such as "name: office"`},
	{"did not find expected key", "this line does not fit in; indent it like the lines that belong together with it"},
	{"did not find expected '-' indicator", "this line does not belong to the list before it; begin it with - or indent it less or further"},
	{"did not find expected ',' or", "a bracket is not closed here; close it, put commas between the entries and values with brackets in quotes"},
	{"did not find expected node content", "a value is missing here, or a bracket is not closed"},
	{"block sequence entries are not allowed", "a list with - begins on a line of its own"},
	{"found unexpected end of stream", "a quote is opened and not closed"},
	{"found unknown escape character", "between double quotes a backslash is written twice; or use single quotes"},
}

// reportSyntax reports why the file is not YAML.
func (f *file) reportSyntax(data []byte, err error) {
	line, text := syntaxLine(data, err), err.Error()
	for _, s := range sayings {
		if !strings.Contains(text, s.theirs) {
			continue
		}
		if s.ours == quoteStart && tabIndented(data, line) {
			s.ours = noTab
		}
		f.reportAt(line, "", "%s", s.ours)
		return
	}
	f.reportAt(line, "", "this is not YAML: %s", text[strings.LastIndex(text, ": ")+2:])
}

// syntaxLine is the line at which data stops being YAML: the first that makes
// what was read so far fail in the same way. The library's own line numbers
// are not to be used: they may be missing, count from 0 or from 1, and be
// those of the mistake or of the list around it.
func syntaxLine(data []byte, err error) int {
	lines := slices.Collect(bytes.Lines(data))
	return 1 + sort.Search(len(lines)-1, func(i int) bool {
		_, sooner := documents(bytes.Join(lines[:i+1], nil))
		return sooner != nil && sooner.Error() == err.Error()
	})
}

func tabIndented(data []byte, line int) bool {
	lines := bytes.Split(data, []byte("\n"))
	text := lines[line-1]
	indent := text[:len(text)-len(bytes.TrimLeft(text, " \t"))]
	return bytes.IndexByte(indent, '\t') >= 0
}
