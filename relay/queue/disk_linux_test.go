package queue_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"postern/metrics"
	"postern/relay/message"
	"postern/relay/queue"
	"postern/relay/queue/queuetest"
	"postern/relay/queue/volumetest"
)

func TestADirectoryThatVanishesEndsTheStore(t *testing.T) {
	for name, vanish := range map[string]func(dir string) error{
		"deleted":       os.RemoveAll,
		"moved":         func(dir string) error { return os.Rename(dir, dir+"-old") },
		"made anew":     func(dir string) error { return errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)) },
		"its lock gone": func(dir string) error { return os.Remove(filepath.Join(dir, "lock")) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			s := openIn(t, dir, queuetest.Config())
			if err := s.Ready(); err != nil {
				t.Fatal(err)
			}
			if err := vanish(dir); err != nil {
				t.Fatal(err)
			}
			isReply(t, s.Ready(), 451)
			<-s.Failed()
			if err := s.Err(); !strings.Contains(err.Error(), "deleted, moved or covered") {
				t.Errorf("it said %v", err)
			}
			_, err := queuetest.Put(t.Context(), s, queuetest.NewMessage("printer", 10, "a@example.com"), "office", "")
			isReply(t, err, 451)
		})
	}
}

// On a disk that is really full clients are told so, outcomes are still
// recorded, and all goes on when there is space again.
func TestARealFullDisk(t *testing.T) {
	disk := volumetest.Need(t)
	dir := filepath.Join(disk.Dir, "data")
	s := openIn(t, dir, queuetest.Config())
	var claims []*queue.Claim
	for range 50 {
		claims = append(claims, putClaimed(t, s))
	}
	filler := filepath.Join(disk.Dir, "filler")
	fill(t, filler)
	m := queuetest.NewMessage("printer", 100_000, "a@example.com")
	put := func() error {
		_, err := queuetest.Put(t.Context(), s, m, "office", "")
		return err
	}
	isReply(t, put(), 452)
	for _, c := range claims {
		if _, err := s.Settle(t.Context(), c, deliveredOne, nil); err != nil {
			t.Fatalf("an outcome was not recorded: %v", err)
		}
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := put(); err != nil {
		t.Fatalf("there is space again: %v", err)
	}
}

// fill writes a file until there is no octet of space left.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, unix.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil && !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
}

// A disk that became read-only, as ext4 does after an error, takes nothing more;
// what was accepted is there when it can be written again.
func TestADiskThatBecomesReadOnly(t *testing.T) {
	disk := volumetest.Need(t)
	dir := filepath.Join(disk.Dir, "data")
	s, err := queue.Open(queuetest.Config(), dir, metrics.New("test", ""), quiet())
	if err != nil {
		t.Fatal(err)
	}
	var kept []*message.Message
	for _, size := range []int{10, 100_000} {
		m := queuetest.NewMessage("printer", size, "a@example.com")
		if _, err := queuetest.Put(t.Context(), s, m, "office", ""); err != nil {
			t.Fatal(err)
		}
		kept = append(kept, m)
	}
	disk.Break()
	_, err = queuetest.Put(t.Context(), s, queuetest.NewMessage("printer", 10, "a@example.com"), "office", "")
	var reply *message.Reply
	if !errors.As(err, &reply) || reply.Code/100 != 4 {
		t.Errorf("a message was answered with %v", err)
	}
	<-s.Failed()
	s.Close()
	if s, err := queue.Open(queuetest.Config(), dir, metrics.New("test", ""), quiet()); err == nil {
		s.Close()
		t.Error("it opens on a file system that cannot be written")
	} else if !strings.Contains(err.Error(), "mount it read-write") && !strings.Contains(err.Error(), "give the directory") {
		t.Errorf("it said %v", err)
	}
	disk.Restore()
	s = openIn(t, dir, queuetest.Config())
	for _, m := range kept {
		if e, err := s.Show(t.Context(), m.ID); err != nil || e.Damaged != "" {
			t.Errorf("%s: %v, %+v", m.ID, err, e)
		}
	}
}

// A queue of many messages is open in a moment, one that an older version left
// in a few, and its oldest are claimed first.
func TestManyMessagesAtAStart(t *testing.T) {
	t.Parallel()
	messages, err := strconv.Atoi(os.Getenv("POSTERN_WAITING")) // 100,000 by "make durability"
	if err != nil {
		messages = 2_000
	}
	dir := t.TempDir()
	s, err := queue.Open(queuetest.Config(), dir, metrics.New("test", ""), quiet())
	if err != nil {
		t.Fatal(err)
	}
	first := queuetest.NewMessage("printer", 10, "first@example.com")
	if _, err := queuetest.Put(t.Context(), s, first, "office", ""); err != nil {
		t.Fatal(err)
	}
	if err := queuetest.Fill(t.Context(), s, "printer", messages-1); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, schema := range []string{"this schema", "the first schema"} {
		if schema == "the first schema" {
			toFirstSchema(t, dir)
		}
		began := time.Now()
		s, err := queue.Open(queuetest.Config(), dir, metrics.New("test", ""), quiet())
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d messages in %s: open after %v", messages, schema, time.Since(began))
		n, err := s.Numbers(t.Context())
		if err != nil || n.Deliveries["queued"] != messages {
			t.Fatalf("numbers %+v, %v", n, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s = openIn(t, dir, queuetest.Config())
	began := time.Now()
	claims, err := s.Claim(t.Context(), "office", "m365", 1, 0)
	if err != nil || len(claims) != 1 || claims[0].Message.ID != first.ID {
		t.Fatalf("claimed %v, %v", claims, err)
	}
	t.Logf("one is claimed in %v", time.Since(began))
}
