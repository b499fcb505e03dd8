package archive_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/relay/archive"
)

const content = "Subject: x\r\n\r\nA page.\r\n"

// write makes an archive of so many messages.
func write(t *testing.T, name string, messages int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	w, err := archive.Create(path, archive.Head{Hostname: "relay.example.com", Made: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	for i := range messages {
		if err := w.Add(fmt.Sprintf("id%d", i), []byte(`{"n":1}`), int64(len(content)), strings.NewReader(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	for _, name := range []string{"a.tar", "a.tar.gz"} {
		r, err := archive.Open(write(t, name, 3))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if r.Messages != 3 || r.Hostname != "relay.example.com" {
			t.Errorf("%+v", r)
		}
		var got []string
		err = r.Each(func(m archive.Message) error {
			b, err := io.ReadAll(m.Content)
			if string(b) != content || m.Size != int64(len(content)) || string(m.Record) != `{"n":1}` {
				t.Errorf("%+v: %q", m, b)
			}
			got = append(got, m.ID)
			return err
		})
		if err != nil || strings.Join(got, " ") != "id0 id1 id2" {
			t.Errorf("read %v, %v", got, err)
		}
	}
}

// Whatever is changed in a file, or missing at its end, nothing is read of it.
func TestADamagedArchiveIsRefused(t *testing.T) {
	for _, name := range []string{"a.tar", "a.tar.gz"} {
		path := write(t, name, 2)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		try := func(what string, b []byte) {
			t.Helper()
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			if r, err := archive.Open(path); err == nil {
				if n := readable(r); n != 2 {
					t.Errorf("%s, %s: opened, and %d messages are in it", name, what, n)
				}
				r.Close()
			} else if !errors.Is(err, archive.ErrDamaged) {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
		for n := 0; n < len(good)-1024 && n < len(good)*9/10; n += 37 {
			try(fmt.Sprintf("cut after %d octets", n), good[:n])
		}
		if i := bytes.Index(good, []byte("A page.")); i >= 0 {
			changed := bytes.Clone(good)
			changed[i]++
			os.WriteFile(path, changed, 0o600)
			if _, err := archive.Open(path); !errors.Is(err, archive.ErrDamaged) || !strings.Contains(err.Error(), "id0/message.eml") {
				t.Errorf("a changed octet is %v", err)
			}
		}
	}
}

// readable counts the messages that are whole.
func readable(r *archive.Reader) (n int) {
	r.Each(func(m archive.Message) error {
		if b, err := io.ReadAll(m.Content); err == nil && string(b) == content {
			n++
		}
		return nil
	})
	return n
}

func TestANewerArchiveIsRefused(t *testing.T) {
	path := write(t, "a.tar", 1)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Replace(b, []byte(`"version": 1`), []byte(`"version": 2`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := archive.Open(path); err == nil || !strings.Contains(err.Error(), "newer Postern") {
		t.Errorf("opened with %v", err)
	}
}

// Nothing is to be seen of an archive before it is complete, and none is written
// over another.
func TestAnArchiveAppearsWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.tar")
	w, err := archive.Create(path, archive.Head{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Add("id", []byte("{}"), 100, strings.NewReader(content)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("content that ends early is %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("it is there before it is complete")
	}
	if err := w.Discard(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
	there := write(t, "b.tar", 1)
	if _, err := archive.Create(there, archive.Head{}); err == nil || !strings.Contains(err.Error(), "there already") {
		t.Errorf("written over: %v", err)
	}
}
