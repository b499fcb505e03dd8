//go:build linux

package main_test

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"postern/relay/queue"
)

// export is what "queue export --json" says.
type export struct {
	Messages int `json:"messages"`
	Left     []struct{ ID, Why string }
}

// export writes an archive, from which nothing may be missing but what was being
// sent in that moment.
func (r *relay) export(file string, flags ...string) (done export) {
	r.t.Helper()
	out, errs, _ := postern(r.t, append([]string{"queue", "export", file, "--json", "--config", r.config}, flags...)...)
	if err := json.Unmarshal([]byte(out), &done); err != nil {
		r.t.Fatalf("queue export: %v: %s%s", err, out, errs)
	}
	for _, l := range done.Left {
		if !strings.Contains(l.Why, "being sent") && !strings.Contains(l.Why, "ended") {
			r.t.Errorf("%s was left: %s", l.ID, l.Why)
		}
	}
	return done
}

// imported is what "queue import --json" says.
type imported struct{ Messages, Taken, Present, Held int }

func (r *relay) importFile(file string) (done imported) {
	r.t.Helper()
	out, errs, code := postern(r.t, "queue", "import", file, "--json", "--config", r.config)
	if err := json.Unmarshal([]byte(out), &done); code != 0 || err != nil {
		r.t.Fatalf("queue import: exit code %d, %v: %s%s", code, err, out, errs)
	}
	return done
}

// While clients keep sending to a relay whose smarthost is away, what waits there
// moves to another, whose smarthost is away too at first. Each message that was
// accepted arrives, and once.
func TestMessagesMoveWhileMailFlows(t *testing.T) {
	host := needSmarthost(t)
	many := int64(times("POSTERN_MOVED", 300, 300)) // "make durability" moves 10,000
	here, there := newGate(t, host.address), newGate(t, host.address)
	first, second := startRelay(t, here.address, nil), startRelay(t, there.address, nil)
	s := startStorm(t, first, host, 4, 0)
	await(t, "some mail", func() bool { return s.accepted.Load() > many/4 })
	for s.accepted.Load() < many { // each wait is bounded, and their number is not
		next := min(many, s.accepted.Load()+many/10)
		await(t, "more mail", func() bool { return s.accepted.Load() >= next })
	}
	before := s.accepted.Load()
	file := filepath.Join(workDir(t), "queue.tar.gz")
	moved := first.export(file, "--move")
	if s.accepted.Load() == before {
		t.Error("no mail flowed while it moved")
	}
	if int64(moved.Messages+len(moved.Left)) < many {
		t.Errorf("%d moved and %d left of %d", moved.Messages, len(moved.Left), many)
	}
	t.Logf("%d moved, %d were being sent", moved.Messages, len(moved.Left))
	if got := second.importFile(file); got.Taken != moved.Messages || got.Held != 0 {
		t.Errorf("imported %+v of %d", got, moved.Messages)
	}
	if got := second.importFile(file); got.Taken != 0 || got.Present != moved.Messages {
		t.Errorf("imported again: %+v", got)
	}
	s.stop()
	here.let()
	there.let()
	for sent := 0; sent < moved.Messages; { // each wait is bounded, and their number is not
		next := min(moved.Messages, sent+1+moved.Messages/10)
		await(t, "mail to leave", func() bool { return second.log.count("delivered") >= next })
		sent = second.log.count("delivered")
	}
	for _, told := range s.tales {
		if told.answer == accepted {
			host.mail.await(t, told.id)
		}
	}
	await(t, "the second queue to be empty", func() bool { return len(second.queue()) == 0 })
	s.settle()
	if doubles := s.judge(); doubles > 0 {
		t.Errorf("%d messages arrived more than once", doubles)
	}
}

// Whenever an export that moves mail is killed, and the relay with it, each message
// is still here, held with the reason, or in a complete archive. Those that were
// being sent when the export began, over 20 connections at most, are no part of it.
func TestAKilledMoveLosesNothing(t *testing.T) {
	host := needSmarthost(t)
	here, there := newGate(t, host.address), newGate(t, host.address)
	first, second := startRelay(t, here.address, nil), startRelay(t, there.address, nil)
	const messages = 300
	s := startStorm(t, first, host, 16, messages)
	s.clients.Wait()
	dir := workDir(t)
	for _, c := range []struct {
		name    string
		reached func(file string) bool
	}{
		{"as it begins", func(string) bool { return first.log.count("moving") > 0 }},
		{"while it writes", func(string) bool { part, _ := filepath.Glob(filepath.Join(dir, ".*.part")); return len(part) > 0 }},
		{"when it is complete", func(file string) bool { _, err := os.Stat(file); return err == nil }},
	} {
		name, file := c.name, filepath.Join(dir, strings.ReplaceAll(c.name, " ", "-")+".tar")
		cmd := exec.Command(stage.postern, "queue", "export", "--move", file, "--config", first.config)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { cmd.Wait(); close(ended) }()
		await(t, name, func() bool {
			select {
			case <-ended:
				return true
			default:
				return c.reached(file)
			}
		})
		cmd.Process.Kill()
		<-ended
		first.kill()
		first.start()
		in := 0
		if _, err := os.Stat(file); err == nil {
			in = second.importFile(file).Messages
		}
		found, here, held := second.waiting(""), first.waiting(""), first.waiting("held")
		t.Logf("killed %s: %d in the archive, %d here, %d of them held", name, in, len(here), len(held))
		if maps.Copy(found, here); len(found) != messages {
			t.Fatalf("%d of %d are here or in the archive", len(found), messages)
		}
		if sending := len(here) - len(held); sending > 20 {
			t.Errorf("%d are not held, and were not all being sent when the export began", sending)
		}
		if in > 0 { // what is there is not to be sent from here
			first.order(-1, "drop", "--state", string(queue.Held), "--reason", "it is in "+file)
		}
	}
	second.importFile(last(t, first, filepath.Join(dir, "last.tar")))
	here.let()
	there.let()
	await(t, "the queues to be empty", func() bool { return len(first.queue())+len(second.queue()) == 0 })
	s.settle()
	if doubles := s.judge(); doubles > 0 {
		t.Errorf("%d messages arrived more than once", doubles)
	}
}

