//go:build unix

package main

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// mayOpen refuses to work on the data directory of a stopped relay as another
// user: the files made there would be closed to the relay when it starts.
func mayOpen(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("no relay runs, and there is no data directory: %w; start Postern once to make it", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(stat.Uid) == os.Geteuid() {
		return nil
	}
	owner := strconv.Itoa(int(stat.Uid))
	if u, err := user.LookupId(owner); err == nil {
		owner = u.Username
	}
	return fmt.Errorf("no relay runs, and %s belongs to the user %s; start the relay, or run this as that user (sudo -u %s ...)", dir, owner, owner)
}
