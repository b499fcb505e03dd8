package queue_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"postern/metrics"
	"postern/relay/message"
	"postern/relay/queue"
	"postern/relay/queue/queuetest"
)

// faultyDisk writes body files until its n-th operation, which goes wrong. It
// remembers what a power cut would take away: bytes and names that were not
// synced, and deletions.
type faultyDisk struct {
	fault diskFault
	at    int // the operation it strikes; counted from 1

	mu      sync.Mutex
	done    []string          // the operations so far
	dead    bool              // nothing works any more
	bytes   map[string]int64  // by path: how much is synced
	names   map[string]bool   // by path: the name is synced
	removed map[string][]byte // by path: what was there
}

// diskFault is what goes wrong.
type diskFault struct {
	name string
	// err is what the operation returns; nil lets it succeed, late.
	err error
	// torn writes half of what is to be written first.
	torn bool
	// cut is a power cut: after the operation nothing works, and what was not
	// synced is lost.
	cut bool
}

var diskFaults = []diskFault{
	{name: "fails with EIO", err: syscall.EIO},
	{name: "fails with ENOSPC", err: syscall.ENOSPC},
	{name: "is torn and fails with EIO", err: syscall.EIO, torn: true},
	{name: "is torn and finds the disk full", err: syscall.ENOSPC, torn: true},
	{name: "is where the power is cut", err: errCut, cut: true},
	{name: "is where the power is cut, half-way", err: errCut, torn: true, cut: true},
}

var errCut = errors.New("the power is gone")

func newFaultyDisk(fault diskFault, at int) *faultyDisk {
	return &faultyDisk{fault: fault, at: at, bytes: map[string]int64{}, names: map[string]bool{}, removed: map[string][]byte{}}
}

// step is called before each operation. With strike it goes wrong.
func (d *faultyDisk) step(what string) (strike bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		return true, errCut
	}
	d.done = append(d.done, what)
	if len(d.done) != d.at {
		return false, nil
	}
	d.dead = d.fault.cut
	return true, d.fault.err
}

