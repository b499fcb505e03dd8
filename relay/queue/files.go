package queue

import (
	"io"
	"os"
)

// files makes and deletes body files: on the disk, or in tests on one that fails.
type files interface {
	// create makes a file that is not there yet, for this user alone.
	create(path string) (file, error)
	remove(path string) error
	// syncDir makes the names in a directory durable.
	syncDir(dir string) error
}

// file is one that is being written. Sync makes its bytes durable.
type file interface {
	io.WriteCloser
	Sync() error
}

// disk is where files really are.
type disk struct{}

func (disk) create(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err // not a file that is nil
	}
	return f, nil
}

func (disk) remove(path string) error { return os.Remove(path) }
func (disk) syncDir(dir string) error { return syncDir(dir) }
