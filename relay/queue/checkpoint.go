package queue

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"sync"
)

// walLimit is the size SQLite's write-ahead log is brought back from.
const walLimit = 64 << 20

// walLog keeps the write-ahead log short without a checkpoint inside somebody's
// commit. When it has grown past the limit, a goroutine copies it into the
// database while commits go on (PASSIVE). That alone never shortens it under
// load, because new frames keep coming; so the writer then copies the little
// that is left and truncates it between two commits.
type walLog struct {
	path    string
	limit   int64 // walLimit, less in tests
	db      *sql.DB
	next    int64      // size at which to act; writer goroutine only
	copying bool       // writer goroutine only
	copied  chan error // how the passive part ended
	passive sync.WaitGroup
}

func newWALLog(path string, db *sql.DB) *walLog {
	return &walLog{path: path, db: db, limit: walLimit, next: walLimit, copied: make(chan error, 1)}
}

// grown is called after each commit.
func (l *walLog) grown() {
	if l.copying || l.size() < l.next {
		return
	}
	l.copying = true
	l.passive.Go(func() {
		_, err := l.db.ExecContext(context.Background(), "PRAGMA wal_checkpoint(PASSIVE)")
		l.copied <- err
	})
}

// truncate is the writer's part, given how the passive one ended. A reader in
// an old snapshot can prevent it, or a full disk; then it is tried again when
// as much has been written once more.
func (l *walLog) truncate(conn *sql.Conn, err error) error {
	l.copying = false
	var busy bool
	if err == nil {
		busy, err = truncateLog(conn)
	}
	l.next = l.limit
	if err != nil || busy {
		l.next += l.size()
	}
	return err
}

// truncateLog copies what is left of the log and cuts it off. It waits for the
// readers of other programs only briefly: clients wait for the writer.
func truncateLog(conn *sql.Conn) (busy bool, err error) {
	ctx := context.Background()
	if _, err := conn.ExecContext(ctx, "PRAGMA busy_timeout(250)"); err != nil {
		return false, err
	}
	var frames, copied int
	err = conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &frames, &copied)
	_, restoreErr := conn.ExecContext(ctx, "PRAGMA "+busyTimeout)
	return busy, errors.Join(err, restoreErr)
}

func (l *walLog) size() int64 {
	info, err := os.Stat(l.path)
	if err != nil {
		return 0
	}
	return info.Size()
}
