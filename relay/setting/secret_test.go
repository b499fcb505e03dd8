package setting

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const canary = "kanarienvogel-7531"

// write puts text into a file and returns its path.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSecretForms(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("POSTERN_TEST_SECRET", canary)
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	path := write(t, dir, "ses", canary+"\n")
	for _, row := range []struct{ name, text, want, printed string }{
		{"the secret itself", canary, canary, Masked},
		{"a secret with a dollar", "$6$" + canary, "$6$" + canary, Masked},
		{"a secret that looks half like a reference", "env:" + canary, "env:" + canary, Masked},
		{"an environment variable", "${env:POSTERN_TEST_SECRET}", canary, "${env:POSTERN_TEST_SECRET}"},
		{"a file", "file:" + path, canary, "file:" + path},
		{"a systemd credential", "${credential:ses}", canary, "file:" + path},
		{"none", "", "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			var s Secret
			if err := read(&s, row.text); err != nil {
				t.Fatal(err)
			}
			if got, err := s.Reveal(); got != row.want || err != nil {
				t.Errorf("it is %q, %v; want %q", got, err, row.want)
			}
			if s.String() != row.printed {
				t.Errorf("it prints as %q, want %q", s, row.printed)
			}
			if s.IsZero() != (row.text == "") {
				t.Errorf("IsZero is %v", s.IsZero())
			}
		})
	}
}

func TestSecretFileIsReadAgainAtEachUse(t *testing.T) {
	dir := t.TempDir()
	path := write(t, dir, "secret", "first\n")
	var s Secret
	if err := read(&s, "file:"+path); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"second":       "second",
		"third\r\n":    "third",
		"fourth\n\n":   "fourth\n",
		" spaces \n":   " spaces ",
		"two\nlines":   "two\nlines",
		"return\rin\n": "return\rin",
	} {
		write(t, dir, "secret", text)
		if got, err := s.Reveal(); got != want || err != nil {
			t.Errorf("with %q in the file it is %q, %v; want %q", text, got, err, want)
		}
	}
	write(t, dir, "secret", "\n")
	if _, err := s.Reveal(); err == nil || !strings.Contains(err.Error(), "is empty") {
		t.Errorf("with an empty file the error is %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Reveal(); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("without the file the error is %v", err)
	}
}

func TestSecretEnvironmentIsReadAtEachUse(t *testing.T) {
	t.Setenv("POSTERN_TEST_SECRET", "first")
	var s Secret
	if err := read(&s, "${env:POSTERN_TEST_SECRET}"); err != nil {
		t.Fatal(err)
	}
	t.Setenv("POSTERN_TEST_SECRET", "second")
	if got, err := s.Reveal(); got != "second" || err != nil {
		t.Errorf("it is %q, %v", got, err)
	}
	t.Setenv("POSTERN_TEST_SECRET", "")
	if _, err := s.Reveal(); err == nil || !strings.Contains(err.Error(), "POSTERN_TEST_SECRET is not set") {
		t.Errorf("without the variable the error is %v", err)
	}
}

func TestSecretReferencesThatLeadNowhere(t *testing.T) {
	dir := t.TempDir()
	for _, row := range []struct{ name, credentials, text, want string }{
		{"no name of a variable", dir, "${env:}", "names no environment variable"},
		{"a variable that is not set", dir, "${env:POSTERN_TEST_NOT_SET}", "POSTERN_TEST_NOT_SET is not set"},
		{"a file that is not there", dir, "file:" + filepath.Join(dir, "gone"), "gone"},
		{"a file by half a path", dir, "file:secret", "write the whole path"},
		{"a credential outside of systemd", "", "${credential:ses}", "add LoadCredential=ses to the systemd unit"},
		{"a credential that is not there", dir, "${credential:ses}", "ses"},
		{"a credential without a name", dir, "${credential:}", "must be a file name"},
		{"a credential that climbs", dir, "${credential:../ses}", "must be a file name"},
		{"an unknown kind", dir, "${vault:" + canary + "}", "a reference to a secret is"},
		{"a reference left open", dir, "${env:" + canary, "a reference to a secret is"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Setenv("CREDENTIALS_DIRECTORY", row.credentials)
			s := Plain("before")
			err := read(&s, row.text)
			if err == nil || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), canary) {
				t.Errorf("the error is %v, want %q", err, row.want)
			}
			if got, _ := s.Reveal(); got != "before" {
				t.Errorf("an error changed the secret to %q", got)
			}
		})
	}
}

func TestNoPrintShowsASecret(t *testing.T) {
	t.Setenv("POSTERN_TEST_SECRET", canary)
	var byEnv Secret
	if err := read(&byEnv, "${env:POSTERN_TEST_SECRET}"); err != nil {
		t.Fatal(err)
	}
	type holder struct {
		Exported Secret
		hidden   Secret
		list     []Secret
	}
	plain := Plain(canary)
	held := holder{plain, plain, []Secret{plain, byEnv}}
	for _, v := range []any{plain, &plain, byEnv, held, &held, []Secret{plain}, map[string]Secret{"a": plain}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%p"} {
			shown := fmt.Sprintf(verb, v)
			if strings.Contains(shown, canary) || strings.Contains(strings.ToLower(shown), fmt.Sprintf("%x", canary)) {
				t.Errorf("%s of %T shows %s", verb, v, shown)
			}
		}
		if b, err := json.Marshal(v); err != nil || strings.Contains(string(b), canary) {
			t.Errorf("JSON of %T is %s, %v", v, b, err)
		}
	}
}
