//go:build linux

package main_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// exim is a second kind of next hop: it takes all mail in clear, with the
// smarthost's login or without, and keeps it in a Maildir. It cannot be installed beside Postfix, so it is run from the
// directory into which "make tools" took its package apart.
type exim struct {
	address string
	dir     string
}

// needExim starts one that runs until the test ends.
func needExim(t testing.TB) *exim {
	t.Helper()
	program, err := filepath.Abs("../../.tools/exim4/usr/sbin/exim4")
	if err != nil {
		t.Fatal(err)
	}
	needs(t, "root", "namespaces", program)
	e := &exim{address: freeAddress(t), dir: workDir(t)}
	_, port, _ := strings.Cut(e.address, ":")
	writeFile(t, filepath.Join(e.dir, "exim.conf"), fmt.Sprintf(eximConf, e.dir, port, upstreamUser, upstreamPassword))
	for _, name := range []string{"passwd", "group"} { // Exim insists on a user of its own
		user := "Debian-exim:x:65533:65533::/nonexistent:/usr/sbin/nologin\n"
		if name == "group" {
			user = "Debian-exim:x:65533:\n"
		}
		writeFile(t, filepath.Join(e.dir, name), string(readFile(t, "/etc/"+name))+user)
	}
	mustMkdir(t, filepath.Join(e.dir, "run"))
	mustRun(t, exec.Command("chown", "65533:65533", filepath.Join(e.dir, "run")))
	cmd := exec.Command("unshare", "--mount", "sh", "-c",
		`mount --bind "$0/passwd" /etc/passwd && mount --bind "$0/group" /etc/group && exec "$1" -C "$0/exim.conf" -bdf`, e.dir, program)
	said := new(logbook)
	cmd.Stdout, cmd.Stderr = said, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	await(t, "Exim to listen on "+e.address+"; its log is in "+e.dir, func() bool {
		if cmd.Process.Signal(syscall.Signal(0)) != nil {
			t.Fatalf("Exim ended: %s", said)
		}
		return listening(e.address)
	})
	return e
}

const eximConf = `
primary_hostname = exim.example.com
spool_directory = %[1]s/run
log_file_path = %[1]s/run/%%slog
pid_file_path = %[1]s/run/exim.pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = %[2]s
deliver_drop_privilege = true
tls_advertise_hosts =
host_lookup =
rfc1413_query_timeout = 0s
keep_environment =
acl_smtp_rcpt = accept
acl_smtp_data = accept
message_size_limit = 100M
dkim_verify_signers =
begin authenticators
login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = Username:: : Password::
  server_condition = ${if and{{eq{$auth1}{%[3]s}}{eq{$auth2}{%[4]s}}}}
  server_set_id = $auth1
begin routers
all:
  driver = accept
  transport = maildir
begin transports
maildir:
  driver = appendfile
  directory = %[1]s/run/mail
  maildir_format
  create_directory
begin retry
* * F,1h,1s
`

// await waits for a message and returns what Exim made of it, with CRLF line
// ends.
func (e *exim) await(t testing.TB, messageID string) []byte {
	t.Helper()
	var found []byte
	await(t, "message "+messageID+" to arrive at Exim; its log is in "+e.dir, func() bool {
		kept, _ := filepath.Glob(filepath.Join(e.dir, "run", "mail", "new", "*"))
		for _, path := range kept {
			text, err := os.ReadFile(path)
			if err == nil && bytes.Contains(text, []byte(messageID)) {
				found = bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))
			}
		}
		return found != nil
	})
	return found
}
