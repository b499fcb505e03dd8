//go:build linux

package main_test

import (
	"encoding/json"
	osuser "os/user"
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
	who, err := osuser.Current()
	if err != nil {
		t.Fatal(err)
	}
	archive := t.TempDir() + "/queue.postern"
	const why = "new mailbox\x1b[2J\n{}"
	for _, row := range []struct {
		args    []string
		msg     string // of the line, and what it says of the command
		command string
		refused bool
		why     bool
	}{
		{[]string{"reload", "--reason", why}, "command", "POST /reload", false, true},
		{[]string{"upstreams", "hold", "postfix", "--for", "1h", "--reason", why}, "command", "POST /upstreams/postfix/hold?for=1h0m0s", false, true},
		{[]string{"upstreams", "hold", "nobody", "--reason", why}, "command", "POST /upstreams/nobody/hold", true, true},
		{[]string{"upstreams", "resume", "postfix", "--reason", why}, "command", "POST /upstreams/postfix/resume", false, true},
		{[]string{"queue", "drain", "--reason", why}, "command", "POST /queue/drain", false, true},
		{[]string{"queue", "drain", "--undo", "--reason", why}, "command", "DELETE /queue/drain", false, true},
		{[]string{"bans", "lift", "192.0.2.1", "printer", "--reason", why}, "command", "DELETE /bans?account=printer&client=192.0.2.1", true, true},
		{[]string{"devices", "record", user, "--no-wait"}, "recording a session", user, false, false},
		{[]string{"queue", "hold", id, "--reason", why}, "ordered", "hold", false, true},
		{[]string{"queue", "release", id, "--reason", why}, "ordered", "release", false, true},
		{[]string{"queue", "retry", id, "--reason", why}, "ordered", "retry", false, true},
		{[]string{"queue", "export", archive, "--move"}, "moved", id, false, false},
		{[]string{"queue", "import", archive}, "imported", id, false, false},
		{[]string{"queue", "drop", id, "--reason", why}, "ordered", "drop", false, true},
	} {
		before := len(r.log.String())
		out, errs, code := postern(t, append(row.args, "--config", r.config)...)
		if (code != 0) != row.refused {
			t.Errorf("%q: exit code %d: %s%s", row.args, code, out, errs)
		}
		if strings.Contains(out+errs, "\x1b") {
			t.Errorf("%q: an escape: %q", row.args, out+errs)
		}
		found := false
		for line := range strings.Lines(r.log.String()[before:]) {
			var l struct {
				Msg, Command, Do, ID, Of, User, Reason string
				Refused                                bool
			}
			if json.Unmarshal([]byte(line), &l) != nil {
				t.Errorf("%q: no line of the log: %q", row.args, line)
			}
			about := l.Command == row.command || l.Do == row.command || l.ID == row.command || l.Of == row.command
			found = found || l.Msg == row.msg && about && l.User == who.Username && l.Refused == row.refused && (l.Reason == why) == row.why
		}
		if !found {
			t.Errorf("%q is not in the log:\n%s", row.args, r.log.String()[before:])
		}
	}
}
