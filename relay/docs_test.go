package relay_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)
	testName = regexp.MustCompile(`\b(?:Test|Fuzz|Benchmark)[A-Z]\w+`)
	testLink = regexp.MustCompile(`\[(\w+)\]\(([^)]+_test\.go)\)`)
)

// What the documentation says is shown by a test is shown by one that is there, in
// the file that it leads to.
func TestTheDocumentationNamesTestsThatAreThere(t *testing.T) {
	where, pages := map[string]map[string]bool{}, map[string]string{} // tests with their files; texts
	err := filepath.WalkDir("..", func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && (e.Name() == "node_modules" || e.Name() != ".." && strings.HasPrefix(e.Name(), ".")):
			return fs.SkipDir
		case e.IsDir() || !strings.HasSuffix(path, "_test.go") && !strings.HasSuffix(path, ".md"):
			return nil
		}
		text, err := os.ReadFile(path)
		if strings.HasSuffix(path, ".md") {
			pages[path] = string(text)
		}
		for _, found := range testFunc.FindAllStringSubmatch(string(text), -1) {
			if where[found[1]] == nil {
				where[found[1]] = map[string]bool{}
			}
			where[found[1]][path] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for page, text := range pages {
		for _, name := range testName.FindAllString(text, -1) {
			if named++; where[name] == nil {
				t.Errorf("%s: there is no %s", page, name)
			}
		}
		for _, link := range testLink.FindAllStringSubmatch(text, -1) {
			if file := filepath.Join(filepath.Dir(page), link[2]); testName.MatchString(link[1]) && !where[link[1]][file] {
				t.Errorf("%s: %s is not in %s", page, link[1], file)
			}
		}
	}
	if named < 100 {
		t.Errorf("only %d tests are named", named)
	}
}
