//go:build linux

package main_test

import (
	"strings"
	"testing"
)

// What a person holds takes nothing, and everybody is told why, until it is
// resumed; a restart changes nothing of that.
func TestAnUpstreamIsHeldAndResumed(t *testing.T) {
	host := needSmarthost(t)
	relay := startRelay(t, host.address, nil)
	config := relay.config
	command := func(want int, args ...string) string {
		t.Helper()
		stdout, stderr, code := postern(t, append(args, "--config", config)...)
		if code != want {
			t.Fatalf("%q: exit code %d, want %d: %s%s", args, code, want, stdout, stderr)
		}
		return stdout
	}
	table := command(0, "upstreams")
	name := strings.Fields(strings.Split(table, "\n")[1])[0]
	command(0, "upstreams", "hold", name, "--reason", "new mailbox")
	relay.stop()
	relay.start()
	if out := command(1, "upstreams"); !strings.Contains(out, "held") || !strings.Contains(out, "postern upstreams resume "+name) {
		t.Errorf("it is not shown:\n%s", out)
	}
	l := newLetter("Later.\r\n")
	id, _, err := relay.session().send(l)
	if err != nil {
		t.Fatal(err)
	}
	const why = "is held until it is resumed"
	if out := command(0, "queue", "list"); !strings.Contains(out, "waiting: "+name+" "+why) {
		t.Errorf("queue list does not say why:\n%s", out)
	}
	if out := command(0, "queue", "show", id); !strings.Contains(out, why) {
		t.Errorf("queue show does not say why:\n%s", out)
	}
	command(0, "upstreams", "resume", name)
	mustBeIntact(t, l, host.mail.await(t, l.id))
	command(0, "upstreams", "--json")
	if log := relay.log.String(); !strings.Contains(log, "POST /upstreams/"+name+"/hold") {
		t.Error("who held it is not in the log")
	}
}
