package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"

	"postern/cmd/provider-sim/identity"
	"postern/cmd/provider-sim/rest"
	"postern/cmd/provider-sim/smtpd"
	"postern/cmd/provider-sim/world"
)

// simulation is everything that runs.
type simulation struct {
	*setup
	closers []func()
	wg      sync.WaitGroup
}

// ports that are taken if they are free, else any other.
var ports = map[string]int{
	world.MicrosoftSMTP: 10587, world.GmailSMTP: 11587, "gmail-smtps": 11465, world.SESSMTP: 12587, "ses-smtps": 12465,
	world.MicrosoftLogin: 10443, world.Graph: 10444, world.GoogleLogin: 11443, world.GmailAPI: 11444,
}

// start listens first, as the files it writes name the ports.
func start(c cli, data world.Data, log *slog.Logger) (_ *simulation, err error) {
	s := &simulation{setup: &setup{Dir: c.Dir, Addresses: map[string]string{}}}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	messages := filepath.Join(c.Dir, "messages")
	if err := os.MkdirAll(messages, 0o700); err != nil {
		return nil, err
	}
	listeners := map[string]net.Listener{}
	for name, port := range ports {
		if listeners[name], err = listen(port); err != nil {
			return nil, err
		}
		s.closers = append(s.closers, func() { listeners[name].Close() })
		s.Addresses[name] = listeners[name].Addr().String()
	}
	control, err := net.Listen("tcp", c.Control)
	if err != nil {
		return nil, fmt.Errorf("the control API: %w", err)
	}
	s.closers = append(s.closers, func() { control.Close() })
	s.Addresses["control"] = control.Addr().String()
	keys, certificate, err := s.write(data)
	if err != nil {
		return nil, err
	}
	s.serve(world.New(data, messages, c.Minute, log), keys, certificate, listeners, control)
	return s, nil
}

func (s *simulation) serve(w *world.World, keys identity.Keys, certificate tls.Certificate, l map[string]net.Listener, control net.Listener) {
	config := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS10}
	servers := identity.New(w, keys)
	microsoft := smtpd.New(w, config, smtpd.Microsoft{World: w, Identity: servers})
	gmail := smtpd.New(w, config, smtpd.Gmail{World: w, Identity: servers})
	ses := smtpd.New(w, config, smtpd.SES{World: w})
	s.smtp(microsoft, l[world.MicrosoftSMTP], nil)
	s.smtp(gmail, l[world.GmailSMTP], l["gmail-smtps"])
	s.smtp(ses, l[world.SESSMTP], l["ses-smtps"])
	graph := &rest.Graph{World: w, Identity: servers}
	for service, handler := range map[string]http.Handler{
		world.MicrosoftLogin: servers.Microsoft, world.GoogleLogin: servers.Google,
		world.Graph: graph.Handler(), world.GmailAPI: rest.Gmail{World: w, Identity: servers}.Handler(),
	} {
		s.closers = append(s.closers, rest.Serve(w, service, l[service], config, handler).Close)
	}
	api := &http.Server{Handler: controls{w, servers, graph, s.Addresses}.handler()}
	s.wg.Go(func() { api.Serve(control) })
	s.closers = append(s.closers, func() { api.Shutdown(context.Background()) })
}

// smtp serves one provider by STARTTLS, and by implicit TLS where it has that.
func (s *simulation) smtp(server *smtpd.Server, startTLS, implicit net.Listener) {
	s.wg.Go(func() { server.Serve(startTLS, false) })
	if implicit != nil {
		s.wg.Go(func() { server.Serve(implicit, true) })
	}
	s.closers = append(s.closers, server.Close)
}

// close ends all there is, in the order it began: listeners first.
func (s *simulation) close() {
	for _, f := range s.closers {
		f()
	}
	s.wg.Wait()
}

// listen takes the preferred port of the loopback interface, or any free one.
func listen(preferred int) (net.Listener, error) {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", preferred))
	if err != nil {
		return net.Listen("tcp", "127.0.0.1:0")
	}
	return l, nil
}
