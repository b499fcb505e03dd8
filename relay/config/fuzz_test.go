package config

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzParse holds that no file can make Parse panic, and that each problem is
// one line of text about a line of the file.
func FuzzParse(f *testing.F) {
	paths, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range append(paths, examplePath) {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if bytes.Contains(data, []byte("/dev")) || bytes.Contains(data, []byte("/proc")) {
			return // a secret or certificate from there may have no end
		}
		c, err := Parse("f.yaml", data)
		if err == nil {
			if _, err := c.YAML(); err != nil {
				t.Errorf("a sound configuration does not print: %v", err)
			}
			return
		}
		var problems Problems
		if !errors.As(err, &problems) || c != nil {
			t.Fatalf("the error is %v, the config %v", err, c)
		}
		last := max(1, len(bytes.Split(bytes.TrimSuffix(data, []byte("\n")), []byte("\n"))))
		for i, p := range problems {
			if p.Line < 1 || p.Line > last || i > 0 && p.Line < problems[i-1].Line {
				t.Errorf("line %d of %d: %v", p.Line, last, p)
			}
			if p.Text == "" || strings.ContainsAny(p.String(), "\n\r\x00") {
				t.Errorf("not one line of text: %q", p)
			}
		}
	})
}
