package config

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestBadFiles reads every testdata/bad-*.yaml. The first lines of each say
// which problems it must have, exactly these and in this order:
//
//	# want: 7: accounts[0].senders[1]: what is wrong
//
// Apart from what its name says, each file is sound.
func TestBadFiles(t *testing.T) {
	paths, err := filepath.Glob("testdata/bad-*.yaml")
	if err != nil || len(paths) < 30 {
		t.Fatalf("%d files, %v", len(paths), err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Parse(path, []byte(withFiles(t, string(data))))
			var problems Problems
			if !errors.As(err, &problems) {
				t.Fatalf("the error is %v", err)
			}
			got := strings.Split(problems.Error(), "\n")
			for i := range got {
				got[i] = strings.TrimPrefix(got[i], path+":")
			}
			if want := wanted(string(data)); !slices.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", wants(got), wants(want))
			}
			for _, line := range got {
				if m := goWords.FindString(line); m != "" {
					t.Errorf("%q speaks of %q, which means nothing to an operator", line, m)
				}
			}
		})
	}
}

// goWords are names of the program, not of the configuration.
var goWords = regexp.MustCompile(`\b(setting|message|auth|policy|config|slog|yaml|reflect)\.[A-Z]|struct\b|\b(u?int(32|64)?|bool|string|slice|map|nil|!!\w+)\b`)

// wanted are the problems a file says it has.
func wanted(data string) []string {
	var all []string
	for line := range strings.Lines(data) {
		want, ok := strings.CutPrefix(line, "# want: ")
		if !ok {
			break
		}
		all = append(all, strings.TrimSpace(want))
	}
	return all
}

func wants(problems []string) string { return "# want: " + strings.Join(problems, "\n# want: ") }
