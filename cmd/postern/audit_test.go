//go:build linux

package main_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	osuser "os/user"
	"slices"
	"strings"
	"testing"
)

// Every command that acts on a running relay leaves a line in the log: which, who
// gave it, why, and whether it was refused.
func TestEveryCommandIsLogged(t *testing.T) {
	r := startRelay(t, "127.0.0.1:1", nil)
	d := r.session()
	defer d.close()
	id, _, err := d.send(newLetter("Please wait.\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	archive := t.TempDir() + "/queue.postern"
	const why = "new mailbox\x1b[2J\n{}"
	for _, row := range []audit{
		{[]string{"reload", "--reason", why}, "command", "POST /reload", false, true},
		{[]string{"upstreams", "hold", "postfix", "--for", "1h", "--reason", why}, "command", "POST /upstreams/postfix/hold?for=1h0m0s", false, true},
		{[]string{"upstreams", "hold", "nobody", "--reason", why}, "command", "POST /upstreams/nobody/hold", true, true},
		{[]string{"upstreams", "resume", "postfix", "--reason", why}, "command", "POST /upstreams/postfix/resume", false, true},
		{[]string{"queue", "drain", "--reason", why}, "command", "POST /queue/drain", false, true},
		{[]string{"queue", "drain", "--undo", "--reason", why}, "command", "DELETE /queue/drain", false, true},
		{[]string{"bans", "lift", "192.0.2.1", "printer", "--reason", why}, "command", "DELETE /bans?account=printer&client=192.0.2.1", true, true},
		{[]string{"devices", "record", user, "--no-wait"}, "recording a session", user, false, false},
		{[]string{"queue", "hold", "--reason", why}, "command", "POST /queue?do=hold", true, true},
		{[]string{"queue", "hold", id, "--reason", why}, "ordered", "hold", false, true},
		{[]string{"queue", "release", id, "--reason", why}, "ordered", "release", false, true},
		{[]string{"queue", "retry", id, "--reason", why}, "ordered", "retry", false, true},
		{[]string{"queue", "export", archive, "--move"}, "moved", id, false, false},
		{[]string{"queue", "import", archive}, "imported", id, false, false},
		{[]string{"queue", "drop", id, "--reason", why}, "ordered", "drop", false, true},
	} {
		r.audited(row, why)
	}
}

// What is uncertain is settled by a person, and the line says by whom.
func TestSettlingIsLogged(t *testing.T) {
	r := startRelay(t, "", sections{"upstreams": fmt.Sprintf(`[{name: postfix, address: %q, tls: none}]`, silent(t)), "queue": "{retry: [1h], uncertain: hold}"})
	d := r.session()
	defer d.close()
	for how, arrived := range map[string]string{"--arrived": "arrived", "--lost": "lost"} {
		id, _, err := d.send(newLetter("Did it arrive?\r\n"))
		if err != nil {
			t.Fatal(err)
		}
		await(t, "doubt", func() bool { return strings.Contains(r.trace(0, id), ": held\n") })
		r.audited(audit{[]string{"queue", "settle", id, how, "--reason", "the boss says so"}, "ordered", arrived, false, true}, "the boss says so")
	}
}

// silent is the address of a server that takes each message and never says so.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				fmt.Fprint(c, "220 silent\r\n")
				for lines := bufio.NewScanner(c); lines.Scan() && lines.Text() != "."; {
					if lines.Text() == "DATA" {
						fmt.Fprint(c, "354 go on\r\n")
					} else if verb, _, _ := strings.Cut(lines.Text(), " "); slices.Contains([]string{"EHLO", "MAIL", "RCPT"}, verb) {
						fmt.Fprint(c, "250 fine\r\n")
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// audit is a command and the line it leaves in the log.
type audit struct {
	args    []string
	msg     string // of the line, and what it says of the command
	command string
	refused bool
	why     bool
}

// audited gives a command and looks for its line.
func (r *relay) audited(row audit, why string) {
	r.t.Helper()
	who, err := osuser.Current()
	if err != nil {
		r.t.Fatal(err)
	}
	before := len(r.log.String())
	var out, errs string
	var code int
	await(r.t, "a moment in which the message is not being sent", func() bool {
		out, errs, code = postern(r.t, append(row.args, "--config", r.config)...)
		return !strings.Contains(out+errs, "being sent right now")
	})
	if (code != 0) != row.refused {
		r.t.Errorf("%q: exit code %d: %s%s", row.args, code, out, errs)
	}
	if strings.Contains(out+errs, "\x1b") {
		r.t.Errorf("%q: an escape: %q", row.args, out+errs)
	}
	for line := range strings.Lines(r.log.String()[before:]) {
		var l struct {
			Msg, Command, Do, ID, Of, User, Reason string
			Refused                                bool
		}
		if json.Unmarshal([]byte(line), &l) != nil {
			r.t.Errorf("%q: no line of the log: %q", row.args, line)
		}
		about := l.Command == row.command || l.Do == row.command || l.ID == row.command || l.Of == row.command
		if l.Msg == row.msg && about && l.User == who.Username && l.Refused == row.refused && (l.Reason == why) == row.why {
			return
		}
	}
	r.t.Errorf("%q is not in the log:\n%s", row.args, r.log.String()[before:])
}
