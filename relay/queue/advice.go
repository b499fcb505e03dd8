package queue

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// advise adds to what kept the store from being opened what a person can do
// about it, where that is known.
func advise(err error) error {
	const elsewhere = "or set data_dir to a directory that "
	var advice string
	switch {
	case isBusy(err):
		advice = "another program has the database locked, such as a sqlite3 shell or a backup; end it, then start Postern again"
	case isFull(err):
		advice = "free some space on its disk, " + elsewhere + "has more"
	case errors.Is(err, syscall.EROFS):
		advice = "its file system cannot be written; mount it read-write, " + elsewhere + "can be written"
	case errors.Is(err, fs.ErrPermission), isReadOnly(err):
		advice = "give the directory to the user that Postern runs as (chown -R), " + elsewhere + "belongs to it"
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, fs.ErrExist):
		advice = "something other than a directory is in its place; move that away, " + elsewhere + "is one"
	default:
		return err
	}
	return fmt.Errorf("%w; %s", err, advice)
}
