package setting

import "testing"

func TestMeant(t *testing.T) {
	known := []string{"name", "senders", "data_dir", "certificates", "tls", "size", "workspace-relay"}
	for word, want := range map[string]string{
		"sender": "senders", "Senders": "senders", "data-dir": "data_dir", "data dir": "data_dir", "nmae": "", "nam": "name", "cert": "certificates",
		"tsl": "", "ssl": "", "password": "", "": "", "si": "", "workspace_relai": "workspace-relay",
	} {
		if got := Meant(word, known); got != want {
			t.Errorf("Meant(%q) = %q, want %q", word, got, want)
		}
	}
}
