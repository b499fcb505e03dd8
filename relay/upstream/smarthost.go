package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"postern/metrics"
	"postern/relay/message"
)

// smarthost sends through an SMTP server that takes our mail.
type smarthost struct {
	cfg      Upstream
	hostname string
	tls      *tls.Config
	patience patience
	dial     func(context.Context) (net.Conn, error)
	// connecting ends when no session is to be brought up to MAIL any more.
	connecting context.Context
	pool       pool
	heard      heard
	metrics    *metrics.Metrics
}

// newSmarthost takes a checked configuration with its limits filled in.
func newSmarthost(connecting context.Context, cfg Upstream, o Options, roots []byte) (*smarthost, error) {
	host, err := splitAddress(cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("address: %w", err)
	}
	if cfg.TLS == "" {
		cfg.TLS = tlsStart
	}
	if cfg.ServerName == "" {
		cfg.ServerName = host
	}
	h := &smarthost{
		cfg:        cfg,
		hostname:   o.Hostname,
		tls:        clientTLS(cfg.ServerName, roots),
		patience:   standard,
		connecting: connecting,
		pool:       pool{keep: cfg.Limits.Idle.Std()},
		metrics:    o.Metrics,
	}
	h.dial = func(ctx context.Context) (net.Conn, error) {
		d := net.Dialer{Timeout: h.patience.dial}
		return d.DialContext(ctx, "tcp", cfg.Address)
	}
	return h, nil
}

// took adds the time since began to the numbers of a phase.
func (h *smarthost) took(phase string, began time.Time) {
	h.metrics.UpstreamPhase.WithLabelValues(h.cfg.Name, phase).Observe(time.Since(began).Seconds())
}

// errStale is that of a kept connection on which MAIL was not answered, or only
// by 421 or by the wish for a new login: its time was over. It is also that of
// one on which too little was offered for the message.
var errStale = errors.New("the connection was closed while idle")

// send prefers a kept connection. When that turns out stale it tries a new one.
func (h *smarthost) send(ctx context.Context, l letter) ([]message.Result, error) {
	if c := h.pool.get(); c != nil {
		results, err := h.deliver(ctx, c, l)
		if !errors.Is(err, errStale) {
			return results, err
		}
	}
	c, err := h.connect(ctx)
	if err != nil {
		return nil, err
	}
	h.heard.set(c.ext.offer())
	return h.deliver(ctx, c, l)
}

// deliver makes one transaction and keeps c for another, if it may.
func (h *smarthost) deliver(ctx context.Context, c *conn, l letter) ([]message.Result, error) {
	stop := context.AfterFunc(ctx, c.abort)
	t := newTransaction(ctx, c, l, h.took)
	err := t.run()
	if !stop() {
		c.broken = true
	}
	switch {
	case c.broken:
		c.abort()
	case c.used >= h.cfg.Limits.MessagesPerConnection:
		c.quit()
	default:
		h.pool.put(c)
	}
	switch {
	case t.loginLost != nil:
		return nil, unreachable(h.cfg.Name, phaseAuth, t.loginLost)
	case t.turnedAway != nil:
		return nil, unreachable(h.cfg.Name, phaseGreeting, fmt.Errorf("MAIL: %w", t.turnedAway))
	case t.unfit != nil:
		return nil, &Unfit{Upstream: h.cfg.Name, Reply: t.unfit}
	}
	return t.results, err
}

// offer is what the server offered on the last connection.
func (h *smarthost) offer() Offer { return h.heard.get() }

// close says goodbye on the connections that are kept.
func (h *smarthost) close() { h.pool.close() }
