//go:build linux

package main_test

import (
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const (
	user     = "printer"
	password = "canary-device-7f3a9c51d2e8"
	sender   = "scan@example.com"
)

// sections are the top-level keys of a configuration and their YAML. A value
// of "-" leaves the section out.
type sections map[string]string

func (s sections) with(over sections) sections {
	all := maps.Clone(s)
	maps.Copy(all, over)
	return all
}

func (s sections) String() string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(s)) {
		if s[key] != "-" {
			fmt.Fprintf(&b, "%s: %s\n", key, s[key])
		}
	}
	return b.String()
}

// write makes c the relay's configuration.
func (r *relay) write(c sections) {
	r.t.Helper()
	writeFile(r.t, r.config, c.String())
}

// usualConfig is what most tests run: both kinds of TLS, one account, one
// smarthost that wants TLS and a password, and a short wait between attempts.
func usualConfig(t testing.TB, r *relay, upstreamAddress string) sections {
	t.Helper()
	keys := needKeys(t)
	return sections{
		"hostname": "relay.example.com",
		"data_dir": filepath.Join(r.dir, "data"),
		"listeners": fmt.Sprintf(`
  - {name: submission, address: "%s", tls: starttls}
  - {name: submissions, address: "%s", tls: implicit}`, r.address.submission, r.address.submissions),
		"tls": fmt.Sprintf(`
  certificates:
    - {certificate: %s, key: %s}
    - {certificate: %s, key: %s}`, keys.certificate, keys.key, keys.rsaCertificate, keys.rsaKey),
		"accounts": "\n" + account(user, needHash(t)),
		"upstreams": fmt.Sprintf(`
  - {name: postfix, address: "%s", tls: starttls, ca: %s, username: %s, password: %s}`, upstreamAddress, keys.ca, upstreamUser, upstreamPassword),
		"routes":  "[{name: default, upstreams: [postfix]}]",
		"queue":   "{retry: [1s], min_free: 1MiB}",
		"metrics": fmt.Sprintf(`{address: "%s"}`, r.address.metrics),
	}
}

// account is an entry of accounts that may send as anyone of example.com, to
// the smarthost's own domain only.
func account(name, hash string) string {
	return fmt.Sprintf("  - {name: %s, password_hash: \"%s\", senders: [\"@example.com\"], recipients: [\"@mail.example.com\"]}\n", name, hash)
}

// keys are the files "postern cert" makes.
type keys struct{ ca, certificate, key, rsaCertificate, rsaKey string }

func makeKeys(t testing.TB, dir string) keys {
	t.Helper()
	mustRun(t, exec.Command(stage.postern, "cert", "--dir", dir, "--name", "localhost", "--name", "127.0.0.1"))
	in := func(name string) string { return filepath.Join(dir, name) }
	return keys{in("ca.pem"), in("server.crt"), in("server.key"), in("server-rsa.crt"), in("server-rsa.key")}
}

// Keys and the hash of the one password are made by the binary, once.
var made struct {
	sync.Mutex
	keys *keys
	hash string
}

func needKeys(t testing.TB) keys {
	t.Helper()
	made.Lock()
	defer made.Unlock()
	if made.keys == nil {
		k := makeKeys(t, filepath.Join(stage.dir, "keys"))
		made.keys = &k
	}
	return *made.keys
}

func needHash(t testing.TB) string {
	t.Helper()
	made.Lock()
	defer made.Unlock()
	if made.hash == "" {
		made.hash = hashOf(t, password)
	}
	return made.hash
}

func hashOf(t testing.TB, password string) string {
	t.Helper()
	cmd := exec.Command(stage.postern, "hash")
	cmd.Stdin = strings.NewReader(password + "\n")
	return strings.TrimSpace(mustRun(t, cmd))
}
