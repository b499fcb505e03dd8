//go:build linux

package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

var (
	demoPassword   = regexp.MustCompile(`account +(\S+), password (\S+),`)
	demoSubmission = regexp.MustCompile(`submission +(\S+) \(STARTTLS\)`)
)

// The demo needs nothing, says how to use it, keeps the mail, and ends cleanly.
func TestDemoTakesMailAndEndsOnCtrlC(t *testing.T) {
	dir := workDir(t)
	out := new(logbook)
	cmd := exec.Command(stage.postern, "demo", "--dir", dir)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	await(t, "the demo's greeting", func() bool { return out.contains("Ctrl-C ends it.") || len(ended) > 0 })
	account := demoPassword.FindStringSubmatch(out.String())
	address := demoSubmission.FindStringSubmatch(out.String())
	if account == nil || address == nil {
		t.Fatalf("the greeting lacks account or address:\n%s", out)
	}

	send := exec.Command(stage.postern, "send", "--server", address[1], "--ca", filepath.Join(dir, "ca.pem"),
		"--user", account[1], "--password-file", filepath.Join(dir, "password"),
		"--from", "scan@example.com", "--to", "you@example.org", "--subject", "first scan")
	if said := mustRun(t, send); !strings.Contains(said, "you@example.org: accepted: 250") {
		t.Errorf("postern send says %q", said)
	}
	await(t, "the message in data/capture", func() bool {
		kept, _ := filepath.Glob(filepath.Join(dir, "data", "capture", "*"))
		for _, path := range kept {
			if text := string(readFile(t, path)); strings.Contains(text, "Subject: first scan\r\n") {
				if !strings.Contains(text, "d=example.com;") || !strings.Contains(text, "s=demo;") {
					t.Errorf("it is not signed:\n%s", text)
				}
				return true
			}
		}
		return false
	})

	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	await(t, "the demo to end", func() bool { return len(ended) > 0 })
	if err := <-ended; err != nil {
		t.Errorf("after Ctrl-C: %v\n%s", err, out)
	}
	if strings.Contains(out.String()[strings.Index(out.String(), "Ctrl-C ends it."):], account[2]) {
		t.Error("the log shows the demo's password")
	}
}

func TestSendSaysWhyNot(t *testing.T) {
	host := needSmarthost(t)
	relay := startRelay(t, host.address, nil)
	send := func(secret string, more ...string) (string, int) {
		cmd := exec.Command(stage.postern, append([]string{"send", "--server", "localhost" + relay.address.submission[strings.Index(relay.address.submission, ":"):],
			"--ca", needKeys(t).ca, "--user", user, "--from", sender}, more...)...)
		cmd.Env = append(os.Environ(), "POSTERN_PASSWORD="+secret)
		out, _ := cmd.CombinedOutput()
		mustHideSecrets(t, "postern send", string(out))
		return string(out), cmd.ProcessState.ExitCode()
	}
	if said, code := send(password+"-not", "--to", recipient); code != 1 || !strings.Contains(said, "535") {
		t.Errorf("a wrong password: exit code %d, %q", code, said)
	}
	if said, code := send(password, "--to", "you@elsewhere.example"); code != 1 || !strings.Contains(said, "550") {
		t.Errorf("a forbidden recipient: exit code %d, %q", code, said)
	}
	if said, code := send(password, "--to", "not an address"); code != 2 {
		t.Errorf("no address: exit code %d, %q", code, said)
	}
	if said, code := send(password, "--to", recipient); code != 0 || !strings.Contains(said, "accepted: 250") {
		t.Errorf("a good one: exit code %d, %q", code, said)
	}
}
