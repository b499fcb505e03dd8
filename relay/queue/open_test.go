package queue_test

import (
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	sqlite3 "modernc.org/sqlite/lib"

	"go.uber.org/goleak"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"postern/metrics"
	"postern/relay/message"
	"postern/relay/queue"
	"postern/relay/queue/queuetest"
)

func TestCloseLeavesNothingRunning(t *testing.T) {
	defer goleak.VerifyNone(t)
	s, err := queue.Open(queuetest.Config(), t.TempDir(), metrics.New("test", ""), quiet())
	if err != nil {
		t.Fatal(err)
	}
	putClaimed(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := queuetest.Put(t.Context(), s, queuetest.NewMessage("printer", 10, "a@example.com"), "office", ""); err == nil {
		t.Error("a closed store accepts")
	}
	if err := s.Wait(t.Context(), "office"); err == nil {
		t.Error("a closed store waits")
	}
}

func TestASecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	openIn(t, dir, queuetest.Config())
	_, err := queue.Open(queuetest.Config(), dir, metrics.New("test", ""), quiet())
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d works on it; stop that one first", os.Getpid())) {
		t.Errorf("error %v", err)
	}
}

func TestANewerSchemaIsRefused(t *testing.T) {
	dir := t.TempDir()
	db, err := sql.Open("sqlite", filepath.Join(dir, "queue.db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("PRAGMA user_version = 1000"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	const want = "written by a newer Postern (schema 1000"
	if _, err := queue.Open(queuetest.Config(), dir, metrics.New("test", ""), quiet()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v", err)
	}
	if _, err := queue.OpenReadOnly(dir); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("read only: error %v", err)
	}
}

func TestAnOlderSchemaIsBroughtUpToDate(t *testing.T) {
	dir := t.TempDir()
	s, err := queue.Open(queuetest.Config(), dir, metrics.New("test", ""), quiet())
	if err != nil {
		t.Fatal(err)
	}
	m := queuetest.NewMessage("printer", 100, "a@example.com")
	if _, err := queuetest.Put(t.Context(), s, m, "office", ""); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	toFirstSchema(t, dir)
	look(t, dir, m) // before it is: to look changes nothing
	s = openIn(t, dir, queuetest.Config())
	claims, err := s.Claim(t.Context(), "office", "m365", 1, 0)
	if err != nil || len(claims) != 1 || claims[0].Message.ID != m.ID {
		t.Errorf("claimed %v, %v", claims, err)
	}
}

// toFirstSchema makes of the database under dir what the first version wrote.
func toFirstSchema(t *testing.T, dir string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, "queue.db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`DROP TABLE search; DROP INDEX messages_unsought; ALTER TABLE messages DROP COLUMN sought;
		ALTER TABLE contents DROP COLUMN made; DROP TABLE digest; DROP INDEX messages_unwarned;
		ALTER TABLE messages DROP COLUMN warned; ALTER TABLE messages DROP COLUMN about; PRAGMA user_version = 1`); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// reopened is the store of a process that ended without a word: what it was
// sending it neither settled nor returned.
func reopened(t *testing.T, dir string, cfg queue.Config, m *metrics.Metrics, work func(s *queue.SQLite)) *queue.SQLite {
	t.Helper()
	s, err := queue.Open(queuetest.Config(), dir, metrics.New("test", ""), quiet())
	if err != nil {
		t.Fatal(err)
	}
	work(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = queue.Open(cfg, dir, m, quiet()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestWhatADeadProcessWasSendingIsUncertain(t *testing.T) {
	for policy, state := range map[string]queue.State{"retry": queue.Uncertain, "hold": queue.Held} {
		t.Run(policy, func(t *testing.T) {
			cfg := queuetest.Config()
			cfg.Uncertain = policy
			m := metrics.New("test", "")
			var id string
			s := reopened(t, t.TempDir(), cfg, m, func(s *queue.SQLite) { id = putClaimed(t, s).Message.ID })
			e, err := s.Show(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			d := e.Deliveries[0]
			if d.State != state || d.Lane != message.PinnedLane("m365") || d.Attempts != 1 || e.History[1].What != "interrupted" {
				t.Errorf("delivery %+v, history %+v", d, e.History)
			}
			if n := testutil.ToFloat64(m.DeliveriesUncertain.WithLabelValues("m365")); n != 1 {
				t.Errorf("counted %g", n)
			}
		})
	}
}

func TestOrphansAreSwept(t *testing.T) {
	dir := t.TempDir()
	orphan := filepath.Join(dir, "spool", "orphan")
	var kept *queue.Claim
	s := reopened(t, dir, queuetest.Config(), metrics.New("test", ""), func(s *queue.SQLite) {
		var err error
		m := queuetest.NewMessage("printer", 100_000, "a@example.com")
		if kept, err = queuetest.Put(t.Context(), s, m, "office", "m365"); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(orphan, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	if _, err := os.Stat(orphan); !os.IsNotExist(err) {
		t.Errorf("the orphan: %v", err)
	}
	e, err := s.Show(t.Context(), kept.Message.ID)
	if err != nil {
		t.Fatal(err)
	}
	if got := queuetest.Content(t, e.Body); len(got) != 100_000 {
		t.Errorf("the body has %d octets", len(got))
	}
}

func TestAVolatileFileSystemIsRefused(t *testing.T) {
	parent, err := os.MkdirTemp(volatile(t), "postern")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(parent)
	dir := filepath.Join(parent, "postern", "data")
	cfg := queuetest.Config()
	name, _, err := queue.Unfit(parent)
	if err != nil {
		t.Fatal(err)
	}
	cfg.AllowVolatile = false
	s, err := queue.Open(cfg, dir, metrics.New("test", ""), quiet())
	if name == "" { // the platform has none, or does not tell
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		return
	}
	if err == nil || !strings.Contains(err.Error(), "its file system is "+name) || !strings.Contains(err.Error(), "set data_dir") {
		t.Errorf("error %v", err)
	}
	if left := names(t, parent); left != "" {
		t.Errorf("left behind: %s", left)
	}
}

func TestOpenSaysWhatToDo(t *testing.T) {
	for _, test := range []struct {
		name string
		err  error
		want string
	}{
		{"a file system is read-only", &os.PathError{Op: "open", Path: "/data/lock", Err: syscall.EROFS}, "open /data/lock: read-only file system; its file system cannot be written; mount it read-write"},
		{"the directory is another user's", &os.PathError{Op: "mkdir", Path: "/data", Err: syscall.EACCES}, "permission denied; give the directory to the user that Postern runs as"},
		{"the database is another user's", fault(sqlite3.SQLITE_READONLY), "give the directory to the user"},
		{"the disk is full", &os.PathError{Op: "mkdir", Path: "/data", Err: syscall.ENOSPC}, "free some space"},
		{"another program writes", fault(sqlite3.SQLITE_BUSY), "another program has the database locked"},
	} {
		err := queue.Advise(test.err)
		if !strings.Contains(err.Error(), test.want) || !errors.Is(err, test.err) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "data")} {
		_, err := queue.Open(queuetest.Config(), dir, metrics.New("test", ""), quiet())
		if err == nil || !strings.Contains(err.Error(), "queue in "+dir) || !strings.Contains(err.Error(), "set data_dir to a directory that is one") {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

// volatile is a directory in memory where there is one.
func volatile(t *testing.T) string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return t.TempDir()
}

func TestReadOnly(t *testing.T) {
	dir := t.TempDir()
	if _, err := queue.OpenReadOnly(dir); err == nil || !strings.Contains(err.Error(), "no queue in") {
		t.Errorf("error %v", err)
	}
	s, err := queue.Open(queuetest.Config(), dir, metrics.New("test", ""), quiet())
	if err != nil {
		t.Fatal(err)
	}
	m := queuetest.NewMessage("printer", 100_000, "a@example.com")
	if _, err := queuetest.Put(t.Context(), s, m, "office", ""); err != nil {
		t.Fatal(err)
	}
	look(t, dir, m) // beside a running process
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before := names(t, dir)
	look(t, dir, m)
	if after := names(t, dir); after != before {
		t.Errorf("files before %q, after %q", before, after)
	}
}

func look(t *testing.T, dir string, m *message.Message) {
	t.Helper()
	r, err := queue.OpenReadOnly(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	list, err := r.List(t.Context(), queue.Filter{})
	if err != nil || len(list) != 1 || list[0].ID != m.ID {
		t.Fatalf("list %v, %v", list, err)
	}
	for account, want := range map[string]int{"PRINTER": 1, "nobody": 0} {
		if found, err := r.Search(t.Context(), queue.Filter{All: true, Account: account}); err != nil || len(found.Entries) != want {
			t.Errorf("of account %s %d found, %v", account, len(found.Entries), err)
		}
	}
	e, err := r.Show(t.Context(), strings.ToUpper(m.ID))
	if err != nil {
		t.Fatal(err)
	}
	if string(queuetest.Content(t, e.Body)) != string(queuetest.Content(t, m.Body)) {
		t.Error("the body is another")
	}
}

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func TestADamagedMessageIsSetAside(t *testing.T) {
	t.Parallel()
	spoiled := func(change func([]byte) []byte) func(*testing.T, *queue.SQLite, string) {
		return func(t *testing.T, _ *queue.SQLite, dir string) {
			files, err := filepath.Glob(filepath.Join(dir, "spool", "*"))
			if err != nil || len(files) != 1 {
				t.Fatalf("files %v, %v", files, err)
			}
			b, err := os.ReadFile(files[0])
			if err == nil {
				err = os.WriteFile(files[0], change(b), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	exec := func(query string) func(*testing.T, *queue.SQLite, string) {
		return func(t *testing.T, s *queue.SQLite, _ string) {
			if err := s.Exec(query); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, test := range []struct {
		name  string
		size  int
		spoil func(t *testing.T, s *queue.SQLite, dir string)
		want  string
	}{
		{"an octet of a body in its row is another", 10, exec(`UPDATE contents SET body = x'00010203040506070809'`), "its body does not have the checksum"},
		{"an octet of the header is another", 10, exec(`UPDATE contents SET header = x'41'`), "its header does not have the checksum"},
		{"the header is no header", 10, exec(`UPDATE contents SET header = x'', header_sum = 0, body_size = 11`), "its body does not have"},
		{"the content is gone", 10, exec(`DELETE FROM contents`), "its content is not in the database"},
		{"the sender is no address", 10, exec(`UPDATE messages SET sender = '@'`), "is not an address"},
		{"a recipient is no address", 10, exec(`UPDATE deliveries SET recipient = '@'`), `recipient "@" cannot be read`},
		{"the client cannot be read", 10, exec(`UPDATE messages SET client = '['`), "unexpected end of JSON"},
		{"a body file has lost its end", 100_000, spoiled(func(b []byte) []byte { return b[:50_000] }), "has 50000 octets instead of 100000"},
		{"a body file has more", 100_000, spoiled(func(b []byte) []byte { return append(b, 'x') }), "has 100001 octets instead of 100000"},
		{"a body file is missing", 100_000, func(t *testing.T, _ *queue.SQLite, dir string) {
			if err := os.RemoveAll(filepath.Join(dir, "spool")); err != nil {
				t.Fatal(err)
			}
		}, "its body file is missing"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir, m := t.TempDir(), metrics.New("test", "")
			s, err := queue.Open(queuetest.Config(), dir, m, quiet())
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			bad := queuetest.NewMessage("printer", test.size, "a@example.com")
			if _, err := queuetest.Put(t.Context(), s, bad, "office", ""); err != nil {
				t.Fatal(err)
			}
			test.spoil(t, s, dir)
			good := queuetest.NewMessage("printer", 10, "a@example.com")
			if _, err := queuetest.Put(t.Context(), s, good, "office", ""); err != nil {
				t.Fatal(err)
			}
			claims, err := s.Claim(t.Context(), "office", "m365", 10, 0)
			if err != nil || len(claims) != 1 || claims[0].Message.ID != good.ID {
				t.Fatalf("claims %v, %v", claims, err)
			}
			isSetAside(t, s, bad.ID, test.want)
			if n := testutil.ToFloat64(m.QueueDamaged); n != 1 {
				t.Errorf("counted %g", n)
			}
		})
	}
}

func isSetAside(t *testing.T, s *queue.SQLite, id, want string) {
	t.Helper()
	e, err := s.Show(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(e.Damaged, want) || e.Deliveries[0].State != queue.Held || !e.Finished.IsZero() {
		t.Errorf("damaged %q, want %q; deliveries %+v", e.Damaged, want, e.Deliveries)
	}
	if last := e.History[len(e.History)-1]; last.What != "damaged" || !strings.Contains(last.Text, want) {
		t.Errorf("history %+v", e.History)
	}
}

func TestDamageFoundWhileSendingSetsAside(t *testing.T) {
	for name, end := range map[string]func(s *queue.SQLite, c *queue.Claim) error{
		"settled": func(s *queue.SQLite, c *queue.Claim) error {
			_, err := s.Settle(t.Context(), c, []queue.Outcome{{Result: message.Result{Outcome: message.Deferred}}}, nil)
			return err
		},
		"returned": func(s *queue.SQLite, c *queue.Claim) error { return s.Return(t.Context(), c, "it cannot be read") },
	} {
		t.Run(name, func(t *testing.T) {
			dir, m := t.TempDir(), metrics.New("test", "")
			s, err := queue.Open(queuetest.Config(), dir, m, quiet())
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			c, err := queuetest.Put(t.Context(), s, queuetest.NewMessage("printer", 100_000, "a@example.com"), "office", "m365")
			if err != nil {
				t.Fatal(err)
			}
			files, _ := filepath.Glob(filepath.Join(dir, "spool", "*"))
			if err := os.WriteFile(files[0], queuetest.Octets(100_000), 0o600); err != nil {
				t.Fatal(err)
			}
			r, err := c.Message.Open()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if err := drain(r); !isDamaged(err) {
				t.Fatalf("read to the end: %v", err)
			}
			if err := end(s, c); err != nil {
				t.Fatal(err)
			}
			isSetAside(t, s, c.Message.ID, "does not have the checksum")
			if n := testutil.ToFloat64(m.QueueDamaged); n != 1 {
				t.Errorf("counted %g", n)
			}
		})
	}
}

func drain(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}

func isDamaged(err error) bool { return errors.Is(err, message.ErrDamaged) }
