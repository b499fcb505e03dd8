package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
	"time"
	"unicode"

	"postern/auth"
	"postern/relay/config"
	"postern/relay/dkim"
)

type demoCmd struct {
	Dir string `help:"Keep everything here; by default a temporary directory that is removed at the end." placeholder:"DIR"`
}

// demoSetup is what the demo's configuration and greeting are made of.
type demoSetup struct {
	Dir, Config, CA           string
	Submission, Submissions   string // addresses
	Metrics                   string
	User, Password, Hash      string
	Host, Port                string
	Program, Message, Capture string
	Temporary                 bool
}

// Run makes certificates, an account and a configuration, and serves them on
// the loopback interface.
func (d demoCmd) Run(std streams) error {
	setup := demoSetup{Dir: d.Dir, User: "printer", Program: os.Args[0]}
	if d.Dir == "" {
		dir, err := os.MkdirTemp("", "postern-demo-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		setup.Dir, setup.Temporary = dir, true
	}
	if err := setup.mayWrite(); err != nil {
		return err
	}
	if err := setup.write(); err != nil {
		return err
	}
	cfg, err := config.Load(setup.Config)
	if err != nil {
		return err
	}
	cfg.Queue.AllowVolatile = true // it is a demo, and its directory a temporary one
	return serve(cfg, setup.Config, std.err, func() { demoGreeting.Execute(std.out, &setup) })
}

// demoMark is the first line of a configuration that the demo may replace.
const demoMark = `# Written by "postern demo".`

// mayWrite refuses a directory that holds somebody's real set-up.
func (s *demoSetup) mayWrite() error {
	dir, err := filepath.Abs(s.Dir)
	if err != nil {
		return err
	}
	s.Dir, s.Config = dir, filepath.Join(dir, "config.yaml")
	text, err := os.ReadFile(s.Config)
	if err == nil && !strings.HasPrefix(string(text), demoMark) {
		return fmt.Errorf("%s is not of a demo and would be overwritten; choose another --dir", s.Config)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// write leaves in Dir all that the demo relay needs.
func (s *demoSetup) write() (err error) {
	dir := s.Dir
	s.CA, s.Capture = filepath.Join(dir, caFile), filepath.Join(dir, "data", "capture")
	if _, err := makeCertificates(dir, []string{"localhost", "127.0.0.1", "::1"}, time.Now(), 30*24*time.Hour); err != nil {
		return err
	}
	if s.Password, s.Hash, err = auth.Generate(); err != nil {
		return err
	}
	for _, port := range []struct {
		address   *string
		preferred int
	}{{&s.Submission, 2587}, {&s.Submissions, 2465}, {&s.Metrics, 9588}} {
		if *port.address, err = freeAddress(port.preferred); err != nil {
			return err
		}
	}
	if err := s.writeDKIM(); err != nil {
		return err
	}
	s.Host, s.Port, _ = net.SplitHostPort(s.Submission)
	if err := os.WriteFile(filepath.Join(dir, "password"), []byte(s.Password+"\n"), 0o600); err != nil {
		return err
	}
	f, err := os.OpenFile(s.Config, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	return demoConfig.Execute(f, s)
}

// writeDKIM makes a key that signs for the account, anew at each start.
func (s *demoSetup) writeDKIM() error {
	pair, err := dkim.Generate("example.com", "demo", dkim.RSA)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.Dir, "dkim.pem"), pair.PEM, 0o600)
}

// freeAddress is the preferred port on the loopback interface, or any free one.
func freeAddress(preferred int) (string, error) {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", preferred))
	if err != nil {
		l, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

var demoConfig = template.Must(template.New("config").Parse(demoMark + ` config.example.yaml explains every key.
hostname: demo.postern.example
data_dir: {{.File "data"}}
listeners:
  - {name: submission, address: "{{.Submission}}", tls: starttls}
  - {name: submissions, address: "{{.Submissions}}", tls: implicit}
tls:
  certificates:
    - {certificate: {{.File "server.crt"}}, key: {{.File "server.key"}}}
    - {certificate: {{.File "server-rsa.crt"}}, key: {{.File "server-rsa.key"}}}
accounts:
  - name: {{.User}}
    password_hash: "{{.Hash}}"
    senders: ["@example.com"]
    default_from: "Scanner <scan@example.com>"
upstreams:
  - {name: capture, preset: capture}
routes:
  - {name: default, upstreams: [capture]}
dkim:
  - {domain: example.com, selector: demo, key: {{.File "dkim.pem"}}, state: active}
queue: {min_free: 100MiB}
metrics: {address: "{{.Metrics}}"}
log: {format: text}
`))

// File is the path of a file in Dir, quoted for YAML.
func (s *demoSetup) File(name string) string { return strconv.Quote(filepath.Join(s.Dir, name)) }

// shell quotes a word to be pasted, if it must be.
func shell(word string) string {
	if strings.ContainsFunc(word, func(r rune) bool {
		return r != '/' && r != '.' && r != '-' && r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	}) {
		return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
	}
	return word
}

var demoGreeting = template.Must(template.New("greeting").Funcs(template.FuncMap{"shell": shell}).Parse(`
Postern is running. It keeps the mail it is given; nothing leaves this machine.

  submission   {{.Submission}} (STARTTLS), {{.Submissions}} (TLS)
  account      {{.User}}, password {{.Password}}, may send as anyone @example.com
  metrics      http://{{.Metrics}}/metrics
  files        {{.Dir}}{{if .Temporary}} (removed at the end){{end}}

Send through it from another terminal, with whichever you have:

  swaks --server {{.Host}} --port {{.Port}} --tls --auth LOGIN --auth-user {{.User}} --auth-password {{.Password}} --from scan@example.com --to you@example.org --header 'Subject: first scan'

  printf 'Subject: first scan\n\nHello.\n' | curl --ssl-reqd --cacert {{shell .CA}} --user {{.User}}:{{.Password}} --mail-from scan@example.com --mail-rcpt you@example.org --url smtp://{{.Submission}} --crlf --upload-file -

Then ask where it is, who sent it, and what would become of another:

  {{.Program}} queue list --all --config {{shell .Config}}
  ls {{shell .Capture}}
  {{.Program}} devices --config {{shell .Config}}
  {{.Program}} explain --config {{shell .Config}} --account {{.User}} --from boss@elsewhere.example --to you@example.org

Ctrl-C ends it.

`))
