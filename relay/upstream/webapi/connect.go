package webapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"postern/relay/message"
	"postern/relay/upstream/transport"
)

// newTransport is HTTP/1.1 and 2, through the proxy of the environment if there
// is one. It asks for no compression: what is small when sent could be anything.
func (c *Client) newTransport() *http.Transport {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.cfg.Roots != nil {
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM(c.cfg.Roots)
	}
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            c.dial,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    c.cfg.Patience.Handshake,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    c.cfg.Connections,
		IdleConnTimeout:        c.cfg.Idle,
		MaxResponseHeaderBytes: maxAnswer,
	}
}

func (c *Client) dial(ctx context.Context, network, address string) (net.Conn, error) {
	began := time.Now()
	nc, err := c.Dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c.took(ctx, transport.PhaseConnect, began)
	open := c.cfg.Metrics.UpstreamConnections.WithLabelValues(c.cfg.Name)
	open.Inc()
	return &conn{Conn: nc, patience: c.cfg.Patience.Block, closed: sync.OnceFunc(open.Dec)}, nil
}

// conn is a connection that is counted, and whose server must take what is sent.
type conn struct {
	net.Conn
	patience time.Duration
	closed   func()
}

func (c *conn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.patience)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

func (c *conn) Close() error {
	c.closed()
	return c.Conn.Close()
}

// blame is whose trouble err is: ours when ctx was ended by us, else the
// upstream's.
func (d *Delivery) blame(ctx context.Context, phase string, err error) error {
	if d.ctx.Err() != nil || errors.Is(context.Cause(ctx), transport.ErrStopping) {
		return fmt.Errorf("%s: %w", phase, context.Cause(ctx))
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return &transport.Unreachable{Upstream: d.c.cfg.Name, Phase: phase, Err: err, Hint: hint(phase, err)}
}

func hint(phase string, err error) string {
	lasting := transport.Lasting(nil)
	dns, unknown, name := new(net.DNSError), new(x509.UnknownAuthorityError), new(x509.HostnameError)
	switch {
	case errors.As(err, &lasting):
		return lasting.Hint()
	case phase == transport.PhaseAuth:
		return "no access token can be had: check oauth, and that this machine reaches the token endpoint"
	case errors.As(err, &dns):
		return "check the host in its address, and the resolver of this machine"
	case errors.As(err, unknown):
		return "set ca to a PEM file with the root its certificate comes from"
	case errors.As(err, name):
		return "its certificate is for another host: check its address"
	case phase == transport.PhaseTLS:
		return "check that its address is that of the API, and its certificate"
	}
	return "check its address, and that a firewall or proxy lets this machine out"
}

// refusedToken is the end of two tokens in a row: a third would be no better.
type refusedToken struct{ *message.Reply }

func (refusedToken) Lasting() bool { return true }

func (refusedToken) Hint() string {
	return "the API takes none of our access tokens: check oauth (tenant, client_id, scopes, which cloud) and what the application may do"
}

func (c *Client) turnedAway(a Answer) error {
	reply := a.Reply()
	err := refusedToken{&reply}
	return &transport.Unreachable{Upstream: c.cfg.Name, Phase: transport.PhaseAuth, Err: err, Hint: err.Hint()}
}
