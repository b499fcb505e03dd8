package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	File string
	Line int
	// Path leads to the value, such as accounts[0].senders[1]; "" is the file.
	Path string
	// Text says what is wrong and what would be right. It holds no secret.
	Text string
}

func (p Problem) String() string {
	if p.Path == "" {
		return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Text)
	}
	return fmt.Sprintf("%s:%d: %s: %s", p.File, p.Line, p.Path, p.Text)
}

// Problems is everything that is wrong with a configuration, by line.
type Problems []Problem

// Error prints one problem per line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// file is what is known of a file while it is read.
type file struct {
	name     string
	lines    map[string]int // path to line, of everything that was written
	broken   []string       // paths that could not be decoded
	problems Problems
}

// report notes a problem of the value at path.
func (f *file) report(path, format string, args ...any) {
	f.reportAt(f.line(path), path, format, args...)
}

func (f *file) reportAt(line int, path, format string, args ...any) {
	f.problems = append(f.problems, Problem{f.name, line, path, fmt.Sprintf(format, args...)})
}

// fail notes a problem of a value that could not be decoded, so that nothing
// more is said about it: what a room finds there is not what was written.
func (f *file) fail(path, format string, args ...any) {
	f.report(path, format, args...)
	f.broken = append(f.broken, path)
}

// finding notes a problem of decoded values, unless it may only be the
// consequence of one that could not be decoded.
func (f *file) finding(path, format string, args ...any) {
	if f.readable(path) {
		f.report(path, format, args...)
	}
}

// readable tells whether all that was written at path could be decoded.
func (f *file) readable(path string) bool {
	for _, b := range f.broken {
		if within(b, path) || within(path, b) {
			return false
		}
	}
	return true
}

// within tells whether path is parent itself or lies below it.
func within(path, parent string) bool {
	rest, ok := strings.CutPrefix(path, parent)
	return ok && (parent == "" || rest == "" || rest[0] == '.' || rest[0] == '[')
}

// line is where path was written, or else its nearest parent that was.
func (f *file) line(path string) int {
	for f.lines[path] == 0 && path != "" {
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return max(1, f.lines[path])
}

func (f *file) sorted() Problems {
	slices.SortStableFunc(f.problems, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	return f.problems
}

// join is the path of a key below path; item that of an entry of a list.
func join(path, key string) string {
	if path == "" || key == "" || key[0] == '[' {
		return path + key
	}
	return path + "." + key
}

func item(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }
