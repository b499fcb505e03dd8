package queue

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	_ "modernc.org/sqlite" // the driver

	"postern/metrics"
	"postern/relay/message"
)

// SQLite is the embedded Store: one database file, large bodies as files
// beside it, one writer. In the directory:
//
//	lock      held while the store is open
//	queue.db  everything but large bodies; with -wal and -shm while open
//	spool/    a file per large body
//	reserve   space for outcomes when the disk is full
type SQLite struct {
	reader
	files   files
	lock    *os.File
	write   *sql.DB
	w       *writer
	metrics *metrics.Metrics
	log     *slog.Logger

	settings    atomic.Pointer[settings]
	incarnation string // marks the claims of this process
	bells       bells
	served      map[string]string // account served last, by lane; writer goroutine only
	filling     sync.WaitGroup    // the index of the history
	stopFilling context.CancelFunc
}

var _ Store = (*SQLite)(nil)

// settings are what a reload can change.
type settings struct {
	Config
	usual  schedule
	routes map[string]schedule // of those who have their own, as Config.Routes
}

func newSettings(c Config) *settings {
	s := &settings{c, newSchedule(c, ""), map[string]schedule{}}
	for name := range c.Routes {
		s.routes[name] = newSchedule(c, name)
	}
	return s
}

// of is the schedule of a lane.
func (s *settings) of(lane string) schedule {
	if own, ok := s.routes[message.RouteOf(lane)]; ok {
		return own
	}
	return s.usual
}

// ceiling is the latest time a delivery of any lane can be waiting for.
func (s *settings) ceiling(now time.Time) time.Time {
	latest := s.usual.ceiling(now)
	for _, own := range s.routes {
		if t := own.ceiling(now); t.After(latest) {
			latest = t
		}
	}
	return latest
}

// Open opens the store under dir, makes it if there is none, and sets right
// what the last process left: deliveries it was sending become uncertain,
// bodies that belong to no message are deleted. Errors are sentences for the
// operator.
func Open(cfg Config, dir string, m *metrics.Metrics, log *slog.Logger) (*SQLite, error) {
	s := &SQLite{
		reader: reader{dir: dir}, files: disk{}, metrics: m, log: log, incarnation: rand.Text(),
		bells: bells{lane: map[string]chan struct{}{}}, served: map[string]string{}, stopFilling: func() {},
	}
	s.Configure(cfg)
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("queue in %s: %w", dir, errors.Join(advise(err), s.closeFiles()))
	}
	go s.w.run()
	if err := s.recover(); err != nil {
		return nil, fmt.Errorf("queue in %s: %w", dir, errors.Join(advise(err), s.Close()))
	}
	var ctx context.Context
	ctx, s.stopFilling = context.WithCancel(context.Background())
	s.filling.Go(func() { s.fill(ctx) })
	return s, nil
}

