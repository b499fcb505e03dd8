package config_test

import (
	"os"
	"path/filepath"
	"testing"

	"postern/relay/config"
)

func TestDataDirIsReadFromAFileThatIsOtherwiseWrong(t *testing.T) {
	for _, row := range []struct{ name, text, want string }{
		{"a typo elsewhere", "data_dir: /var/lib/postern\nlistenrs: []\n", "/var/lib/postern"},
		{"no data_dir", "hostname: relay.example.com\n", ""},
		{"not YAML", "data_dir: [\n", ""},
	} {
		path := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(path, []byte(row.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := config.DataDir(path)
		if got != row.want || (err == nil) != (row.want != "") {
			t.Errorf("%s: %q, %v", row.name, got, err)
		}
	}
	if _, err := config.DataDir(filepath.Join(t.TempDir(), "none.yaml")); err == nil {
		t.Error("a file that is not there gave no error")
	}
}
