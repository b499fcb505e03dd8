//go:build unix

package queue_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"postern/relay/queue"
	"postern/relay/queue/queuetest"
)

// Only the user Postern runs as can read the mail, wherever data_dir is.
func TestEveryFileIsPrivate(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Run("new", func(t *testing.T) {
		s := openIn(t, dir, queuetest.Config())
		putLarge(t, s)
		isPrivate(t, dir)
	})
	database := filepath.Join(dir, "queue.db")
	for _, name := range []string{database, database + "-wal", database + "-shm"} { // as a backup may have put them back
		f, err := os.OpenFile(name, os.O_CREATE, 0o644)
		if err == nil {
			err = f.Chmod(0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	t.Run("restored", func(t *testing.T) {
		s := openIn(t, dir, queuetest.Config())
		putLarge(t, s)
		isPrivate(t, dir)
	})
}

func putLarge(t *testing.T, s *queue.SQLite) {
	t.Helper()
	if _, err := queuetest.Put(t.Context(), s, queuetest.NewMessage("printer", 100_000, "a@example.com"), "office", ""); err != nil {
		t.Fatal(err)
	}
}

func isPrivate(t *testing.T, dir string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		files++
		if mode := info.Mode().Perm(); mode&0o077 != 0 {
			t.Errorf("%s has mode %o", path, mode)
		}
		return nil
	})
	if err != nil || files < 7 { // lock, reserve, three of the database, spool and what is in it
		t.Errorf("%d files, %v", files, err)
	}
}
