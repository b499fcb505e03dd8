package upstream_test

import (
	"bytes"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postern/metrics"
	"postern/relay/message"
	"postern/relay/setting"
	"postern/relay/upstream"
	"postern/relay/upstream/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// logBuffer is a log to look into.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func options(t testing.TB) (upstream.Options, *logBuffer) {
	log := new(logBuffer)
	return upstream.Options{Hostname: "relay.example.com", DataDir: t.TempDir(),
		Metrics: metrics.New("test", "test"), Log: slog.New(slog.NewTextHandler(log, nil))}, log
}

// smarthost is the usual way to the scripted server.
func smarthost(t *testing.T, address string) upstream.Upstream {
	return upstream.Upstream{Name: "smart", Address: address, CA: rootFile(t), Username: username, Password: setting.Plain(password)}
}

// route has the one route "default" use the upstreams.
func route(us ...upstream.Upstream) upstream.Config {
	r := upstream.Route{Name: "default"}
	for _, u := range us {
		r.Upstreams = append(r.Upstreams, upstream.Group{u.Name})
	}
	return upstream.Config{Upstreams: us, Routes: []upstream.Route{r}}
}

func newSet(t testing.TB, cfg upstream.Config, o upstream.Options) *upstream.Set {
	t.Helper()
	s, err := upstream.New(cfg, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// send uses one slot of the route "default" for one message.
func send(t *testing.T, s *upstream.Set, m *message.Message) ([]transport.Result, error) {
	t.Helper()
	slot := s.TrySlot("default")
	if slot == nil {
		t.Fatal("no slot")
	}
	defer slot.Release()
	return slot.Send(t.Context(), m, nil)
}

func address(s string) message.Address {
	local, domain, _ := strings.Cut(s, "@")
	return message.Address{Local: local, Domain: domain}
}

// letter is a message to these recipients.
func letter(body string, to ...string) *message.Message {
	m := &message.Message{ID: "0123456789abcdef", Header: message.Header{message.NewField("Subject", "hello")},
		Body: message.Bytes(body), Received: time.Unix(0, 0)}
	m.From = address("scan@example.com")
	for _, a := range to {
		m.To = append(m.To, message.Recipient{Address: address(a)})
	}
	return m
}

func bytesOf(t *testing.T, m *message.Message) []byte {
	r, err := m.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func outcomes(results []transport.Result) string {
	var b bytes.Buffer
	for i, r := range results {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(r.Outcome.String())
	}
	return b.String()
}
