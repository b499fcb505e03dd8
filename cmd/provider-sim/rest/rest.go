// Package rest is the providers as they speak HTTP: Microsoft Graph and the Gmail
// API, and what goes wrong on request with them and with the authorization
// servers. Who is there and what they may do is left to the world.
package rest

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"postern/cmd/provider-sim/wire"
	"postern/cmd/provider-sim/world"
)

// Server answers one service on one listener.
type Server struct {
	http   http.Server
	ended  chan struct{}
	cancel context.CancelFunc
}

type connKey struct{}

// Serve answers on l, by TLS, until Close.
func Serve(w *world.World, service string, l net.Listener, config *tls.Config, h http.Handler) *Server {
	config = config.Clone()
	config.NextProtos = []string{"http/1.1"} // one request at a time can be cut
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{ended: make(chan struct{}), cancel: cancel, http: http.Server{
		Handler:           faulty{w, service, h},
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          log.New(io.Discard, "", 0), // handshakes that fail are the client's to tell
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, wire.Of(c))
		},
	}}
	go func() {
		defer close(s.ended)
		s.http.Serve(tls.NewListener(&listener{l, w, service}, config))
	}()
	return s
}

// Close ends the server with all its connections.
func (s *Server) Close() {
	s.cancel()
	s.http.Close()
	<-s.ended
}

// listener gives connections that can be cut, and none while the service is down.
type listener struct {
	net.Listener
	w       *world.World
	service string
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := wire.New(raw)
		f := l.w.Fault(l.service, "connect")
		if f == nil {
			return c, nil
		}
		if f.Cut != nil {
			c.Cut(*f.Cut)
			return c, nil
		}
		c.Abort()
	}
}

// patient reads what a client still sends when it has its answer: one that sees the
// connection closed while it sends never gets to read it.
func patient(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r)
		io.CopyN(io.Discard, r.Body, 64<<20)
	})
}