func (s *SQLite) open() error {
	if err := s.checkVolume(); err != nil {
		return err
	}
	if err := os.MkdirAll(s.spoolDir(), 0o700); err != nil {
		return err
	}
	var err error
	if s.lock, err = lockDir(s.dir); err != nil {
		return err
	}
	if err := s.openDatabase(); err != nil {
		return err
	}
	for _, dir := range []string{s.spoolDir(), s.dir, filepath.Dir(s.dir)} {
		if err := syncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

func (s *SQLite) openDatabase() error {
	ctx := context.Background()
	path := filepath.Join(s.dir, databaseName)
	err := keepPrivate(path)
	if err != nil {
		return err
	}
	// Autocheckpoints are off because walLog makes them.
	s.write, err = sql.Open("sqlite", dsn(path, busyTimeout, "journal_mode(WAL)", "synchronous(FULL)", "wal_autocheckpoint(0)",
		fmt.Sprintf("journal_size_limit(%d)", walLimit), "cache_size(-32768)"))
	if err != nil {
		return err
	}
	s.write.SetMaxOpenConns(2) // the writer and the checkpoint
	s.write.SetMaxIdleConns(2)
	conn, err := s.write.Conn(ctx)
	if err != nil {
		return err
	}
	if err := migrate(ctx, conn); err != nil {
		return errors.Join(err, conn.Close())
	}
	s.w = newWriter(conn, &reserve{path: filepath.Join(s.dir, "reserve")}, newWALLog(path+"-wal", s.write), s.metrics.QueueCommit)
	s.db, err = openReader(dsn(path, "query_only(1)", "busy_timeout(1000)"))
	return err
}

const databaseName = "queue.db"

// busyTimeout, in milliseconds, is how long the writer waits for a person or a
// backup that has the database locked. A client waits that long for its 250,
// which is better than being told to come back.
const busyTimeout = "busy_timeout(5000)"

// dsn names a database file with pragmas for each of its connections.
func dsn(path string, pragmas ...string) string {
	path = filepath.ToSlash(path)
	if runtime.GOOS == "windows" && !strings.HasPrefix(path, "/") {
		path = "/" + path // file:///C:/...
	}
	u := url.URL{Scheme: "file", OmitHost: true, Path: path}
	q := url.Values{"_pragma": pragmas}
	return u.String() + "?" + q.Encode()
}

// recover sets right what the last process left.
func (s *SQLite) recover() error {
	if err := s.restoreReserve(); err != nil {
		return err
	}
	orphans, err := s.sweepOrphans()
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	if orphans > 0 {
		s.log.Info("deleted bodies that belong to no message", "files", orphans)
	}
	if err := s.countDamaged(); err != nil {
		return err
	}
	ctx := context.Background()
	if err := s.mendTimes(ctx); err != nil && !isFull(err) { // Sweep will try again
		return err
	}
	return s.interrupt(ctx)
}

// restoreReserve sets aside the space for outcomes. A disk too full for it is
// no error: what waits can still be delivered, and Ready refuses more.
func (s *SQLite) restoreReserve() error {
	if err := s.w.reserve.restore(); err != nil && !isFull(err) {
		return fmt.Errorf("reserve: %w", err)
	}
	return nil
}

func (s *SQLite) countDamaged() error {
	var n int
	if err := s.db.QueryRow("SELECT count(*) FROM messages WHERE damaged <> ''").Scan(&n); err != nil {
		return err
	}
	s.metrics.QueueDamaged.Set(float64(n))
	return nil
}

// Configure implements Store.
func (s *SQLite) Configure(cfg Config) {
	s.settings.Store(newSettings(cfg))
}

// Ready implements Store.
func (s *SQLite) Ready() error {
	if s.w.hasFailed() {
		return replyFailed()
	}
	if !s.inPlace() {
		return replyFailed()
	}
	free, err := freeSpace(s.dir)
	if err != nil {
		return fmt.Errorf("free space: %w", err)
	}
	if free < int64(s.settings.Load().MinFree) || !s.w.reserve.kept.Load() {
		return replyFull()
	}
	return nil
}

// Failed implements Store.
func (s *SQLite) Failed() <-chan struct{} { return s.w.failed }

// Err implements Store.
func (s *SQLite) Err() error {
	if !s.w.hasFailed() {
		return nil
	}
	return s.w.err
}

// Close ends the store after what has been submitted. Claims still out become
// uncertain when it is opened next, so settle or return them first.
func (s *SQLite) Close() error {
	s.stopFilling()
	s.filling.Wait()
	s.w.stop()
	s.w.log.passive.Wait()
	return s.closeFiles()
}

// closeFiles closes what has been opened, the lock last.
func (s *SQLite) closeFiles() error {
	var errs []error
	if s.db != nil {
		errs = append(errs, s.db.Close())
	}
	if s.w != nil {
		errs = append(errs, s.w.closeConn())
	}
	if s.write != nil {
		errs = append(errs, s.write.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}
