package submission

import (
	"context"
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
	open    context.Context // ends when the door is closed
	shut    context.CancelFunc
}

// bind opens a door.
func bind(l Listener) (*door, error) {
	listener, err := net.Listen("tcp", l.Address)
	if err != nil {
		return nil, fmt.Errorf("listener %s: %w", l.Name, explain(l.Address, err))
	}
	return newDoor(listener, l.Address), nil
}

func newDoor(listener net.Listener, address string) *door {
	d := &door{Listener: listener, address: address}
	d.open, d.shut = context.WithCancel(context.Background())
	return d
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

// use makes gen what new clients get.
func (d *door) use(gen *generation) {
	d.name = gen.listener.Name
	d.current.Store(gen)
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
			case <-d.open.Done():
				return
			}
		default:
			s.running.Add(1)
			go d.welcome(s, conn)
		}
	}
}

// welcome takes one client. Until it is let in or turned away it counts as ours,
// so that no shutdown overlooks it.
func (d *door) welcome(s *Server, conn net.Conn) {
	gen := d.current.Load()
	client := gen.arrive(d.open, conn)
	s.running.Done()
	if client != nil {
		gen.begin(client)
	}
}

// close lets nobody in any more. Clients inside stay.
func (d *door) close() {
	d.shut()
	d.Listener.Close()
}
