package queue

import (
	"os"
	"sync/atomic"
)

// reserveSize is room for the outcomes of everything that can be under way
// when the disk fills up: thousands of rows, and the log frames they touch.
const reserveSize = 16 << 20

// reserve is a file whose only purpose is to be deleted: when the disk is full
// its space lets outcomes be recorded, since one that is lost means a message
// sent twice.
type reserve struct {
	path string
	kept atomic.Bool
}

// restore sets the space aside if it is not.
func (r *reserve) restore() error {
	if r.kept.Load() {
		return nil
	}
	f, err := os.OpenFile(r.path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := allocate(f, reserveSize); err != nil {
		_ = os.Remove(r.path) // half a reserve would only take the space away
		return err
	}
	r.kept.Store(true)
	return nil
}

// release frees the space; false when it is spent already.
func (r *reserve) release() bool {
	return r.kept.CompareAndSwap(true, false) && os.Remove(r.path) == nil
}

// writeZeros fills f up to that size, and sees to it that the space is really
// taken.
func writeZeros(f *os.File, size int64) error {
	zeros := make([]byte, 64<<10)
	for at := int64(0); at < size; at += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros, at); err != nil {
			return err
		}
	}
	return f.Sync()
}
