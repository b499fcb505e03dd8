//go:build unix

package queue

import (
	"errors"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// diskFull are the errors that only say that space has run out.
var diskFull = []error{unix.ENOSPC, unix.EDQUOT, unix.EFBIG}

// lock takes the exclusive lock on an open file without waiting. When another
// process has it, taken is false and holder is what that process wrote there.
func lock(f *os.File) (taken bool, holder string, err error) {
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		b, _ := io.ReadAll(io.LimitReader(f, 64)) // only to name it
		return false, strings.TrimSpace(string(b)), nil
	}
	return err == nil, "", err
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// freeSpace is what an unprivileged process may still write there, in octets.
func freeSpace(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}
