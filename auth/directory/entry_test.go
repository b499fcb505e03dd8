package directory

import (
	"testing"

	"github.com/go-ldap/ldap/v3"
)

// Whoever has several names is one person by all of them, with one limit.
func TestAPersonHasOneName(t *testing.T) {
	f := newFilter("(|(uid=%u)(mail=%u))")
	for _, values := range [][]string{{"ann", "annette"}, {"annette", "ann"}} {
		e := ldap.NewEntry("cn=ann", map[string][]string{"UID": values, "mail": {"a@example.com"}})
		for _, login := range []string{"ann", "ANNETTE", "a@example.com"} {
			if got := f.user(e, login); got != "ann" {
				t.Errorf("%s of %q is %q, want ann", login, values, got)
			}
		}
	}
	if got := f.user(ldap.NewEntry("cn=ann", nil), "ann"); got != "ann" {
		t.Errorf("where the directory hides its attributes, she is %q", got)
	}
}
