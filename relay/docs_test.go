package relay_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// docs/devices.md says which test holds what it promises. The files must be
// there, and the tests in them.
func TestDevicesPageNamesTestsThatExist(t *testing.T) {
	read := func(file string) string {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
		}
		return string(text)
	}
	page, tests := read("../docs/devices.md"), 0
	for _, m := range regexp.MustCompile(`\[([^\]]+)\]\(([^)]+)\)`).FindAllStringSubmatch(page, -1) {
		text, file := m[1], filepath.Join("../docs", filepath.FromSlash(m[2]))
		source := read(file)
		name, row, _ := strings.Cut(text, "/")
		switch {
		case strings.HasSuffix(file, "_test.go") && !(strings.Contains(source, "\nfunc "+name+"(") && strings.Contains(source, row)),
			strings.HasSuffix(file, ".dialogue") && !strings.Contains("\n"+source, "\n# "+text+"\n"):
			t.Errorf("%s has no %s", file, text)
		default:
			tests++
		}
	}
	if tests < 20 {
		t.Errorf("only %d tests were found", tests)
	}
}
