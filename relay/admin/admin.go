// Package admin is how those who run the relay reach it while it runs.
//
// Server shows over HTTP: /metrics for Prometheus, /healthz (the process lives)
// and /readyz (it takes mail; else 503 with the reason). Control takes commands
// over a socket in the data directory.
//
// What is shown and commanded is known to the rooms; the relay hands it in.
package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Server answers HTTP on one address.
type Server struct {
	http     http.Server
	ready    func() error
	draining atomic.Bool
	log      *slog.Logger
	address  net.Addr
}

// New makes a server; ready returns nil while mail is accepted.
func New(registry *prometheus.Registry, ready func() error, log *slog.Logger) *Server {
	s := &Server{ready: ready, log: log}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", s.readyz)
	s.http = http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	return s
}

// Start listens on address; "" opens no port.
func (s *Server) Start(address string) error {
	if address == "" {
		return nil
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	s.address = l.Addr()
	s.log.Info("metrics listening", "address", s.address.String())
	go func() {
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("metrics ended", "error", err)
		}
	}()
	return nil
}

// Address is where it listens after Start.
func (s *Server) Address() net.Addr { return s.address }

// Drain makes /readyz answer 503 from here on, so that a load balancer looks
// elsewhere.
func (s *Server) Drain() { s.draining.Store(true) }

// Close ends every connection.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return s.http.Shutdown(ctx)
}

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	err := s.ready()
	if s.draining.Load() {
		err = errors.New("stopping")
	}
	if err != nil {
		http.Error(w, fmt.Sprintf("not accepting mail: %v", err), http.StatusServiceUnavailable)
		return
	}
	io.WriteString(w, "ok\n")
}
