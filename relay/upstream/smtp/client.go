// Package smtp is the way through a server that speaks SMTP.
//
// A delivery takes these steps, on a connection kept from an earlier one when
// there is one: get a token, connect, TLS, greeting and EHLO, AUTH; then MAIL,
// RCPT, DATA, the content, the final dot. What fails before MAIL, or by a 421 to it, is a
// transport.Unreachable and never the mail's. From the moment the final dot may
// have left, a lost answer makes an Uncertain result and nothing else does.
package smtp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"postern/metrics"
	"postern/relay/setting"
	"postern/relay/upstream/transport"
)

// Config is one SMTP server that takes our mail, checked and with its defaults
// filled in.
type Config struct {
	// Name is that of the upstream.
	Name string
	// Address is host:port.
	Address string
	// TLS is one of the words below.
	TLS string
	// Roots are the only ones its certificate may come from, as PEM; nil: the
	// system's.
	Roots []byte
	// ServerName is the name its certificate must have.
	ServerName string
	// MinTLS is the least version of TLS, such as tls.VersionTLS12.
	MinTLS uint16
	// Certificate is shown to a server that asks for one.
	Certificate Certificate
	// Source is the address to connect from; not valid: any.
	Source netip.Addr
	// Username logs in with Password or with Tokens; neither: no AUTH, or EXTERNAL
	// with the Certificate.
	Username string
	Password setting.Secret
	// PasswordOf makes the password of what Password reveals; nil: that is it.
	PasswordOf func(secret string) string
	Tokens     transport.Tokens
	// Mechanisms are those of AUTH in order of preference; empty: the usual.
	Mechanisms []string
	// MessagesPerConnection before a connection is closed, and Idle, how long an
	// unused one is kept.
	MessagesPerConnection int
	Idle                  time.Duration

	// Hostname is our name in EHLO.
	Hostname string
	// Connecting ends when no session is to be brought up to MAIL any more.
	Connecting context.Context
	// Judge says what the server's replies mean.
	Judge   transport.Judge
	Metrics *metrics.Metrics
}

// Words for TLS.
const (
	StartTLS = "starttls"
	Implicit = "implicit"
	NoTLS    = "none"
)

// Client is the way through one SMTP server. It is a [transport.Transport].
type Client struct {
	// Dial opens a TCP connection. It and Patience may be changed before the first
	// Send.
	Dial     func(context.Context) (net.Conn, error)
	Patience Patience

	cfg   Config
	tls   *tls.Config
	pool  pool
	heard transport.Heard
}

// New connects to nothing yet.
func New(cfg Config) *Client {
	c := &Client{cfg: cfg, tls: clientTLS(cfg), Patience: standard, pool: pool{keep: cfg.Idle}}
	c.Dial = func(ctx context.Context) (net.Conn, error) {
		d := net.Dialer{Timeout: c.Patience.Dial}
		if cfg.Source.IsValid() {
			d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(cfg.Source, 0))
		}
		return d.DialContext(ctx, "tcp", cfg.Address)
	}
	return c
}

// took adds the time since began to the numbers of a phase.
func (h *Client) took(phase string, began time.Time) {
	h.cfg.Metrics.UpstreamPhase.WithLabelValues(h.cfg.Name, phase).Observe(time.Since(began).Seconds())
}

// errStale is that of a kept connection on which MAIL was not answered, or only
// by 421 or by the wish for a new login: its time was over. It is also that of
// one on which too little was offered for the message.
var errStale = errors.New("the connection was closed while idle")

// Send prefers a kept connection. When that turns out stale it tries a new one.
func (h *Client) Send(ctx context.Context, l transport.Letter) ([]transport.Result, error) {
	if c := h.pool.get(); c != nil {
		results, err := h.deliver(ctx, c, l)
		if !errors.Is(err, errStale) {
			return results, err
		}
	}
	return h.fresh(ctx, l)
}

// fresh sends over a new connection. When the server refuses the token it gets
// another one, once; then only a person can help.
func (h *Client) fresh(ctx context.Context, l transport.Letter) ([]transport.Result, error) {
	for again := false; ; again = true {
		secret, err := h.secret(ctx)
		if err != nil {
			return nil, err
		}
		c, err := h.connect(ctx, secret)
		var results []transport.Result
		if err == nil {
			h.heard.Set(c.ext.offer())
			results, err = h.deliver(ctx, c, l)
		}
		fault := h.tokenRefused(err)
		if fault == nil {
			return results, err
		}
		h.cfg.Tokens.Reject(secret)
		if again {
			fault.Advice.Action = transport.Configure
			return nil, fault
		}
	}
}

// deliver makes one transaction and keeps c for another, if it may.
func (h *Client) deliver(ctx context.Context, c *conn, l transport.Letter) ([]transport.Result, error) {
	stop := context.AfterFunc(ctx, c.abort)
	t := newTransaction(ctx, c, l, h.cfg.Judge, h.took)
	err := t.run()
	if !stop() {
		c.broken = true
	}
	switch {
	case c.broken:
		c.abort()
	case c.used >= h.mostOf(c):
		c.quit()
	default:
		h.pool.put(c)
	}
	switch {
	case t.loginLost != nil:
		return nil, h.unreachable(transport.PhaseAuth, t.loginLost)
	case t.turnedAway != nil:
		return nil, h.unreachable(transport.PhaseGreeting, fmt.Errorf("MAIL: %w", t.turnedAway))
	case t.unfit != nil:
		return nil, &transport.Unfit{Upstream: h.cfg.Name, Reply: t.unfit}
	}
	return t.results, err
}

// mostOf is how many messages c may carry, by our limit and the server's.
func (h *Client) mostOf(c *conn) int {
	most := h.cfg.MessagesPerConnection
	if n := c.ext.limit("MAILMAX"); n > 0 {
		most = min(most, n)
	}
	return most
}

// Offer is what the server offered on the last connection.
func (h *Client) Offer() transport.Offer { return h.heard.Get() }

// Suppose has the server be known to offer that much, as if it had just been heard.
func (h *Client) Suppose(o transport.Offer) { h.heard.Set(o) }

// Close says goodbye on the connections that are kept.
func (h *Client) Close() { h.pool.close() }
