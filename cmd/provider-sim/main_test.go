//go:build linux

// These tests run the binary and speak to it with clients that know nothing of
// Postern: smtplib and urllib of Python, swaks and curl. They hold the simulated
// providers against what is known of the real ones.
package main_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "provider-sim-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Setenv("GORACE", "atexit_sleep_ms=20")
	binary = filepath.Join(dir, "provider-sim")
	args := []string{"build", "-o", binary}
	if raceDetector {
		args = append(args, "-race")
	}
	if out, err := exec.Command("go", append(args, ".")...).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// needs skips a test whose programs are missing, and says so; never in CI.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err == nil {
			continue
		}
		sentence := fmt.Sprintf("%s NOT TESTED: needs %s; run 'make tools' as root", t.Name(), p)
		if os.Getenv("CI") == "true" {
			t.Fatal(sentence)
		}
		fmt.Fprintln(os.Stderr, "\n***", sentence)
		t.Skip(sentence)
	}
}

// sim is a running simulation.
type sim struct {
	t       *testing.T
	dir     string
	address map[string]string
}

// startSim runs one until the test ends; world replaces parts of the usual one.
func startSim(t *testing.T, minute, world string) *sim {
	t.Helper()
	needs(t, "python3")
	s := &sim{t: t, dir: t.TempDir()}
	args := []string{"--dir", s.dir, "--minute", minute, "--control", "127.0.0.1:0"}
	if world != "" {
		file := filepath.Join(s.dir, "world.yaml")
		if err := os.WriteFile(file, []byte(world), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--world", file)
	}
	cmd := exec.Command(binary, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var log logbook
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		io.Copy(io.Discard, out)
		if err := cmd.Wait(); err != nil {
			t.Errorf("provider-sim did not end well: %v", err)
		}
		if t.Failed() || strings.Contains(log.String(), "DATA RACE") || strings.Contains(log.String(), "panic:") {
			t.Errorf("provider-sim said:\n%s", log.String())
		}
	})
	s.awaitGreeting(out, &log)
	text, err := os.ReadFile(filepath.Join(s.dir, "addresses.json"))
	if err == nil {
		err = json.Unmarshal(text, &s.address)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// awaitGreeting reads what is printed up to its last line.
func (s *sim) awaitGreeting(out io.Reader, log *logbook) {
	s.t.Helper()
	var said strings.Builder
	b := make([]byte, 4096)
	for !strings.Contains(said.String(), "Ctrl-C ends it") {
		n, err := out.Read(b)
		said.Write(b[:n])
		if err != nil {
			s.t.Fatalf("provider-sim ended: %v\n%s%s", err, said.String(), log.String())
		}
	}
}

// logbook is what a process prints, read while it does.
type logbook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logbook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// control makes a request to the control API; the answer is read into into.
func (s *sim) control(method, path, body string, into any) {
	s.t.Helper()
	req, err := http.NewRequest(method, "http://"+s.address["control"]+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		s.t.Fatalf("%s %s: %s: %v %s", method, path, resp.Status, err, text)
	}
	if into != nil {
		if err := json.Unmarshal(text, into); err != nil {
			s.t.Fatal(err)
		}
	}
}

// message is what the simulation has kept.
type message struct {
	ID, Provider, Mailbox, From string
	To                          []string
	HeaderFrom                  string `json:"header_from"`
	MessageID                   string `json:"message_id"`
	SentItems                   bool   `json:"sent_items"`
}

func (s *sim) messages() []message {
	s.t.Helper()
	var list []message
	s.control("GET", "/messages", "", &list)
	return list
}

// content is a message as it was sent on.
func (s *sim) content(id string) string {
	s.t.Helper()
	resp, err := http.Get("http://" + s.address["control"] + "/messages/" + id)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

// client is a process of testdata/client.py.
type client struct {
	mu  sync.Mutex
	in  io.WriteCloser
	out *bufio.Reader
	cmd *exec.Cmd
}

// theClient is for all requests that are answered; starting one takes long.
var theClient = sync.OnceValues(startClient)

func startClient() (*client, error) {
	c := &client{cmd: exec.Command("python3", "testdata/client.py")}
	c.cmd.Stderr = os.Stderr
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	c.in, c.out = in, bufio.NewReader(out)
	return c, errors.Join(err, c.cmd.Start())
}

// response is what the client answers.
type response struct {
	Said  [][3]any
	Error string
	answer
}

func (c *client) ask(request []byte) (r response, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err = c.in.Write(append(request, '\n')); err != nil {
		return r, err
	}
	line, err := c.out.ReadBytes('\n')
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return r, err
	}
	if r.Error != "" {
		err = errors.New(r.Error)
	}
	return r, err
}

// request is args as the client reads them.
func (s *sim) request(kind string, args map[string]any) []byte {
	args["kind"], args["ca"] = kind, filepath.Join(s.dir, "ca.pem")
	b, err := json.Marshal(args)
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

// python has the client make a request.
func (s *sim) python(kind string, args map[string]any) (response, error) {
	s.t.Helper()
	c, err := theClient()
	if err != nil {
		s.t.Fatal(err)
	}
	return c.ask(s.request(kind, args))
}

// leave has a client of its own make a request that nobody waits for.
func (s *sim) leave(kind string, args map[string]any) (answered <-chan error) {
	s.t.Helper()
	c, err := startClient()
	if err != nil {
		s.t.Fatal(err)
	}
	request, done := s.request(kind, args), make(chan error, 1)
	go func() {
		_, err := c.ask(request)
		done <- err
	}()
	s.t.Cleanup(func() {
		c.cmd.Process.Kill()
		c.cmd.Wait()
	})
	return done
}

// letter is SMTP for the client: what a row does not say is the usual.
func (s *sim) letter(service string, more map[string]any) map[string]any {
	args := map[string]any{
		"address": s.address[service], "from": "relay@example.com", "to": []string{"you@example.org"},
		"message": "From: relay@example.com\r\nTo: you@example.org\r\nSubject: a\r\n\r\nHello.\r\n",
	}
	for name, value := range more {
		args[name] = value
	}
	return args
}

// smtp is what the client was told, "step code text" a line.
func (s *sim) smtp(service string, more map[string]any) string {
	s.t.Helper()
	r, err := s.python("smtp", s.letter(service, more))
	if err != nil {
		s.t.Fatalf("%v\n%s", err, r.transcript())
	}
	return r.transcript()
}

func (r response) transcript() string {
	var b strings.Builder
	for _, said := range r.Said {
		fmt.Fprintln(&b, said[0], said[1], said[2])
	}
	return b.String()
}

// answer is one of HTTP.
type answer struct {
	Status  int
	Headers map[string]string
	Body    string
}

// http makes a request with the client.
func (s *sim) http(method, url string, headers map[string]string, body string) answer {
	s.t.Helper()
	args := map[string]any{"method": method, "url": url, "headers": headers}
	if method != "GET" && method != "DELETE" {
		args["body"] = body
	}
	r, err := s.python("http", args)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, url, err)
	}
	return r.answer
}

func (a answer) json(t *testing.T) map[string]any {
	t.Helper()
	m := map[string]any{}
	if err := json.Unmarshal([]byte(a.Body), &m); err != nil {
		t.Fatalf("%d %s: %v", a.Status, a.Body, err)
	}
	return m
}

// Who is who in the usual world.
const (
	tenant       = "8d6a1f1e-55d3-4c5e-9a3c-0c1d2e3f4a5b"
	gateway      = "3f0c2b1a-1111-4222-8333-444455556666"
	secret       = "sim-secret-of-the-gateway"
	rightless    = "3f0c2b1a-2222-4222-8333-444455556666"
	publicApp    = "3f0c2b1a-3333-4222-8333-444455556666"
	graphTenant  = "8d6a1f1e-66e4-4c5e-9a3c-0c1d2e3f4a5b"
	graphApp     = "3f0c2b1a-4444-4222-8333-444455556666"
	exchange     = "https://outlook.office365.com/.default"
	graphDefault = "https://graph.microsoft.com/.default"
)

// microsoft posts a form to an endpoint of a tenant.
func (s *sim) microsoft(tenant, endpoint string, form url.Values) answer {
	s.t.Helper()
	return s.http("POST", "https://"+s.address["microsoft-login"]+"/"+tenant+"/oauth2/v2.0/"+endpoint,
		map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, form.Encode())
}

// appToken is one by client credentials.
func (s *sim) appToken(tenant, client, secret, scope string) string {
	s.t.Helper()
	a := s.microsoft(tenant, "token", url.Values{"grant_type": {"client_credentials"}, "client_id": {client}, "client_secret": {secret}, "scope": {scope}})
	token, _ := a.json(s.t)["access_token"].(string)
	if token == "" {
		s.t.Fatalf("no token: %d %s", a.Status, a.Body)
	}
	return token
}

// must wants every fragment in text, in this order.
func must(t *testing.T, text string, fragments ...string) {
	t.Helper()
	rest := text
	for _, f := range fragments {
		_, after, ok := strings.Cut(rest, f)
		if !ok {
			t.Errorf("%q is missing in:\n%s", f, text)
			return
		}
		rest = after
	}
}

// await asks until happened says yes.
func await(t *testing.T, what string, happened func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !happened() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		<-tick.C
	}
}
