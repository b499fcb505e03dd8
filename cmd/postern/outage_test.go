//go:build linux

package main_test

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// gate is an address that leads to the smarthost while it is open.
type gate struct {
	t           testing.TB
	address, to string
	mu          sync.Mutex
	listener    net.Listener
	open        []net.Conn
}

func newGate(t testing.TB, to string) *gate {
	g := &gate{t: t, address: freeAddress(t), to: to}
	t.Cleanup(g.shut)
	return g
}

func (g *gate) let() {
	g.t.Helper()
	l, err := net.Listen("tcp", g.address)
	if err != nil {
		g.t.Fatal(err)
	}
	g.mu.Lock()
	g.listener = l
	g.mu.Unlock()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go g.pass(c)
		}
	}()
}

func (g *gate) pass(c net.Conn) {
	up, err := net.Dial("tcp", g.to)
	if err != nil {
		c.Close()
		return
	}
	g.mu.Lock()
	g.open = append(g.open, c, up)
	g.mu.Unlock()
	go func() {
		io.Copy(up, c)
		up.Close()
	}()
	io.Copy(c, up)
	c.Close()
}

// shut refuses connections from here on and cuts those there are.
func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.listener != nil {
		g.listener.Close()
	}
	for _, c := range g.open {
		c.Close()
	}
	g.open = nil
}

func TestMailWaitsWhileTheUpstreamIsAway(t *testing.T) {
	host := needSmarthost(t)
	gate := newGate(t, host.address)
	relay := startRelay(t, gate.address, nil)
	l := newLetter("No hurry.\r\n")
	id, _, err := relay.session().send(l)
	if err != nil {
		t.Fatalf("the upstream is away, and with it acceptance: %v", err)
	}
	waiting := relay.queue()
	if len(waiting) != 1 || waiting[0].ID != id {
		t.Fatalf("the queue holds %v, want %s", waiting, id)
	}
	if out := relay.show(id); !strings.Contains(out, recipient) {
		t.Errorf("queue show does not name the recipient:\n%s", out)
	}
	gate.let()
	mustBeIntact(t, l, host.mail.await(t, l.id))
	await(t, "the queue to be empty", func() bool { return len(relay.queue()) == 0 })
	if n := len(host.mail.copies(t, l.id)); n != 1 {
		t.Errorf("it arrived %d times, want once", n)
	}
}

func TestMailOutlivesARestartWhileTheUpstreamIsAway(t *testing.T) {
	host := needSmarthost(t)
	gate := newGate(t, host.address)
	relay := startRelay(t, gate.address, nil)
	l := oddLetter(true)
	if _, _, err := relay.session().send(l); err != nil {
		t.Fatal(err)
	}
	if code := relay.stop(); code != 0 {
		t.Fatalf("exit code %d after SIGTERM, want 0", code)
	}
	relay.start()
	gate.let()
	mustBeIntact(t, l, host.mail.await(t, l.id))
}

func TestAFullDiskIsToldBeforeTheMessageIsSent(t *testing.T) {
	host := needSmarthost(t)
	relay := startRelay(t, host.address, sections{"queue": "{retry: [1s], min_free: 1000000GiB}"})
	d := relay.session()
	if _, _, err := d.send(newLetter("No room.\r\n")); code(err) != 452 {
		t.Errorf("got %v, want a 452", err)
	}
	if waiting := relay.queue(); len(waiting) > 0 {
		t.Errorf("it was refused, and queued: %v", waiting)
	}
	if _, status := relay.get("/readyz"); status != 503 {
		t.Errorf("/readyz answers %d on a full disk, want 503", status)
	}
	relay.write(usualConfig(t, relay, host.address))
	relay.reload("reloaded")
	mustPass(t, relay, host)
}

func TestADataDirThatCannotBeUsedIsSaidInASentence(t *testing.T) {
	needs(t, "root")
	nobody := &syscall.Credential{Uid: 65534, Gid: 65534}
	for _, c := range []struct {
		is    string
		as    *syscall.Credential
		place func(dir string) string
	}{
		{"below a file", nil, func(dir string) string {
			writeFile(t, filepath.Join(dir, "file"), "")
			return filepath.Join(dir, "file", "data")
		}},
		{"in somebody else's directory", nobody, func(dir string) string {
			return filepath.Join(dir, "data")
		}},
		{"there, and somebody else's", nobody, func(dir string) string {
			if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
				t.Fatal(err)
			}
			return filepath.Join(dir, "data")
		}},
		{"in memory", nil, func(string) string {
			dir, err := os.MkdirTemp("/dev/shm", "postern-e2e-")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			return filepath.Join(dir, "data")
		}},
	} {
		t.Run(c.is, func(t *testing.T) {
			relay := prepareRelay(t, freeAddress(t), nil)
			dataDir := c.place(relay.dir)
			relay.write(usualConfig(t, relay, freeAddress(t)).with(sections{"data_dir": dataDir}))
			forEveryone(t, needKeys(t).key, needKeys(t).rsaKey)
			relay.launch(c.as)
			if code := relay.wait(); code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			said := strings.TrimSpace(relay.log.String())
			if !strings.Contains(said, dataDir) || strings.Count(said, "\n") > 1 {
				t.Errorf("it said %q, want a sentence that names %s", said, dataDir)
			}
			if listening(relay.address.submission) {
				t.Error("a port is open all the same")
			}
		})
	}
}

// forEveryone lets any user read the files.
func forEveryone(t testing.TB, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
