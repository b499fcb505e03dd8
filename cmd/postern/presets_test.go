//go:build linux

package main_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestEveryPresetIsAnEntryToStartFrom: what presets shows, with what only its
// owner knows filled in, is a sound configuration.
func TestEveryPresetIsAnEntryToStartFrom(t *testing.T) {
	dir, keys := workDir(t), needKeys(t)
	writeFile(t, filepath.Join(dir, "secret"), "canary-upstream-secret")
	writeFile(t, filepath.Join(dir, "google.json"), serviceAccount(t))
	list, err := exec.Command(stage.postern, "presets", "--json").Output()
	var all []struct {
		Name   string
		Clouds []string
	}
	if err == nil {
		err = json.Unmarshal(list, &all)
	}
	if err != nil || len(all) < 20 {
		t.Fatalf("%d presets, %v", len(all), err)
	}
	for _, p := range all {
		for _, cloud := range append([]string{""}, p.Clouds...) {
			entry, err := exec.Command(stage.postern, "presets", p.Name, "--cloud", cloud).Output()
			if err != nil {
				t.Fatal(err)
			}
			text := strings.NewReplacer("/etc/postern", dir, "REGION", "eu-west-1").Replace(string(entry))
			file := filepath.Join(dir, "config.yaml")
			writeFile(t, file, sections{
				"hostname": "relay.example.com", "data_dir": filepath.Join(dir, "data"),
				"listeners": `[{name: submission, address: "127.0.0.1:0", tls: starttls}]`,
				"tls":       "{certificates: [{certificate: " + keys.certificate + ", key: " + keys.key + "}]}",
				"accounts":  `[{name: printer, senders: ["@example.com"]}]`,
				"routes":    "[{name: default, upstreams: [" + p.Name + "]}]",
			}.String()+text)
			if out, err := exec.Command(stage.postern, "check", "--config", file).CombinedOutput(); err != nil || strings.Contains(string(out), "warning") {
				t.Errorf("%s %s: %v\n%s\nof\n%s", p.Name, cloud, err, out, text)
			}
		}
	}
}

// serviceAccount is a key file as Google gives it.
func serviceAccount(t *testing.T) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]string{"type": "service_account", "client_email": "relay@project.iam.gserviceaccount.com", "private_key_id": "1",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})), "token_uri": "https://oauth2.googleapis.com/token"})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
