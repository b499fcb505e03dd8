package queue

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// checkVolume refuses a file system that does not keep mail. It comes before
// the directory is made, so that none is left where it must not be.
func (s *SQLite) checkVolume() error {
	name, trouble, err := unfit(existing(s.dir))
	if err != nil || name == "" || s.settings.Load().AllowVolatile {
		return err
	}
	return fmt.Errorf("its file system is %s: %s; set data_dir to a directory on a local disk", name, trouble)
}

// existing is the path, or as much of it as there is.
func existing(path string) string {
	for {
		_, err := os.Stat(path)
		if parent := filepath.Dir(path); isGone(err) && parent != path {
			path = parent
			continue
		}
		return path
	}
}

const lockName = "lock"

// lockDir makes sure that one process at a time works on the directory.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	taken, holder, err := lock(f)
	switch {
	case err != nil:
		return nil, errors.Join(fmt.Errorf("lock: %w", err), f.Close())
	case !taken && holder == "":
		return nil, errors.Join(errors.New("another process works on it; stop that one first, or give this one its own data_dir"), f.Close())
	case !taken:
		return nil, errors.Join(fmt.Errorf("process %s works on it; stop that one first, or give this one its own data_dir", holder), f.Close())
	}
	if err := f.Truncate(0); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if _, err := fmt.Fprintln(f, os.Getpid()); err != nil && !isFull(err) { // it only names us to others
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// inPlace ends the store when what it has open is not what is in the directory any
// more: that was deleted, moved, or something was mounted over it. SQLite would go
// on writing to files that nobody finds again.
func (s *SQLite) inPlace() bool {
	ours, err := s.lock.Stat()
	if err != nil {
		return true // it is closed
	}
	there, err := os.Stat(filepath.Join(s.dir, lockName))
	if err == nil && os.SameFile(ours, there) {
		return true
	}
	if err == nil {
		err = errors.New("its lock is another file")
	}
	s.w.end(fmt.Errorf("the queue in %s was deleted, moved or covered while it was in use (%w); "+
		"bring it back before you start Postern again: without it, it begins with an empty queue", s.dir, err))
	return false
}

// keepPrivate makes the database's files readable by this user alone, before
// there is anything in them: the directory may have been made by somebody else,
// for everybody to read. SQLite gives a file it makes the mode of the database.
func keepPrivate(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(path + suffix)
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			err = os.Chmod(path+suffix, 0o600)
		}
		if err != nil && !isGone(err) {
			return err
		}
	}
	return nil
}
