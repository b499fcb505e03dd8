//go:build unix

package oauth_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postern/auth/oauth"
)

// Root may log in for the relay's user, to whom it gives what it writes. In a
// directory of theirs a link to a file of root's may have come in its place.
func TestRootGivesNothingAwayThatALinkLeadsTo(t *testing.T) {
	dir := t.TempDir()
	theirs, roots := filepath.Join(dir, "theirs"), filepath.Join(dir, "shadow")
	if err := os.WriteFile(roots, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(roots, theirs+"-hard"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(roots, theirs+"-soft"); err != nil {
		t.Fatal(err)
	}
	for link, want := range map[string]string{"-hard": "another name", "-soft": "symbolic links"} {
		err := oauth.HandOver(theirs+link, dir)
		if os.Geteuid() != 0 && err == nil {
			continue // nobody else can give anything away
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", link, err, want)
		}
	}
}
