package queue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
)

// OpenReadOnly looks at the store under dir whether or not a process works on
// it. It takes no lock and changes nothing.
func OpenReadOnly(dir string) (Reader, error) {
	path := filepath.Join(dir, databaseName)
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("no queue in %s: %w", dir, err)
	}
	r, err := openReadOnly(path, dir)
	if err != nil {
		return nil, fmt.Errorf("queue in %s: %w", dir, err)
	}
	return r, nil
}

func openReadOnly(path, dir string) (*readOnly, error) {
	db, err := openReader(readOnlyDSN(path))
	if err != nil {
		return nil, err
	}
	r := &readOnly{reader{db: db, dir: dir}}
	version, err := userVersion(context.Background(), db)
	if err == nil && version == 0 {
		err = errors.New("it is empty; start Postern once to make it")
	}

	if err == nil {
		err = db.QueryRow(`SELECT NOT EXISTS (SELECT 1 FROM pragma_table_info('messages') WHERE name = 'about'),
			NOT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'search')`).Scan(&r.old, &r.unindexed)
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// readOnlyDSN opens the database so that no file is made. Without a log no
// process has the database open, and it does not change: SQLite is told so,
// since it would make the log and the shared memory otherwise, with this
// user's name on them, and a server of another user could not open them.
func readOnlyDSN(path string) string {
	query := url.Values{"mode": {"ro"}}
	if _, err := os.Stat(path + "-wal"); errors.Is(err, os.ErrNotExist) {
		query.Set("immutable", "1")
	}
	return dsn(path, "query_only(1)", "busy_timeout(1000)") + "&" + query.Encode()
}

// maxReaders is how many reads of the database go on at once.
const maxReaders = 4

func openReader(dsn string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(maxReaders)
	db.SetMaxIdleConns(maxReaders)
	return db, nil
}

type readOnly struct{ reader }

func (r *readOnly) Close() error { return r.db.Close() }
