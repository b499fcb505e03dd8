//go:build linux

// These are end-to-end tests: the real binary, driven as a person or a device
// drives it, between real mail clients and a real Postfix as its smarthost.
//
//	script_test.go     the command line, as scripts in testdata
//	client_test.go     swaks, msmtp, curl, smtplib and a Postfix null client
//	sasl_test.go       the same clients with SCRAM, CRAM-MD5 and certificates
//	dkim_test.go       signatures, as foreign programs verify them after a hop
//	demo_test.go       postern demo and postern send
//	devices_test.go    the inventory of devices
//	directory_test.go  people of an OpenLDAP directory (slapd)
//	refusal_test.go    what must be refused, and leaves nothing behind
//	outage_test.go     the smarthost away, the disk full or not writable
//	token_test.go      apps with OAuth tokens
//	login_test.go      the tokens of upstreams, and postern login
//	load_test.go       thousands of messages, each arrives once; kill -9
//	reload_test.go     SIGHUP and SIGTERM
//	move_test.go       backup, moving mail to another relay, drain
//	provider_test.go   from a printer through Microsoft 365 and Google, as provider-sim has them
//	doctor_test.go     what keeps an upstream from taking mail, and what to do
//	alerts_test.go     alerts for Prometheus; day_test.go: what they and the dashboards show of a day
//	secret_test.go     no output ever shows a secret
//
// The others are the stage: relay_test.go runs the binary, smarthost_test.go
// runs Postfix, exim_test.go Exim, verify_test.go those who verify signatures,
// maildir_test.go reads what is delivered, oidc_test.go runs an authorization
// server, providers_test.go provider-sim, prometheus_test.go Prometheus, promql_test.go reads queries, dialogue_test.go speaks SMTP command by command, storm_test.go is many
// clients at once.
package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const (
	testVersion = "v0.0.0-test"
	testCommit  = "0123456789abcdef"
)

// stage is what all tests share: one build, one set of keys, one smarthost.
var stage struct {
	dir     string // readable by every user, as Postfix delivers as another one
	postern string // the binary under test
}

func TestMain(m *testing.M) {
	if os.Getenv(stormEnv) != "" {
		accounts, _ := strconv.Atoi(os.Args[3])
		again, err := logInAtOnce(os.Args[1], os.Args[2], accounts)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(again)
		return
	}
	code, err := runOnStage(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "end-to-end tests:", err)
		code = 1
	}
	os.Exit(code)
}

func runOnStage(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "postern-e2e-")
	if err != nil {
		return 1, err
	}
	defer func() {
		if code == 0 {
			os.RemoveAll(dir)
		} else {
			fmt.Fprintln(os.Stderr, "end-to-end tests: files kept in", dir)
		}
	}()
	if err := os.Chmod(dir, 0o755); err != nil {
		return 1, err
	}
	stage.dir = dir
	// Without this every command built with the race detector waits a second
	// at its end for other threads' reports.
	os.Setenv("GORACE", "atexit_sleep_ms=20")
	if stage.postern, err = buildPostern(dir); err != nil {
		return 1, err
	}
	defer stopSmarthost()
	return m.Run(), nil
}

// buildPostern makes the binary under test, with the race detector when the
// tests have it.
func buildPostern(dir string) (string, error) {
	binary := filepath.Join(dir, "bin", "postern")
	args := []string{"build", "-o", binary, "-ldflags", "-X main.version=" + testVersion + " -X main.commit=" + testCommit}
	if raceDetector {
		args = append(args, "-race")
	}
	if out, err := exec.Command("go", append(args, ".")...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return binary, nil
}

// abilities are what a test may need that is no program in the path.
var abilities = map[string]ability{
	"root": {"root (Postfix delivers as another user)", func() bool { return os.Getuid() == 0 }},
	"oidc-provider": {"oidc-provider", func() bool {
		_, err := os.Stat("testdata/oidc/node_modules/oidc-provider")
		return err == nil
	}},
	"namespaces": {"the right to mount (programs are given another /etc/resolv.conf)", func() bool {
		return exec.Command("unshare", "--mount", "true").Run() == nil
	}},
}

type ability struct {
	name  string
	there func() bool
}

// needs asks for programs, or "root" or "namespaces", that a test cannot do without. Where they
// are missing the test is skipped, and says so; never so in CI.
func needs(t testing.TB, wanted ...string) {
	t.Helper()
	var missing []string
	for _, w := range wanted {
		has, special := abilities[w]
		if !special {
			has = ability{w, func() bool { _, err := exec.LookPath(w); return err == nil }}
		}
		if !has.there() {
			missing = append(missing, has.name)
		}
	}
	if missing == nil {
		return
	}
	sentence := fmt.Sprintf("%s NOT TESTED: needs %s; run 'make tools' as root, then the tests as root", t.Name(), strings.Join(missing, ", "))
	if os.Getenv("CI") == "true" {
		t.Fatal(sentence)
	}
	fmt.Fprintln(os.Stderr, "\n***", sentence)
	t.Skip(sentence)
}
