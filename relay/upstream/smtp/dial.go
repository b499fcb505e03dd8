package smtp

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"postern/relay/message"
	"postern/relay/upstream/transport"
)

// connecting is ctx as long as sessions may be brought up to MAIL.
func (h *Client) connecting(ctx context.Context) (_ context.Context, done func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(h.cfg.Connecting, func() { cancel(transport.ErrStopping) })
	return ctx, func() { stop(); cancel(nil) }
}

// connect opens a session that is ready for MAIL, logged in by the secret. An error is an *Unreachable,
// transport.ErrStopping, or that of ctx.
func (h *Client) connect(ctx context.Context, secret string) (*conn, error) {
	ctx, done := h.connecting(ctx)
	defer done()
	began := time.Now()
	raw, err := h.Dial(ctx)
	if err != nil {
		return nil, h.blame(ctx, transport.PhaseConnect, err)
	}
	open := h.cfg.Metrics.UpstreamConnections.WithLabelValues(h.cfg.Name)
	open.Inc()
	c := newConn(raw, h.Patience, open.Dec)
	stop := context.AfterFunc(ctx, c.abort)
	c.until = time.Now().Add(c.patience.Ready)
	phase, err := h.greet(ctx, c, secret, began)
	c.until, c.most = time.Time{}, h.mostOf(c)
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
	return h.unreachable(phase, err)
}

// unreachable says what to do about err, as the server's provider knows it.
func (h *Client) unreachable(phase string, err error) error {
	fault := transport.NewUnreachable(h.cfg.Name, phase, err)
	var reply *message.Reply
	if !errors.As(err, &reply) {
		return fault
	}
	at := transport.AtGreeting
	if phase == transport.PhaseAuth {
		at = transport.AtAuth
	}
	fault.Advice = h.cfg.Judge(at, *reply).Advice
	fault.Hint = cmp.Or(fault.Advice.Hint, fault.Hint)
	return fault
}

// greet brings a fresh connection to the point where MAIL may be said. With an
// error it names the phase that failed.
func (h *Client) greet(ctx context.Context, c *conn, secret string, began time.Time) (phase string, err error) {
	if h.cfg.TLS == Implicit {
		h.took(ctx, transport.PhaseConnect, began)
		if err := h.handshake(ctx, c); err != nil {
			return transport.PhaseTLS, err
		}
	}
	if err := greeting(c); err != nil {
		return phaseOf(err), err
	}
	if err := hello(c, h.cfg.Hostname); err != nil {
		return phaseOf(err), err
	}
	if h.cfg.TLS == StartTLS {
		h.took(ctx, transport.PhaseConnect, began)
		if err := h.startTLS(ctx, c); err != nil {
			return transport.PhaseTLS, err
		}
		if err := hello(c, h.cfg.Hostname); err != nil {
			return phaseOf(err), err
		}
	}
	if h.cfg.TLS == NoTLS {
		h.took(ctx, transport.PhaseConnect, began)
	}
	return transport.PhaseAuth, h.login(ctx, c, secret)
}

// phaseOf is the greeting, unless the server ended TLS: what it does not like of
// our certificate, it says only after the handshake (RFC 8446, section 4.6.2).
func phaseOf(err error) string {
	if alert := new(net.OpError); errors.As(err, &alert) && alert.Op == "remote error" {
		return transport.PhaseTLS
	}
	return transport.PhaseGreeting
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
	defer h.took(ctx, transport.PhaseTLS, time.Now())
	nc := tls.Client(c.raw, h.tls)
	if err := c.secure(nc); err != nil {
		return err
	}
	if err := c.raw.SetDeadline(time.Now().Add(c.patience.Handshake)); err != nil {
		return err
	}
	return nc.HandshakeContext(ctx)
}