// waiting are the ids of messages with a recipient in that state, or of all.
func (r *relay) waiting(state string) map[string]bool {
	r.t.Helper()
	var all []queued
	out, errs, _ := postern(r.t, "queue", "list", "--json", "--limit", "100000", "--state", state, "--config", r.config)
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		r.t.Fatalf("queue list: %v: %s%s", err, out, errs)
	}
	ids := map[string]bool{}
	for _, e := range all {
		ids[e.ID] = true
	}
	return ids
}

// last moves what there is.
func last(t *testing.T, r *relay, file string) string {
	t.Helper()
	r.export(file, "--move")
	return file
}

// A backup of a relay that is stopped is a tar that others can read and check, and
// one that is stopped takes it in: what was held stays so.
func TestABackupOfAStoppedRelay(t *testing.T) {
	needs(t, "sha256sum")
	host := needSmarthost(t)
	gate := newGate(t, host.address)
	first := startRelay(t, gate.address, nil)
	second := startRelay(t, host.address, nil)
	second.stop()
	d := first.session()
	one, other := newLetter("One.\r\n"), newLetter(strings.Repeat("a large page\r\n", 10_000))
	held, _, err := d.send(one)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.send(other); err != nil {
		t.Fatal(err)
	}
	first.order(0, "hold", held)
	first.stop()
	dir := workDir(t)
	file := filepath.Join(dir, "queue.tar")
	if done := first.export(file); done.Messages != 2 {
		t.Errorf("exported %+v", done)
	}
	mustRun(t, exec.Command("tar", "-C", dir, "-xf", file))
	check := exec.Command("sha256sum", "--check", "--strict", "SHA256SUMS")
	check.Dir = dir
	mustRun(t, check)

	damaged := filepath.Join(dir, "damaged.tar")
	b := readFile(t, file)
	b[len(b)/2] ^= 1
	writeFile(t, damaged, string(b))
	if _, errs, code := postern(t, "queue", "import", damaged, "--config", second.config); code != 1 || !strings.Contains(errs, "damaged") {
		t.Errorf("a damaged archive: exit code %d: %s", code, errs)
	}
	if got := second.importFile(file); got.Taken != 2 {
		t.Errorf("imported %+v", got)
	}
	second.start()
	mustBeIntact(t, other, host.mail.await(t, other.id))
	if shown := second.show(held); !strings.Contains(shown, "imported") || !strings.Contains(shown, "from relay.example.com") {
		t.Errorf("its history does not tell where it comes from:\n%s", shown)
	}
	second.order(0, "release", held)
	mustBeIntact(t, one, host.mail.await(t, one.id))
}

// While it drains a relay sends and takes nothing, and says so to clients,
// balancers and whoever waits for it.
func TestADrainTakesNothingAndSends(t *testing.T) {
	host := needSmarthost(t)
	gate := newGate(t, host.address)
	relay := startRelay(t, gate.address, nil)
	d := relay.session()
	l := newLetter("Before.\r\n")
	if _, _, err := d.send(l); err != nil {
		t.Fatal(err)
	}
	relay.order(0, "drain")
	if _, _, err := d.send(newLetter("Too late.\r\n")); code(err) != 451 || !strings.Contains(err.Error(), "maintained") {
		t.Errorf("MAIL got %v", err)
	}
	if _, err := dial(relay.address.submission); code(err) != 421 || !strings.Contains(err.Error(), "maintained") {
		t.Errorf("a new client got %v", err)
	}
	if page, status := relay.get("/readyz"); status != 503 || !strings.Contains(page, "drain") {
		t.Errorf("/readyz says %d %s", status, page)
	}
	if n := relay.number("postern_draining"); n != 1 {
		t.Errorf("postern_draining is %v", n)
	}
	gate.let()
	if said := relay.order(0, "drain", "--wait"); !strings.Contains(said, "Nothing is left") {
		t.Errorf("it said %q", said)
	}
	mustBeIntact(t, l, host.mail.await(t, l.id))
	relay.order(0, "drain", "--undo")
	mustPass(t, relay, host)
	if relay.log.count("taking no new mail") != 1 || relay.log.count("taking new mail again") != 1 {
		t.Errorf("the log does not tell of the drain:\n%s", relay.log.tail(20))
	}
}
