package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// started is a control with two commands on a directory.
func started(t *testing.T, dir string) *bytes.Buffer {
	t.Helper()
	log := &bytes.Buffer{}
	c := NewControl(slog.New(slog.NewTextHandler(log, nil)))
	c.Handle("GET /greeting/{name}", func(r *http.Request) (any, error) {
		return "hello " + r.PathValue("name"), nil
	})
	c.Handle("POST /sum", func(r *http.Request) (any, error) {
		var terms []int
		if err := json.NewDecoder(r.Body).Decode(&terms); err != nil {
			return nil, err
		}
		if len(terms) == 0 {
			return nil, errors.New("there is nothing to add; give some numbers")
		}
		sum := 0
		for _, n := range terms {
			sum += n
		}
		return sum, nil
	})
	if err := c.Start(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return log
}

func TestCommandsAreAnswered(t *testing.T) {
	dir := t.TempDir()
	log := started(t, dir)
	var greeting string
	if err := Command(t.Context(), dir, "GET", "/greeting/printer", nil, &greeting); err != nil || greeting != "hello printer" {
		t.Errorf("got %q, %v", greeting, err)
	}
	if log.Len() > 0 {
		t.Errorf("to look is logged: %s", log)
	}
	var sum int
	if err := Command(t.Context(), dir, "POST", "/sum", []int{1, 2, 3}, &sum); err != nil || sum != 6 {
		t.Errorf("got %d, %v", sum, err)
	}
	who := ""
	if u, err := user.Current(); err == nil && runtime.GOOS == "linux" {
		who = "user=" + u.Username
	}
	if got := log.String(); !strings.Contains(got, `command="POST /sum"`) || !strings.Contains(got, who) {
		t.Errorf("the log is %s", got)
	}
}

func TestARefusalIsToldInWords(t *testing.T) {
	dir := t.TempDir()
	started(t, dir)
	if err := Command(t.Context(), dir, "POST", "/sum", []int{}, nil); err == nil || err.Error() != "there is nothing to add; give some numbers" {
		t.Errorf("got %v", err)
	}
	if err := Command(t.Context(), dir, "POST", "/nothing", nil, nil); err == nil {
		t.Error("an unknown command was taken")
	}
	if err := Command(t.Context(), dir, "POST", "/sum", strings.Repeat("x", maxCommand+1), nil); err == nil {
		t.Error("a command of any size was taken")
	}
}

func TestWithoutARelayThatIsSaid(t *testing.T) {
	dir := t.TempDir()
	if err := Command(t.Context(), dir, "GET", "/", nil, nil); !errors.Is(err, ErrNotRunning) {
		t.Errorf("without a socket: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, ControlSocket), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Command(t.Context(), dir, "GET", "/", nil, nil); !errors.Is(err, ErrNotRunning) {
		t.Errorf("with what a relay left that died: %v", err)
	}
	started(t, dir) // takes its place
	if err := Command(t.Context(), dir, "GET", "/greeting/x", nil, nil); err != nil {
		t.Errorf("after another start: %v", err)
	}
}

func TestOnlyTheOwnerMayCommand(t *testing.T) {
	dir := t.TempDir()
	started(t, dir)
	info, err := os.Stat(filepath.Join(dir, ControlSocket))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestADirectoryWithALongName(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // the limit stands there
	}
	dir := filepath.Join(t.TempDir(), strings.Repeat("directory/", 20))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	started(t, dir)
	if err := Command(t.Context(), dir, "GET", "/greeting/x", nil, nil); err != nil {
		t.Error(err)
	}
}

func TestACommandEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	c := NewControl(slog.New(slog.DiscardHandler))
	seen := make(chan struct{})
	c.Handle("GET /wait", func(r *http.Request) (any, error) {
		close(seen)
		<-r.Context().Done()
		return nil, r.Context().Err()
	})
	if err := c.Start(dir); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-seen; cancel() }()
	if err := Command(ctx, dir, "GET", "/wait", nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
