package queue

import (
	"errors"
	"io/fs"
	"syscall"

	sqlite3 "modernc.org/sqlite/lib"

	"postern/relay/message"
)

var (
	errClosed  = errors.New("the queue is closed")
	errFull    = errors.New("the disk is full")
	errNotOurs = errors.New("the claim has ended already")
)

// The replies a client gets while the store cannot take its message.
func replyFull() *message.Reply {
	return message.Refuse(452, "4.3.1", "Not enough disk space here, please try again later")
}

func replyFailed() *message.Reply {
	return message.Refuse(451, "4.3.0", "Our message store has failed, please try again later")
}

// resultCode is the extended result code of SQLite in err, or 0.
func resultCode(err error) int {
	var coded interface{ Code() int }
	if errors.As(err, &coded) {
		return coded.Code()
	}
	return 0
}

// isFull tells whether err only says that space has run out. Nothing is
// damaged then, and the same may succeed later.
func isFull(err error) bool {
	for _, full := range diskFull {
		if errors.Is(err, full) {
			return true
		}
	}
	code := resultCode(err)
	return code&0xff == sqlite3.SQLITE_FULL || code == sqlite3.SQLITE_IOERR_SHMSIZE || errors.Is(err, errFull)
}

// isBusy tells whether err only says that another program has the database
// locked: a person's sqlite3, a VACUUM, a backup.
func isBusy(err error) bool {
	code := resultCode(err) & 0xff
	return code == sqlite3.SQLITE_BUSY || code == sqlite3.SQLITE_LOCKED
}

// isFinal tells whether err means that what was written may not be on the
// disk. After a failed fsync the kernel may have dropped the pages and a second
// one can succeed for nothing, so there is no trying again in this process.
func isFinal(err error) bool {
	if isFull(err) {
		return false
	}
	switch code := resultCode(err); code & 0xff {
	case sqlite3.SQLITE_IOERR:
		return code != sqlite3.SQLITE_IOERR_NOMEM
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN:
		return true
	}
	return errors.Is(err, syscall.EIO)
}

// isReadOnly tells whether SQLite may not write a file, or not make one.
func isReadOnly(err error) bool {
	code := resultCode(err) & 0xff
	return code == sqlite3.SQLITE_READONLY || code == sqlite3.SQLITE_CANTOPEN || code == sqlite3.SQLITE_PERM
}

// isGone tells whether err says that a file is not there.
func isGone(err error) bool { return errors.Is(err, fs.ErrNotExist) }
