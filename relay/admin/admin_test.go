package admin_test

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"postern/relay/admin"
)

func TestWhatIsShown(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "postern_test", Help: "A number."}))
	var trouble error
	s := admin.New(registry, func() error { return trouble }, slog.New(slog.DiscardHandler))
	if err := s.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	show := func(path string, status int, text string) {
		t.Helper()
		resp, err := http.Get("http://" + s.Address().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != status || !strings.Contains(string(body), text) {
			t.Errorf("%s: %d %q, %v; want %d with %q", path, resp.StatusCode, body, err, status, text)
		}
	}
	show("/metrics", 200, "postern_test 0")
	show("/healthz", 200, "ok")
	show("/readyz", 200, "ok")
	show("/", 404, "")
	trouble = errors.New("452 4.3.1 the disk is full")
	show("/readyz", 503, "not accepting mail: 452 4.3.1 the disk is full")
	show("/healthz", 200, "ok")
	trouble = nil
	s.Drain()
	show("/readyz", 503, "stopping")
}

func TestAnAddressInUseIsSaid(t *testing.T) {
	s := admin.New(prometheus.NewRegistry(), func() error { return nil }, slog.New(slog.DiscardHandler))
	if err := s.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	again := admin.New(prometheus.NewRegistry(), func() error { return nil }, slog.New(slog.DiscardHandler))
	if err := again.Start(s.Address().String()); err == nil {
		t.Error("two servers on one address")
	}
}
