package submission

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// door is an address we listen on. It outlives reloads as long as the address
// stays in the configuration; current is what new clients get.
type door struct {
	net.Listener
	address string // as configured
	name    string
	current atomic.Pointer[generation]
	closed  chan struct{}
}

// bind opens a door.
func bind(l Listener) (*door, error) {
	listener, err := net.Listen("tcp", l.Address)
	if err != nil {
		return nil, fmt.Errorf("listener %s: %w", l.Name, explain(l.Address, err))
	}
	return &door{Listener: listener, address: l.Address, closed: make(chan struct{})}, nil
}

// explain says why an address cannot be listened on, and what to do.
func explain(address string, err error) error {
	_, port, _ := net.SplitHostPort(address)
	switch {
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("permission denied: port %s needs CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE) or a port above 1023: %w", port, err)
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("another program already listens on %s; stop it or choose another address (ss -ltnp shows which): %w", address, err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("this machine has no address %s (yet): %w", address, err)
	default:
		return err
	}
}

// use makes gen what new clients get, and retires what they got before.
func (d *door) use(gen *generation) {
	d.name = gen.listener.Name
	if old := d.current.Swap(gen); old != nil {
		old.Close()
	}
}

// run lets clients in until the door is closed.
func (d *door) run(s *Server) {
	for {
		conn, err := d.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // such as too many open files; it passes
			s.log.Error("cannot accept connections", "address", d.address, "reason", err.Error())
			select {
			case <-time.After(100 * time.Millisecond):
			case <-d.closed:
				return
			}
		default:
			d.admit(conn)
		}
	}
}

// admit takes one client as far as the session.
func (d *door) admit(conn net.Conn) {
	gen := d.current.Load()
	client, ok := gen.guard(conn)
	if !ok {
		return
	}
	if gen.listener.TLS == implicitTLS {
		go d.admitTLS(gen, client)
		return
	}
	d.hand(gen, client, client)
}

// admitTLS is admit for a door behind which TLS begins at once.
func (d *door) admitTLS(gen *generation, client *guard) {
	client.opening.startTLS()
	conn := tls.Server(client, gen.tls)
	if client.opening.handshake(conn) != nil {
		client.Close()
		return
	}
	gen.secured(client, conn.ConnectionState())
	d.hand(gen, client, conn)
}

// hand gives conn to gen, or to the one a reload has put in its place. A client
// for which that is no use is turned away.
func (d *door) hand(gen *generation, client *guard, conn net.Conn) {
	for !gen.offer(conn) {
		next := d.current.Load()
		if next == gen || next.listener.TLS != gen.listener.TLS {
			client.Close()
			return
		}
		gen = next
	}
}

// close lets nobody in any more. Clients inside stay.
func (d *door) close() {
	close(d.closed)
	d.Listener.Close()
	if gen := d.current.Load(); gen != nil {
		gen.Close()
	}
}
