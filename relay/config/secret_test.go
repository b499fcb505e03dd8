package config

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"postern/relay/upstream"
)

const (
	canary     = "kanarienvogel-7531"
	canaryHash = "$argon2id$v=19$m=19456,t=2,p=1$SRvmcfuorrcMKH1UgmyHbw$VgEYCjnp1u1ugHV6uDB5MjEnSEY5ySLbIbBNM1l7eYE"
)

const withSecrets = `
hostname: relay.example.com
data_dir: /var/lib/postern
listeners: [{name: submission, address: ":587", tls: starttls}]
tls: {certificates: [{certificate: /etc/postern/tls.crt, key: /etc/postern/tls.key}]}
accounts: [{name: printer, password_hash: "` + canaryHash + `", senders: [scan@example.com]}]
upstreams:
  - {name: plain, address: "smtp.example.com:587", username: me, password: ` + canary + `}
  - {name: env, address: "smtp.example.com:587", username: me, password: "${env:POSTERN_TEST_CANARY}"}
  - {name: file, address: "smtp.example.com:587", username: me, password: "file:/etc/postern/canary"}
  - {name: credential, address: "smtp.example.com:587", username: me, password: "${credential:canary}"}
routes: [{name: default, upstreams: [plain, env, file, credential]}]
`

// parseSecrets is a configuration with a canary in every place of a secret.
func parseSecrets(t *testing.T) *Config {
	t.Helper()
	text := withFiles(t, withSecrets)
	_, dir, _ := strings.Cut(text, "file:")
	dir, _, _ = strings.Cut(dir, "/canary")
	if err := os.WriteFile(filepath.Join(dir, "canary"), []byte(canary+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("POSTERN_TEST_CANARY", canary)
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	c, err := Parse("secrets.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range c.Routing().Upstreams {
		if got, err := u.Password.Reveal(); got != canary || err != nil {
			t.Fatalf("the password of %s is %q, %v", u.Name, got, err)
		}
	}
	return c
}

func TestNoPrintShowsASecret(t *testing.T) {
	c := parseSecrets(t)
	var prints []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		prints = append(prints, fmt.Sprintf(verb, c), fmt.Sprintf(verb, *c), fmt.Sprintf(verb, c.Upstreams), fmt.Sprintf(verb, c.Accounts[0]))
	}
	for _, marshal := range []func(any) ([]byte, error){json.Marshal, yaml.Marshal, func(any) ([]byte, error) { return c.YAML() }} {
		b, err := marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		prints = append(prints, string(b))
	}
	for _, p := range prints {
		for _, secret := range []string{canary, canaryHash, fmt.Sprintf("%x", canary), fmt.Sprintf("%x", canaryHash), "SRvmcfuorrcMKH1UgmyHbw"} {
			if strings.Contains(p, secret) {
				t.Errorf("%q is in\n%s", secret, p)
			}
		}
	}
}

func TestNoProblemShowsASecret(t *testing.T) {
	for _, place := range []string{
		"password: [" + canary + "]", "password: {a: " + canary + "}", "password: !" + canary + " x", "password: *" + canary,
		"password: &" + canary + " x", "password: '" + canary, "password: @" + canary, "password: %" + canary, "password: a: " + canary,
		"password: ${" + canary + "}", "password: [" + canary, "password: \"\\" + canary + "\"", "password: |" + canary, "password: !<" + canary,
		"password: {" + canary, canary, "password:" + canary, "password: " + canary + "\n    password: " + canary, "- " + canary, "limits: " + canary,
		"password: x\n     " + canary, "password: !!binary " + canary, "password: !" + canary + "!x y",
	} {
		_, err := Parse("f.yaml", []byte("upstreams:\n  - name: ses\n    "+place+"\n"))
		if err == nil || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: the error is %v", place, err)
		}
	}
}

func TestYAMLIsTheWholeConfiguration(t *testing.T) {
	c := parseSecrets(t)
	c.TLS.Certificates[0].Certificate, c.TLS.Certificates[0].Key = "/etc/postern/tls.crt", "/etc/postern/tls.key"
	c.Upstreams = c.Upstreams[:2]
	c.Routes[0].Upstream.Upstreams = []upstream.Group{{"plain"}, {"env"}}
	got, err := c.YAML()
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/printed.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestYAMLReadsBack(t *testing.T) {
	c, err := Parse("f.yaml", []byte(withFiles(t, sound)))
	if err != nil {
		t.Fatal(err)
	}
	first, err := c.YAML()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse("printed.yaml", first)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := again.YAML(); err != nil || string(second) != string(first) {
		t.Errorf("%v: printed\n%s\nthen\n%s", err, first, second)
	}
}
