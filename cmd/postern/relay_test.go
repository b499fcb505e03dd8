//go:build linux

package main_test

import (
	"bytes"
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

// relay is a running "postern serve".
type relay struct {
	t       testing.TB
	dir     string
	config  string // path of config.yaml
	address addresses
	cmd     *exec.Cmd
	log     *logbook
	exited  chan struct{} // closed when the process has ended
}

type addresses struct{ submission, submissions, metrics string }

// prepareRelay writes a configuration; over replaces sections of the usual one.
func prepareRelay(t testing.TB, upstreamAddress string, over sections) *relay {
	t.Helper()
	r := &relay{t: t, dir: workDir(t), log: new(logbook)}
	r.config = filepath.Join(r.dir, "config.yaml")
	r.address = addresses{freeAddress(t), freeAddress(t), freeAddress(t)}
	r.write(usualConfig(t, r, upstreamAddress).with(over))
	t.Cleanup(r.leave)
	return r
}

// startRelay runs one until the test ends.
func startRelay(t testing.TB, upstreamAddress string, over sections) *relay {
	t.Helper()
	r := prepareRelay(t, upstreamAddress, over)
	r.start()
	return r
}

// start runs the relay until it says that it has started.
func (r *relay) start() {
	r.t.Helper()
	before := r.log.count("started")
	r.launch(nil)
	await(r.t, "the relay to start", func() bool {
		if !r.running() {
			r.t.Fatalf("the relay ended at its start:\n%s", r.log)
		}
		return r.log.count("started") > before
	})
}

// launch runs the relay and does not wait for it.
func (r *relay) launch(as *syscall.Credential) {
	r.t.Helper()
	r.cmd = exec.Command(stage.postern, "serve", "--config", r.config)
	r.cmd.Stdout, r.cmd.Stderr = r.log, r.log
	// Should the tests die, it dies with them.
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as, Pdeathsig: syscall.SIGKILL}
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		cmd.Wait()
		close(exited)
	}(r.cmd, r.exited)
}

func (r *relay) running() bool {
	select {
	case <-r.exited:
		return false
	default:
		return true
	}
}

func (r *relay) signal(s os.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.t.Fatal(err)
	}
}

// stop ends the relay in the orderly way and returns its exit code.
func (r *relay) stop() int {
	r.t.Helper()
	r.signal(syscall.SIGTERM)
	return r.wait()
}

// kill ends the relay as a power cut would.
func (r *relay) kill() {
	r.t.Helper()
	r.signal(syscall.SIGKILL)
	r.wait()
}

// wait waits for the end of the relay and returns its exit code.
func (r *relay) wait() int {
	r.t.Helper()
	await(r.t, "the relay to end", func() bool { return !r.running() })
	return r.cmd.ProcessState.ExitCode()
}

// leave stops the relay at the end of a test, and looks at what it has said.
func (r *relay) leave() {
	if r.cmd != nil && r.running() {
		if code := r.stop(); code != 0 {
			r.t.Errorf("the relay's exit code after SIGTERM is %d, want 0", code)
		}
	}
	if r.log.contains("DATA RACE") || r.log.contains("panic:") || r.log.contains("goroutine ") {
		r.t.Errorf("the relay broke; its log is above")
	}
	mustHideSecrets(r.t, "the log of the relay", r.log.String())
	if r.t.Failed() {
		r.t.Logf("%s\nlog of the relay, its end:\n%s", r.config, r.log.tail(60))
	}
}

// postern runs another command of the binary and returns what it prints.
func postern(t testing.TB, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.Command(stage.postern, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	mustHideSecrets(t, "postern "+strings.Join(args, " "), out.String()+errs.String())
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// queued is an entry of "queue list --json".
type queued struct {
	ID string `json:"id"`
}

// queue lists the messages that are still to be delivered.
func (r *relay) queue() []queued {
	r.t.Helper()
	out, errs, code := postern(r.t, "queue", "list", "--json", "--config", r.config)
	if code != 0 {
		r.t.Fatalf("queue list: exit code %d: %s", code, errs)
	}
	var list []queued
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		r.t.Fatalf("queue list: %v\n%s", err, out)
	}
	return list
}

// show is "queue show ID --json" as it is.
func (r *relay) show(id string) string {
	r.t.Helper()
	out, errs, code := postern(r.t, "queue", "show", id, "--json", "--config", r.config)
	if code != 0 {
		r.t.Fatalf("queue show %s: exit code %d: %s", id, code, errs)
	}
	return out
}

// get reads a page of the metrics listener.
func (r *relay) get(path string) (body string, status int) {
	r.t.Helper()
	resp, err := http.Get("http://" + r.address.metrics + path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	mustHideSecrets(r.t, path, string(b))
	return string(b), resp.StatusCode
}

// logbook keeps all that a process prints.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logbook) contains(s string) bool { return strings.Contains(l.String(), s) }

// count is the number of log lines with that message.
func (l *logbook) count(msg string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Count(l.text.Bytes(), fmt.Appendf(nil, `"msg":%q`, msg))
}

func (l *logbook) tail(n int) string {
	lines := strings.Split(strings.TrimSpace(l.String()), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