func (d *faultyDisk) Create(path string) (queue.File, error) {
	if strike, err := d.step("create"); strike {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bytes[path], d.names[path] = 0, false
	return &faultyFile{File: f, disk: d}, nil
}

func (d *faultyDisk) Remove(path string) error {
	if strike, err := d.step("remove"); strike {
		return err
	}
	was, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.removed[path] = was
	d.mu.Unlock()
	return os.Remove(path)
}

func (d *faultyDisk) SyncDir(dir string) error {
	if strike, err := d.step("sync directory"); strike {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for path := range d.names {
		d.names[path] = true
	}
	clear(d.removed)
	return queue.SyncDir(dir)
}

// lose makes of the directory what a power cut leaves, at worst.
func (d *faultyDisk) lose(t *testing.T) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	for path, was := range d.removed {
		if err := os.WriteFile(path, was, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for path, synced := range d.names {
		var err error
		if synced {
			err = os.Truncate(path, d.bytes[path])
		} else {
			err = os.Remove(path)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
}

type faultyFile struct {
	*os.File
	disk *faultyDisk
}

func (f *faultyFile) Write(b []byte) (int, error) {
	strike, err := f.disk.step("write")
	if !strike {
		return f.File.Write(b)
	}
	if f.disk.fault.torn {
		n, _ := f.File.Write(b[:len(b)/2])
		return n, err
	}
	return 0, err
}

func (f *faultyFile) Sync() error {
	if strike, err := f.disk.step("sync"); strike {
		return err
	}
	if err := f.File.Sync(); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	f.disk.bytes[f.Name()] = info.Size()
	return nil
}

// life is that of one message: its body comes in pieces, it is put and, with
// deliver, claimed and delivered. It returns how far it came.
func life(ctx context.Context, s *queue.SQLite, m *message.Message, content []byte, deliver bool) (put, settled bool) {
	sp := s.Spool()
	for rest := content; len(rest) > 0; {
		n := min(len(rest), 20_000)
		if _, err := sp.Write(rest[:n]); err != nil {
			sp.Discard()
			return false, false
		}
		rest = rest[n:]
	}
	var err error
	if m.Body, err = sp.Body(); err == nil {
		_, err = queuetest.Put(ctx, s, m, "office", "")
	}
	if err != nil {
		sp.Discard()
		return false, false
	}
	if !deliver {
		return true, false
	}
	claims, err := s.Claim(ctx, "office", "m365", 1, 0)
	if err != nil || len(claims) != 1 {
		return true, false
	}
	_, err = s.Settle(ctx, claims[0], deliveredOne, nil)
	return true, err == nil
}

// Every operation on body files in one message's life goes wrong in every way,
// one at a time. What was acknowledged is intact after the store was opened
// again, what was not is absent, and nothing lies about.
func TestEveryFaultOfABodyFile(t *testing.T) {
	content := queuetest.Octets(100_000)
	var points atomic.Int64
	t.Run("one at a time", func(t *testing.T) { everyFault(t, content, &points) })
	t.Logf("%d points of failure", points.Load())
	if points.Load() < 60 {
		t.Errorf("only %d points of failure were tried", points.Load())
	}
}

func everyFault(t *testing.T, content []byte, points *atomic.Int64) {
	for _, fault := range diskFaults {
		t.Run(fault.name, func(t *testing.T) {
			t.Parallel()
			at := 1
			for strikeAt(t, fault, at, content, true) >= at {
				at++
			}
			strikeAt(t, fault, at, content, false) // never, or by a power cut while it waits to be sent
			points.Add(int64(at + 1))
		})
	}
}

// strikeAt lives a message's life with a fault at one operation, or a power cut
// after the last, and checks what is there afterwards. It returns how many
// operations there were.
func strikeAt(t *testing.T, fault diskFault, at int, content []byte, deliver bool) int {
	t.Helper()
	dir := t.TempDir()
	disk := newFaultyDisk(fault, at)
	s, err := queue.Open(queuetest.Config(), dir, metrics.New("test", ""), quiet())
	if err != nil {
		t.Fatal(err)
	}
	s.WriteBy(disk)
	m := queuetest.NewMessage("printer", 0, "a@example.com")
	put, settled := life(t.Context(), s, m, content, deliver)
	if n := inSpool(t, dir); !put && !fault.cut && n != 0 {
		t.Errorf("operation %d of %v: %d files of a message that was refused lie about", at, disk.done, n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if fault.cut {
		disk.lose(t)
	}
	what := fmt.Sprintf("operation %d of %v", at, disk.done)
	s, err = queue.Open(queuetest.Config(), dir, metrics.New("test", ""), quiet())
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	defer s.Close()
	e, err := s.Show(t.Context(), m.ID)
	files := inSpool(t, dir)
	switch {
	case !put && !errors.Is(err, queue.ErrNotFound):
		t.Errorf("%s: not acknowledged, and there: %v", what, err)
	case !put && files != 0, settled && files != 0:
		t.Errorf("%s: %d files lie about", what, files)
	case !put:
	case err != nil:
		t.Errorf("%s: acknowledged, and lost: %v", what, err)
	case settled:
		if e.Deliveries[0].State != queue.Delivered {
			t.Errorf("%s: settled, and %s", what, e.Deliveries[0].State)
		}
	case e.Damaged != "" || files != 1 || !bytes.Equal(queuetest.Content(t, e.Body), content):
		t.Errorf("%s: acknowledged, and damaged: %q, %d files", what, e.Damaged, files)
	}
	return len(disk.done)
}

func inSpool(t *testing.T, dir string) int {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "spool"))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// slowDisk lets its n-th operation wait until it is told to go on.
type slowDisk struct {
	*faultyDisk
	reached, goOn chan struct{}
}

func (d *slowDisk) wait(what string) {
	d.mu.Lock()
	d.done = append(d.done, what)
	mine := len(d.done) == d.at
	d.mu.Unlock()
	if mine {
		close(d.reached)
		<-d.goOn
	}
}

func (d *slowDisk) Create(path string) (queue.File, error) {
	d.wait("create")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	return &slowFile{f, d}, err
}

func (d *slowDisk) Remove(path string) error { d.wait("remove"); return os.Remove(path) }
func (d *slowDisk) SyncDir(dir string) error { d.wait("sync directory"); return queue.SyncDir(dir) }

type slowFile struct {
	*os.File
	disk *slowDisk
}

func (f *slowFile) Write(b []byte) (int, error) { f.disk.wait("write"); return f.File.Write(b) }
func (f *slowFile) Sync() error                 { f.disk.wait("sync"); return f.File.Sync() }

// Nothing is acknowledged while an operation that makes it durable is under way.
func TestNothingIsAcknowledgedBeforeItsBodyIsDurable(t *testing.T) {
	t.Parallel()
	content := queuetest.Octets(100_000)
	for at := 1; ; at++ {
		disk := &slowDisk{newFaultyDisk(diskFault{}, at), make(chan struct{}), make(chan struct{})}
		s := openIn(t, t.TempDir(), queuetest.Config())
		s.WriteBy(disk)
		m := queuetest.NewMessage("printer", 0, "a@example.com")
		ended := make(chan bool, 1)
		go func() {
			_, settled := life(context.WithoutCancel(t.Context()), s, m, content, true)
			ended <- settled
		}()
		select {
		case <-disk.reached:
		case settled := <-ended: // there are fewer operations than that
			if !settled || at < 8 {
				t.Errorf("after %v it is not delivered", disk.done)
			}
			return
		}
		if _, err := s.Show(t.Context(), m.ID); disk.done[at-1] != "remove" && !errors.Is(err, queue.ErrNotFound) {
			t.Errorf("during operation %d of %v: the message is there: %v", at, disk.done, err)
		}
		close(disk.goOn)
		if !<-ended {
			t.Errorf("after operation %d was slow, it is not delivered", at)
		}
	}
}
