package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ControlSocket is the name, in the data directory, of the socket on which a
// running relay takes the commands of who runs it.
const ControlSocket = "control.sock"

// maxCommand bounds what a command carries, and what an answer does, in octets.
const (
	maxCommand = 64 << 10
	maxAnswer  = 64 << 20
)

// ErrNotRunning says that no relay runs on the data directory.
var ErrNotRunning = errors.New("no relay runs on this data directory")

// Control is HTTP with JSON on a socket that nobody but the relay's own user
// and root may open; the file's mode is all the authentication there is. Every
// command that is not a GET is logged with the user who gave it, and with the
// ?reason= of it.
type Control struct {
	mux  *http.ServeMux
	http http.Server
	log  *slog.Logger
}

// NewControl makes a control without commands.
func NewControl(log *slog.Logger) *Control {
	c := &Control{mux: http.NewServeMux(), log: log}
	c.http = http.Server{
		Handler:           c.mux,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ConnContext:       withPeer,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	return c
}

// Handle makes answer what a request to pattern, as of [http.ServeMux], gets.
// What it returns is told as JSON; an error is told with status 422 and means
// that nothing was changed.
func (c *Control) Handle(pattern string, answer func(*http.Request) (any, error)) {
	c.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxCommand)
		got, err := answer(r)
		if r.Method != http.MethodGet {
			c.log.Info("command", "command", told(r), "user", Peer(r.Context()), "reason", Reason(r), "refused", err != nil)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(got)
	})
}

// told is a command as it is logged, without its reason.
func told(r *http.Request) string {
	query := r.URL.Query()
	query.Del("reason")
	return strings.TrimSuffix(r.Method+" "+r.URL.EscapedPath()+"?"+query.Encode(), "?")
}

// largePatience is how long one large request may take.
const largePatience = 10 * time.Minute

// HandleLarge is Handle for what does not fit in a command: the request may be
// of any size, and the answer is Content, which is closed. None is logged here,
// as there may be many.
func (c *Control) HandleLarge(pattern string, answer func(*http.Request) (Content, error)) {
	c.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		limits, end := http.NewResponseController(w), time.Now().Add(largePatience)
		if err := errors.Join(limits.SetReadDeadline(end), limits.SetWriteDeadline(end)); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		got, err := answer(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
			return
		}
		defer got.Close()
		w.Header().Set("Content-Length", strconv.FormatInt(got.Size, 10))
		io.CopyN(w, got, got.Size) // what it cannot read the other end misses
	})
}

// Content is that many octets.
type Content struct {
	io.ReadCloser
	Size int64
}

// Start listens in dataDir, of which the caller has sole use: a socket that is
// there already was left by a relay that died.
func (c *Control) Start(dataDir string) error {
	path := filepath.Join(dataDir, ControlSocket)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var l net.Listener
	err := inDirectory(dataDir, func(dir string) (err error) {
		l, err = net.Listen("unix", filepath.Join(dir, ControlSocket))
		return err
	})
	if err != nil {
		return fmt.Errorf("control socket %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(err, l.Close())
	}
	go func() {
		if err := c.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			c.log.Error("control socket ended", "error", err)
		}
	}()
	return nil
}

// Close takes no more commands and breaks off those that run.
func (c *Control) Close() error { return c.http.Close() }

func dialControl(ctx context.Context, dataDir string) (conn net.Conn, err error) {
	err = inDirectory(dataDir, func(dir string) (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, ControlSocket))
		return err
	})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, ErrNotRunning
	}
	return conn, err
}

type peerKey struct{}

// withPeer notes who is at the other end.
func withPeer(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, peerKey{}, peerName(conn))
}

// Reason is why a command was given; "" when that was not said.
func Reason(r *http.Request) string { return strings.TrimSpace(r.URL.Query().Get("reason")) }

// By is who gave a command and why, as a record tells it: "root: new mailbox".
func By(r *http.Request) string {
	who := cmp.Or(Peer(r.Context()), "somebody")
	if why := Reason(r); why != "" {
		who += ": " + why
	}
	return who
}

// Peer is the user who gave a command; "" where the system does not tell.
func Peer(ctx context.Context) string {
	name, _ := ctx.Value(peerKey{}).(string)
	return name
}
