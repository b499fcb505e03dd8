package smtp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	"postern/relay/message"
	"postern/relay/upstream/transport"
)

// connect opens a session that is ready for MAIL. An error is an *Unreachable,
// transport.ErrStopping, or that of ctx.
func (h *Client) connect(ctx context.Context) (*conn, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(h.cfg.Connecting, func() { cancel(transport.ErrStopping) })()
	began := time.Now()
	raw, err := h.Dial(ctx)
	if err != nil {
		return nil, h.blame(ctx, transport.PhaseConnect, err)
	}
	open := h.cfg.Metrics.UpstreamConnections.WithLabelValues(h.cfg.Name)
	open.Inc()
	c := newConn(raw, h.Patience, open.Dec)
	stop := context.AfterFunc(ctx, c.abort)
	phase, err := h.greet(ctx, c, began)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		c.abort()
		return nil, h.blame(ctx, phase, err)
	}
	return c, nil
}

// blame is whose trouble err is: ours when ctx ended, else the upstream's.
func (h *Client) blame(ctx context.Context, phase string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", phase, context.Cause(ctx))
	}
	return transport.NewUnreachable(h.cfg.Name, phase, err)
}

// greet brings a fresh connection to the point where MAIL may be said. With an
// error it names the phase that failed.
func (h *Client) greet(ctx context.Context, c *conn, began time.Time) (phase string, err error) {
	if h.cfg.TLS == Implicit {
		h.took(transport.PhaseConnect, began)
		if err := h.handshake(ctx, c); err != nil {
			return transport.PhaseTLS, err
		}
	}
	if err := greeting(c); err != nil {
		return transport.PhaseGreeting, err
	}
	if err := hello(c, h.cfg.Hostname); err != nil {
		return transport.PhaseGreeting, err
	}
	if h.cfg.TLS == StartTLS {
		h.took(transport.PhaseConnect, began)
		if err := h.startTLS(ctx, c); err != nil {
			return transport.PhaseTLS, err
		}
		if err := hello(c, h.cfg.Hostname); err != nil {
			return transport.PhaseGreeting, err
		}
	}
	if h.cfg.TLS == NoTLS {
		h.took(transport.PhaseConnect, began)
	}
	if h.cfg.Username != "" {
		defer h.took(transport.PhaseAuth, time.Now())
		return transport.PhaseAuth, h.login(c)
	}
	return "", nil
}

func greeting(c *conn) error {
	reply, err := c.reply(c.patience.Greeting)
	if err != nil {
		return fmt.Errorf("no greeting: %w", err)
	}
	if reply.Code != 220 {
		return &reply
	}
	return nil
}

// hello says EHLO, or HELO to a server that does not know it.
func hello(c *conn, hostname string) error {
	reply, err := c.command("EHLO " + hostname)
	if err != nil {
		return fmt.Errorf("EHLO: %w", err)
	}
	if reply.Code == 250 {
		c.ext = parseExtensions(reply.Text)
		return nil
	}
	if reply.Permanent() {
		reply, err = c.command("HELO " + hostname)
		if err != nil {
			return fmt.Errorf("HELO: %w", err)
		}
	}
	if reply.Code != 250 {
		return fmt.Errorf("the name %s: %w", hostname, &reply)
	}
	c.ext = nil
	return nil
}

// startTLS never goes on in clear.
func (h *Client) startTLS(ctx context.Context, c *conn) error {
	if !c.ext.has("STARTTLS") {
		return errors.New("the server does not offer STARTTLS")
	}
	reply, err := c.command("STARTTLS")
	if err != nil {
		return fmt.Errorf("STARTTLS: %w", err)
	}
	if reply.Code != 220 {
		return fmt.Errorf("STARTTLS: %w", &reply)
	}
	return h.handshake(ctx, c)
}

func (h *Client) handshake(ctx context.Context, c *conn) error {
	defer h.took(transport.PhaseTLS, time.Now())
	nc := tls.Client(c.raw, h.tls)
	if err := c.secure(nc); err != nil {
		return err
	}
	if err := c.raw.SetDeadline(time.Now().Add(c.patience.Handshake)); err != nil {
		return err
	}
	return nc.HandshakeContext(ctx)
}

// clientTLS verifies against the roots (the system's when nil), always by name
// and always with SNI.
func clientTLS(name string, roots []byte) *tls.Config {
	config := &tls.Config{
		ServerName:         name,
		MinVersion:         tls.VersionTLS12,
		ClientSessionCache: tls.NewLRUClientSessionCache(4),
	}
	if roots != nil {
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM(roots)
	}
	return config
}

// login proves who we are. The password crosses no network in clear.
func (h *Client) login(c *conn) error {
	if _, secured := c.nc.(*tls.Conn); !secured && !toLoopback(c.raw) {
		return errors.New("the password would cross the network in clear")
	}
	password, err := h.cfg.Password.Reveal()
	if err != nil {
		return fmt.Errorf("the password cannot be read: %w", err)
	}
	var reply message.Reply
	switch mechanism := chooseMechanism(c.ext.mechanisms()); mechanism {
	case "PLAIN":
		reply, err = authPlain(c, h.cfg.Username, password)
	case "LOGIN":
		reply, err = authLogin(c, h.cfg.Username, password)
	default:
		return fmt.Errorf("the server offers neither AUTH PLAIN nor LOGIN, only %q", c.ext["AUTH"])
	}
	if err != nil {
		return fmt.Errorf("AUTH: %w", err)
	}
	if reply.Code != 235 {
		reply = withhold(reply, password)
		return &reply
	}
	return nil
}

func toLoopback(nc net.Conn) bool {
	a, ok := nc.RemoteAddr().(*net.TCPAddr)
	return ok && a.IP.IsLoopback()
}
