package queue

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// diskFull are the errors that only say that space has run out.
var diskFull = []error{windows.ERROR_DISK_FULL, windows.ERROR_HANDLE_DISK_FULL, windows.ERROR_DISK_QUOTA_EXCEEDED}

// lock takes the exclusive lock on an open file without waiting. Locked bytes
// cannot be read by others on Windows, so the holder is not told.
func lock(f *os.File) (taken bool, holder string, err error) {
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	err = windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, new(windows.Overlapped))
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return false, "", nil
	}
	return err == nil, "", err
}

// syncDir does nothing: Windows has no fsync of a directory, and NTFS keeps
// names in its own journal.
func syncDir(string) error { return nil }

// freeSpace is what this user may still write there, in octets.
func freeSpace(dir string) (int64, error) {
	name, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, err
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(name, &free, nil, nil); err != nil {
		return 0, &os.PathError{Op: "free space", Path: dir, Err: err}
	}
	return int64(free), nil
}
