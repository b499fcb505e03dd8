package submission

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"postern/metrics"
)

// Server listens for clients.
type Server struct {
	gateway     Gateway
	metrics     *metrics.Metrics
	log         *slog.Logger
	timeouts    timeouts
	connections *connections
	handshakes  gate

	mu      sync.Mutex
	doors   []*door
	down    bool
	running sync.WaitGroup // doors, and clients about to come in
}

// NewServer makes a server that asks gw. It listens after Start.
func NewServer(gw Gateway, m *metrics.Metrics, log *slog.Logger) *Server {
	return &Server{gateway: gw, metrics: m, log: log, timeouts: defaultTimeouts, connections: newConnections(), handshakes: newGate()}
}

// Start reads the certificates and listens on every address. After an error,
// which says which address and why, nothing is listened on.
func (s *Server) Start(cfg Config) error { return s.apply(cfg) }

// Reload makes cfg what new clients get. Addresses that are new are listened
// on before anything changes, so that after an error everything is as it was;
// those that are gone are closed. Running sessions are not touched.
func (s *Server) Reload(cfg Config) error { return s.apply(cfg) }

func (s *Server) apply(cfg Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return errors.New("the server is shut down")
	}
	if err := cfg.check(); err != nil {
		return err
	}
	certs, err := loadCertificates(cfg.TLS.Certificates, s.metrics, s.log)
	if err != nil {
		return err
	}
	profiles, err := newProfiles(cfg, certs)
	if err != nil {
		return err
	}
	doors, fresh, err := s.plan(cfg.Listeners)
	if err != nil {
		return err
	}
	s.change(cfg, profiles, doors, fresh)
	certs.show()
	return nil
}

// plan finds the door of each listener, one that is open already or a fresh
// one. After an error the fresh ones are closed again.
func (s *Server) plan(listeners []Listener) (doors, fresh []*door, err error) {
	old := slices.Clone(s.doors)
	for _, l := range listeners {
		i := slices.IndexFunc(old, func(d *door) bool { return d.address == l.Address && d.name == l.Name })
		if i < 0 { // renamed
			i = slices.IndexFunc(old, func(d *door) bool { return d.address == l.Address })
		}
		if i >= 0 {
			doors = append(doors, old[i])
			old = slices.Delete(old, i, i+1)
			continue
		}
		d, err := bind(l)
		if err != nil {
			for _, d := range fresh {
				d.close()
			}
			return nil, nil, err
		}
		doors, fresh = append(doors, d), append(fresh, d)
	}
	return doors, fresh, nil
}

// change makes the plan true. It cannot fail.
func (s *Server) change(cfg Config, profiles []*profile, doors, fresh []*door) {
	s.connections.allow(cfg.PerClient)
	for i, d := range doors {
		d.use(s.newGeneration(cfg, cfg.Listeners[i], profiles))
	}
	for _, d := range fresh {
		s.running.Go(func() { d.run(s) })
		s.log.Info("listening", "listener", d.name, "address", d.Addr().String())
	}
	for _, d := range s.doors {
		if !slices.Contains(doors, d) {
			d.close()
			s.log.Info("no longer listening", "listener", d.name, "address", d.Addr().String())
		}
	}
	s.doors = doors
}

// Shutdown lets nobody in any more, tells idle clients 421 at once and the
// others when their transaction ends, and waits until all are gone. When ctx
// ends first, the rest is cut off: what was not answered was not accepted.
func (s *Server) Shutdown(ctx context.Context) error {
	if !s.closeDoors() {
		return nil
	}
	gone := s.connections.drain()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		s.connections.cut()
		<-gone // the Gateway may still be about to answer
		return fmt.Errorf("shutdown: sessions were cut off: %w", ctx.Err())
	}
}

// closeDoors closes every door for good; false when that was done before.
func (s *Server) closeDoors() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return false
	}
	s.down = true
	for _, d := range s.doors {
		d.close()
	}
	s.doors = nil
	s.running.Wait()
	return true
}
