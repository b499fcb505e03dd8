//go:build unix

package oauth

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// syncDir makes the names in a directory durable.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// handOver gives path to the owner of like; only root can, and only root needs
// to. That owner may have put something else there in the meantime, such as a
// link to a file of root's: such a thing is not given away.
func handOver(path, like string) error {
	info, err := os.Stat(like)
	if err != nil || os.Geteuid() != 0 {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	ours, err := f.Stat()
	if err != nil {
		return err
	}
	if mine, ok := ours.Sys().(*syscall.Stat_t); ok && !ours.IsDir() && mine.Nlink != 1 {
		return fmt.Errorf("%s has another name too, which it should not", path)
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		return f.Chown(int(owner.Uid), int(owner.Gid))
	}
	return nil
}
