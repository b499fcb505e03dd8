package queue

import (
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"postern/relay/message"
)

// spool takes a body, in memory up to InlineLimit and in a file from then on.
//
// The file has its final name from the start. It needs no rename: its name is
// random, and a file that no row names is nothing but an orphan, deleted when
// the store is opened. The commit of the row is what makes it part of a
// message, and by then its bytes and its name are durable.
type spool struct {
	store *SQLite
	buf   []byte
	file  file
	path  string
	size  int64
	sum   uint32
	eight bool

	err  error // of a write; final
	done *body // after Body
	kept bool  // a row may name the file
	left bool  // no longer counted as an accept to come
}

func (s *SQLite) Spool() Spool { return s.newSpool() }

func (s *SQLite) newSpool() *spool {
	s.w.accepts.Add(1)
	return &spool{store: s}
}

var errSpoolEnded = errors.New("the body has been ended or discarded")

func (sp *spool) Write(p []byte) (int, error) {
	if sp.done != nil || sp.left {
		return 0, errSpoolEnded
	}
	if sp.err == nil {
		sp.err = sp.write(p)
	}
	if sp.err != nil {
		return 0, sp.err
	}
	sp.size += int64(len(p))
	sp.sum = crc32.Update(sp.sum, castagnoli, p)
	sp.eight = sp.eight || message.Bytes(p).EightBit()
	return len(p), nil
}

func (sp *spool) write(p []byte) error {
	if sp.file == nil && len(sp.buf)+len(p) <= InlineLimit {
		sp.buf = append(sp.buf, p...)
		return nil
	}
	if sp.file == nil {
		if err := sp.spill(); err != nil {
			return sp.store.trouble(err)
		}
	}
	_, err := sp.file.Write(p)
	return sp.store.trouble(err)
}

// spill moves what is in memory to a file.
func (sp *spool) spill() error {
	path := filepath.Join(sp.store.spoolDir(), rand.Text())
	f, err := sp.store.files.create(path)
	if err != nil {
		return err
	}
	sp.file, sp.path = f, path
	_, err = f.Write(sp.buf)
	sp.buf = nil
	return err
}

func (sp *spool) Body() (message.Body, error) {
	if sp.left {
		return nil, errSpoolEnded
	}
	if sp.err == nil && sp.file != nil {
		sp.err = sp.store.trouble(sp.sync())
	}
	if sp.err != nil {
		return nil, sp.err
	}
	if sp.done == nil {
		sp.done = &body{data: sp.buf, path: sp.path, size: sp.size, sum: sp.sum, eight: sp.eight, spool: sp}
	}
	return sp.done, nil
}

// sync makes the file durable: its bytes, then its name.
func (sp *spool) sync() error {
	err := sp.file.Sync()
	if cerr := sp.file.Close(); err == nil {
		err = cerr
	}
	sp.file = nil
	if err != nil {
		return err
	}
	return sp.store.files.syncDir(sp.store.spoolDir())
}

func (sp *spool) Discard() {
	if sp.file != nil {
		sp.file.Close()
		sp.file = nil
	}
	if sp.path != "" && !sp.kept {
		sp.store.unlink(filepath.Base(sp.path))
		sp.path = ""
	}
	sp.leave()
}

// leave says that no accept is to come from this spool any more.
func (sp *spool) leave() {
	if !sp.left {
		sp.left = true
		sp.store.w.accepts.Add(-1)
	}
}

// keep makes any body one of this store's, copying a foreign one.
func (s *SQLite) keep(b message.Body) (*body, error) {
	if own, ok := b.(*body); ok && own.spool != nil && own.spool.store == s && !own.spool.left {
		return own, nil
	}
	sp := s.newSpool()
	if err := sp.copy(b); err != nil {
		sp.Discard()
		return nil, err
	}
	return sp.done, nil
}

func (sp *spool) copy(b message.Body) error {
	r, err := b.Open()
	if err != nil {
		return fmt.Errorf("body: %w", err)
	}
	defer r.Close()
	if _, err := io.Copy(sp, r); err != nil {
		return err
	}
	_, err = sp.Body()
	return err
}

// trouble turns an error of a body file into what the caller is told. A disk
// that cannot write is the end of the store, as it is in a commit.
func (s *SQLite) trouble(err error) error {
	switch {
	case err == nil:
		return nil
	case isFull(err):
		return replyFull()
	case isFinal(err):
		s.w.fail(err)
		return replyFailed()
	}
	return fmt.Errorf("spool: %w", err)
}

// unlink deletes a body file that no row names any more. When that fails the
// file is an orphan, and deleted when the store is opened next.
func (s *SQLite) unlink(name string) { _ = s.files.remove(filepath.Join(s.spoolDir(), name)) }

// sweepOrphans deletes the body files that no row names: of messages that were
// never accepted, or ended just before the process did.
func (s *SQLite) sweepOrphans() (int, error) {
	named, err := s.bodyFiles()
	if err != nil {
		return 0, err
	}
	entries, err := os.ReadDir(s.spoolDir())
	if err != nil {
		return 0, err
	}
	swept := 0
	for _, e := range entries {
		if !named[e.Name()] {
			s.unlink(e.Name())
			swept++
		}
	}
	return swept, nil
}

func (s *SQLite) bodyFiles() (map[string]bool, error) {
	rows, err := s.db.Query("SELECT file FROM contents WHERE file <> ''")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	named := map[string]bool{}
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		named[name] = true
	}
	return named, rows.Err()
}
