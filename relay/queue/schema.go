package queue

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// migrations make a database step by step what this version works with. How
// many it has seen is kept in it (PRAGMA user_version). A step is never changed
// once it was released.
var migrations = []string{
	schema,
	`ALTER TABLE contents ADD COLUMN made TEXT NOT NULL DEFAULT '';`, // JSON of Made, '' without signatures
	reports,
	searches,
	calm,
}

// schemaVersion is that of a database that has seen all of them; a newer one
// is not touched.
var schemaVersion = len(migrations)

// waiting is the condition of the deliveries a claim may take. SQLite uses the
// partial index only for a query that has the very same condition.
const waiting = `state IN ('queued','deferred','uncertain')`

// schema is the first version's. Times are Unix milliseconds. Deliveries and history are kept in the order of
// their message, so that all of a message is read and deleted in one place.
const schema = `
CREATE TABLE messages (
	n        INTEGER PRIMARY KEY,
	id       TEXT NOT NULL UNIQUE,
	account  TEXT NOT NULL,
	received INTEGER NOT NULL,
	sender   TEXT NOT NULL,            -- wire form, '' is the null sender
	envelope TEXT NOT NULL,            -- JSON: the parameters of MAIL
	client   TEXT NOT NULL,            -- JSON
	size     INTEGER NOT NULL,         -- octets on the wire
	damaged  TEXT NOT NULL DEFAULT '', -- what is wrong with the content
	finished INTEGER,                  -- when the last recipient ended
	kept     INTEGER NOT NULL DEFAULT 0 -- once finished: octets of its history, roughly
) STRICT;
CREATE INDEX messages_open ON messages (received, size, finished) WHERE finished IS NULL;
CREATE INDEX messages_finished ON messages (finished, kept) WHERE finished IS NOT NULL;
CREATE INDEX messages_damaged ON messages (n) WHERE damaged <> '';

CREATE TABLE contents (                -- gone when the message has finished
	message    INTEGER PRIMARY KEY,
	header     BLOB NOT NULL,
	header_sum INTEGER NOT NULL,       -- CRC-32C
	body       BLOB,                   -- NULL when in the file
	file       TEXT NOT NULL,          -- name under spool/, or ''
	body_size  INTEGER NOT NULL,
	body_sum   INTEGER NOT NULL,
	eight_bit  INTEGER NOT NULL
) STRICT;

CREATE TABLE deliveries (
	message    INTEGER NOT NULL,
	n          INTEGER NOT NULL,
	recipient  TEXT NOT NULL,          -- wire form
	parameters TEXT NOT NULL,          -- JSON: the parameters of RCPT
	account    TEXT NOT NULL,
	lane       TEXT NOT NULL,
	state      TEXT NOT NULL,
	upstream   TEXT NOT NULL,          -- last claimed for
	owner      TEXT NOT NULL,          -- while sending: the incarnation that does
	attempts   INTEGER NOT NULL,
	next_at    INTEGER NOT NULL,       -- 0: none
	reply      TEXT NOT NULL,          -- JSON
	remote_id  TEXT NOT NULL,
	PRIMARY KEY (message, n)
) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_due ON deliveries (lane, account, next_at, state) WHERE ` + waiting + `;
CREATE INDEX deliveries_rest ON deliveries (state) WHERE state IN ('sending','held');

CREATE TABLE history (
	message INTEGER NOT NULL,
	n       INTEGER NOT NULL,
	at      INTEGER NOT NULL,
	what    TEXT NOT NULL,
	detail  TEXT NOT NULL,             -- JSON
	PRIMARY KEY (message, n)
) STRICT, WITHOUT ROWID;
`

// reports is what is told of deliveries: messages of our own, and the failures
// that the next digest names.
const reports = `
ALTER TABLE messages ADD COLUMN about TEXT NOT NULL DEFAULT '';    -- the id it reports on, or 'digest'
ALTER TABLE messages ADD COLUMN warned INTEGER NOT NULL DEFAULT 0; -- 1: its delay has been told of, or need not be
CREATE INDEX messages_unwarned ON messages (received) WHERE finished IS NULL AND warned = 0;
CREATE TABLE digest (
	n      INTEGER PRIMARY KEY,
	at     INTEGER NOT NULL,
	detail TEXT NOT NULL               -- JSON of Settled
) STRICT;
`

// searches is what the history is searched by: an index of terms ([termsOf]) over
// messages, by their n, which keeps neither text nor places. It is filled behind
// the mail (fill.go); messages_unsought leads to what it does not know, or not as
// it is now. That costs an acceptance the end of a small index, and a delivery
// nothing, but for one that was in the index as it waited. The migration makes only these two; what a database held before is
// filled in while mail goes on.
const searches = `
ALTER TABLE messages ADD COLUMN sought INTEGER NOT NULL DEFAULT 0; -- 1: found by search as it is
CREATE INDEX messages_unsought ON messages (n) WHERE sought = 0;
CREATE VIRTUAL TABLE search USING fts5 (terms, content = '', contentless_delete = 1, detail = none,
	tokenize = "ascii tokenchars '` + connectors + `'");
`

// calm has the index not rewrite what holds many messages that have left it. Such a
// merge reads all of them in one transaction: after 100,000 had changed at once, mail
// waited five seconds for it. They go when parts of the index grow together.
const calm = `INSERT INTO search (search, rank) VALUES ('deletemerge', 0);`

// migrate brings a database to our schema, or refuses one from the future.
func migrate(ctx context.Context, conn *sql.Conn) error {
	version, err := userVersion(ctx, conn)
	if err != nil || version == schemaVersion {
		return err
	}
	steps := strings.Join(migrations[version:], "\n")
	_, err = conn.ExecContext(ctx, fmt.Sprintf("BEGIN IMMEDIATE; %s; PRAGMA user_version = %d; COMMIT", steps, schemaVersion))
	return err
}

type queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// userVersion is the schema version of a database, 0 for an empty one. One
// that is newer than ours is an error.
func userVersion(ctx context.Context, q queryer) (int, error) {
	var version int
	if err := q.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return 0, err
	}
	if version > schemaVersion {
		return 0, fmt.Errorf("it was written by a newer Postern (schema %d, this one knows %d); run that version again, or move the data directory away to start empty", version, schemaVersion)
	}
	return version, nil
}
