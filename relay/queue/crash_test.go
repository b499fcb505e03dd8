package queue_test

import (
	"bufio"
	"context"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"postern/metrics"
	"postern/relay/message"
	"postern/relay/queue"
	"postern/relay/queue/queuetest"
)

// crashDir names, in its environment, the directory of the process that is to
// be killed.
const crashDir = "POSTERN_QUEUE_CRASH_DIR"

// crashUnsynced has that process sync nothing.
const crashUnsynced = "POSTERN_QUEUE_CRASH_UNSYNCED"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		fmt.Fprintln(os.Stderr, work(dir))
		os.Exit(1) // it is killed before it gets here
	}
	os.Exit(m.Run())
}

// work puts, claims and settles messages until it is killed. It says what it
// has been promised, one line each, after the promise.
func work(dir string) error {
	s, err := queue.Open(queuetest.Config(), dir, metrics.New("test", ""), quiet())
	if err != nil {
		return err
	}
	if os.Getenv(crashUnsynced) != "" {
		s.WriteBy(unsynced{})
		if err := s.Unsynced(); err != nil {
			return err
		}
	}
	errs := make(chan error)
	var mu sync.Mutex
	say := func(what, id string, sum uint32) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Printf("%s %s %d\n", what, id, sum)
	}
	for i := range 8 {
		go func() { errs <- produce(s, say, i%2 == 0) }()
	}
	for range 4 {
		go func() { errs <- consume(s, say) }()
	}
	return <-errs
}

// unsynced writes body files and never syncs them.
type unsynced struct{}

type unsyncedFile struct{ *os.File }

func (unsynced) Create(path string) (queue.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	return unsyncedFile{f}, err
}
func (unsynced) Remove(path string) error { return os.Remove(path) }
func (unsynced) SyncDir(string) error     { return nil }
func (unsyncedFile) Sync() error          { return nil }

func produce(s *queue.SQLite, say func(string, string, uint32), claimed bool) error {
	ctx := context.Background()
	for {
		size := rand.IntN(8000)
		if rand.IntN(4) == 0 {
			size = queue.InlineLimit + rand.IntN(100_000)
		}
		content := queuetest.Octets(size)
		m := queuetest.NewMessage("printer", 0, "a@example.com")
		m.Body = message.Bytes(content)
		upstream := ""
		if claimed {
			upstream = "m365"
		}
		c, err := queuetest.Put(ctx, s, m, "office", upstream)
		if err != nil {
			return err
		}
		say("put", m.ID, crc32.ChecksumIEEE(content))
		if c == nil {
			continue
		}
		say("claimed", m.ID, 0)
		if err := settle(ctx, s, c, say); err != nil {
			return err
		}
	}
}

func consume(s *queue.SQLite, say func(string, string, uint32)) error {
	ctx := context.Background()
	for {
		if err := s.Wait(ctx, "office"); err != nil {
			return err
		}
		claims, err := s.Claim(ctx, "office", "m365", 2, 0)
		if err != nil {
			return err
		}
		for _, c := range claims {
			say("claimed", c.Message.ID, 0)
			if err := settle(ctx, s, c, say); err != nil {
				return err
			}
		}
	}
}

// settle delivers three of four and returns the last to the queue.
func settle(ctx context.Context, s *queue.SQLite, c *queue.Claim, say func(string, string, uint32)) error {
	if rand.IntN(4) == 0 {
		say("returning", c.Message.ID, 0) // from here on it may be claimed anew
		return s.Return(ctx, c, "")
	}
	_, err := s.Settle(ctx, c, deliveredOne, nil)
	if err == nil {
		say("settled", c.Message.ID, 0)
	}
	return err
}

// promise is what a killed process had been told about a message.
type promise struct {
	put     bool // sum is known
	sum     uint32
	last    string // claimed, returning, settled or ""
	settled bool
}

func TestKilledUnderLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	promises := map[string]*promise{}
	var uncertain, settled int
	kills := 3
	if os.Getenv("POSTERN_KILLS") != "" { // by "make durability"
		kills = 10
	}
	for range kills {
		killAfter(t, dir, 100+rand.IntN(200), promises, func(p *os.Process) { p.Kill() })
		s, err := queue.Open(queuetest.Config(), dir, metrics.New("test", ""), quiet())
		if err != nil {
			t.Fatal(err)
		}
		for id, p := range promises {
			state := keep(t, s, id, p)
			if state == queue.Uncertain {
				uncertain++
			} else if p.settled {
				settled++
			}
		}
		if n, err := s.Numbers(t.Context()); err != nil || n.Deliveries["sending"] != 0 {
			t.Errorf("numbers %+v, %v", n, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if uncertain == 0 || settled == 0 {
		t.Errorf("%d uncertain, %d settled: the processes were killed too early to prove anything", uncertain, settled)
	}
}

// keep checks that what was promised about a message is so.
func keep(t *testing.T, s *queue.SQLite, id string, p *promise) queue.State {
	t.Helper()
	e, err := s.Show(t.Context(), id)
	if err != nil {
		t.Fatalf("accepted, and lost: %v", err)
	}
	state := e.Deliveries[0].State
	switch {
	case p.settled && state != queue.Delivered:
		t.Errorf("%s was settled and is %s", id, state)
	case p.last == "claimed" && state != queue.Uncertain && state != queue.Delivered:
		t.Errorf("%s was being sent and is %s", id, state)
	case state == queue.Delivered:
		return state
	}
	if e.Damaged != "" || p.put && crc32.ChecksumIEEE(queuetest.Content(t, e.Body)) != p.sum {
		t.Errorf("%s is damaged: %s", id, e.Damaged)
	}
	return state
}

// killAfter runs a process until it has said that many lines, kills it, and
// adds all it said to the promises.
func killAfter(t *testing.T, dir string, lines int, promises map[string]*promise, kill func(*os.Process), env ...string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), crashDir+"="+dir), env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	heard := 0
	for scanner := bufio.NewScanner(out); scanner.Scan(); {
		var what, id string
		var sum uint32
		if _, err := fmt.Sscan(scanner.Text(), &what, &id, &sum); err != nil {
			break // the line it was killed in
		}
		note(promises, what, id, sum)
		if heard++; heard == lines {
			kill(cmd.Process)
		}
	}
	if err := cmd.Wait(); heard < lines {
		t.Fatalf("it ended by itself: %v, %s", err, stderr.String())
	}
}

// note keeps what a process said. A message may be claimed by another goroutine
// before the one that put it has said so.
func note(promises map[string]*promise, what, id string, sum uint32) {
	p, ok := promises[id]
	if !ok {
		p = &promise{}
		promises[id] = p
	}
	switch what {
	case "put":
		p.put, p.sum = true, sum
	case "settled":
		p.settled = true
		p.last = what
	default:
		p.last = what
	}
}
