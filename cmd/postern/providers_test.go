//go:build linux

package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// providers is a running provider-sim, which the relay is not told is none of the
// real ones.
type providers struct {
	t       testing.TB
	dir     string
	address map[string]string
	log     *logbook
}

// buildProviders makes the binary for the first test that asks.
var buildProviders = sync.OnceValues(func() (string, error) {
	binary := filepath.Join(stage.dir, "bin", "provider-sim")
	out, err := exec.Command("go", "build", "-o", binary, "../provider-sim").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return binary, nil
})

// startProviders runs one until the test ends; world replaces parts of the usual.
func startProviders(t testing.TB, minute, world string) *providers {
	t.Helper()
	binary, err := buildProviders()
	if err != nil {
		t.Fatal(err)
	}
	p := &providers{t: t, dir: workDir(t), log: new(logbook)}
	file := filepath.Join(p.dir, "world.yaml")
	writeFile(t, file, world)
	cmd := exec.Command(binary, "--dir", p.dir, "--minute", minute, "--control", "127.0.0.1:0", "--world", file)
	cmd.Stdout, cmd.Stderr = p.log, p.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		<-ended
		if t.Failed() {
			t.Logf("the end of what the providers said:\n%s", p.log.tail(40))
		}
	})
	await(t, "the providers to be there", func() bool {
		select {
		case <-ended:
			t.Fatalf("the providers have ended:\n%s", p.log)
		default:
		}
		return p.log.contains("Ctrl-C ends it")
	})
	if err := json.Unmarshal(readFile(t, filepath.Join(p.dir, "addresses.json")), &p.address); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *providers) file(name string) string { return filepath.Join(p.dir, name) }

// control makes a request to the control API and reads the answer into into.
func (p *providers) control(method, path, body string, into any) {
	p.t.Helper()
	req, err := http.NewRequest(method, "http://"+p.address["control"]+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode == http.StatusOK && into != nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil || resp.StatusCode != http.StatusOK {
		p.t.Fatalf("%s %s: %s, %v: %s", method, path, resp.Status, err, text)
	}
}

// fault has something go wrong until mend.
func (p *providers) fault(body string) {
	p.t.Helper()
	p.control("POST", "/faults", body, nil)
}

func (p *providers) mend() {
	p.t.Helper()
	p.control("DELETE", "/faults", "", nil)
}

// sent is a message a provider has accepted.
type sent struct {
	Provider, Mailbox, From, File string
	To                            []string
	HeaderFrom                    string `json:"header_from"`
	MessageID                     string `json:"message_id"`
}

func (p *providers) messages() []sent {
	p.t.Helper()
	var list []sent
	p.control("GET", "/messages", "", &list)
	return list
}

// count is how often something happened, such as "microsoft-smtp accepted".
func (p *providers) count(what string) int {
	p.t.Helper()
	var stats struct{ Counts map[string]int }
	p.control("GET", "/stats", "", &stats)
	return stats.Counts[what]
}

// Who is who in the usual world.
const (
	simTenant      = "8d6a1f1e-55d3-4c5e-9a3c-0c1d2e3f4a5b"
	simApp         = "3f0c2b1a-1111-4222-8333-444455556666"
	simRightless   = "3f0c2b1a-2222-4222-8333-444455556666"
	simGraphTenant = "8d6a1f1e-66e4-4c5e-9a3c-0c1d2e3f4a5b"
	simGraphApp    = "3f0c2b1a-4444-4222-8333-444455556666"
	simPassword    = "sim-mailbox-5ac1e7"
)

// microsoft365 is an upstream that logs in by client credentials; more is added
// to it, and oauth to its section of that name.
func (p *providers) microsoft365(name, mailbox, app, secret, more string) string {
	return fmt.Sprintf(`
  - name: %s
    preset: microsoft365
    address: "%s"
    ca: %s
    mailbox: %s
    oauth: {flow: client_credentials, tenant: %s, client_id: %s, client_secret: %s, ca: %s,
      token_url: "https://%s/%s/oauth2/v2.0/token"}%s`,
		name, p.address["microsoft-smtp"], p.file("ca.pem"), mailbox, simTenant, app, secret, p.file("ca.pem"), p.address["microsoft-login"], simTenant, more)
}

// graph is an upstream for a tenant whose SMTP AUTH is off.
func (p *providers) graph(name string) string {
	return fmt.Sprintf(`
  - name: %s
    preset: microsoft365-graph
    address: "https://%s"
    ca: %s
    mailbox: relay@graph.example
    oauth: {flow: client_credentials, tenant: %s, client_id: %s, client_secret: sim-secret-for-graph, ca: %s,
      token_url: "https://%s/%s/oauth2/v2.0/token"}`,
		name, p.address["graph"], p.file("ca.pem"), simGraphTenant, simGraphApp, p.file("ca.pem"), p.address["microsoft-login"], simGraphTenant)
}

// google is an upstream of a service account, by SMTP (preset gmail) or the API.
func (p *providers) google(name, preset, mailbox, more string) string {
	address := p.address["gmail-smtp"]
	if preset == "gmail-api" {
		address = "https://" + p.address["gmail-api"]
	}
	return fmt.Sprintf(`
  - name: %s
    preset: %s
    address: "%s"
    ca: %s
    mailbox: %s
    oauth: {flow: service_account, service_account: "file:%s", ca: %s, token_url: "https://%s/token"}%s`,
		name, preset, address, p.file("ca.pem"), mailbox, p.file("google-relay.json"), p.file("ca.pem"), p.address["google-login"], more)
}

// withPassword is an SMTP upstream that logs in by password.
func (p *providers) withPassword(name, preset, service, user, password string) string {
	mailbox := ""
	if strings.Contains(user, "@") {
		mailbox = ", mailbox: " + user
	}
	return fmt.Sprintf(`
  - {name: %s, preset: %s, address: "%s", ca: %s, username: %s, password: "%s"%s}`,
		name, preset, p.address[service], p.file("ca.pem"), user, password, mailbox)
}

// through is a relay whose one route leads through an upstream named "way".
func (p *providers) through(t testing.TB, upstream string, over sections) *relay {
	t.Helper()
	return startRelay(t, "127.0.0.1:1", sections{
		"upstreams": upstream,
		"routes":    "[{name: default, upstreams: [way]}]",
		"accounts":  fmt.Sprintf("\n  - {name: %s, password_hash: \"%s\", senders: [\"@example.com\", \"@graph.example\", \"@workspace.example\"]}", user, needHash(t)),
	}.with(over))
}

// letterOf is a message of a mailbox.
func letterOf(from string) letter {
	l := newLetter("A scan.\r\n")
	l.data = []byte(strings.ReplaceAll(string(l.data), l.from, from))
	l.from = from
	return l
}

// content is a message as the provider would send it on.
func (m sent) content(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(m.File)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
