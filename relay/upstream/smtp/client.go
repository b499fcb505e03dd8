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
	// LookAhead has a message say its envelope while the final dot of the one before
	// it is not answered yet. Then no more than Connections are open at once, and
	// twice as many Sends find something to do.
	LookAhead   bool
	Connections int
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
	pool  *pool
	heard transport.Heard
}

// New connects to nothing yet.
func New(cfg Config) *Client {
	c := &Client{cfg: cfg, tls: clientTLS(cfg), Patience: standard, pool: newPool(cfg.Idle, cfg.most())}
	c.Dial = func(ctx context.Context) (net.Conn, error) {
		d := net.Dialer{Timeout: c.Patience.Dial}
		if cfg.Source.IsValid() {
			d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(cfg.Source, 0))
		}
		return d.DialContext(ctx, "tcp", cfg.Address)
	}
	return c
}

// most is how many sessions may be open at once; 0: as the gate says.
func (c Config) most() int {
	if c.LookAhead {
		return c.Connections
	}
	return 0
}

// took adds the time since began to the numbers of a phase, and to those of the
// delivery of ctx.
func (h *Client) took(ctx context.Context, phase string, began time.Time) {
	d := time.Since(began)
	h.cfg.Metrics.UpstreamPhase.WithLabelValues(h.cfg.Name, phase).Observe(d.Seconds())
	transport.Took(ctx, phase, d)
}

// errStale is that of a kept connection on which MAIL was not answered, or only
// by 421 or by the wish for a new login: its time was over. It is also that of
// one on which too little was offered for the message.
var errStale = errors.New("the connection was closed while idle")

// Send prefers a kept connection. When that turns out stale it tries a new one.
func (h *Client) Send(ctx context.Context, l transport.Letter) ([]transport.Result, error) {
	for {
		o, err := h.place(ctx)
		if err != nil {
			return nil, err
		}
		if o.c == nil {
			return h.fresh(ctx, l)
		}
		results, err := h.deliver(ctx, o, l)
		switch {
		case !errors.Is(err, errStale):
			return results, err
		case o.kept:
			return h.fresh(ctx, l)
		}
	}
}

// place waits for one on a session, as long as sessions may be brought up to MAIL.
func (h *Client) place(ctx context.Context) (*place, error) {
	ctx, done := h.connecting(ctx)
	defer done()
	return h.pool.get(ctx)
}

// fresh sends over a new connection, in a place that waits for one. When the
// server refuses the token it gets another one, once; then only a person helps.
func (h *Client) fresh(ctx context.Context, l transport.Letter) ([]transport.Result, error) {
	for again := false; ; again = true {
		secret, results, err := h.attempt(ctx, l)
		fault := h.tokenRefused(err)
		if fault == nil {
			return results, err
		}
		h.cfg.Tokens.Reject(secret)
		if again {
			fault.Advice.Action = transport.Configure
			h.pool.failed(fault)
			return nil, fault
		}
	}
}

// attempt sends over a new connection, and tells by which secret it is logged in.
// When that is a token and refused, the place still waits for a connection.
func (h *Client) attempt(ctx context.Context, l transport.Letter) (secret string, results []transport.Result, err error) {
	if l.Connecting != nil {
		l.Connecting()
	}
	secret, err = h.secret(ctx)
	var c *conn
	if err == nil {
		c, err = h.connect(ctx, secret)
	}
	switch {
	case err == nil:
		h.heard.Set(c.ext.offer())
		results, err = h.deliver(ctx, h.pool.made(c), l)
	case h.tokenRefused(err) == nil:
		h.pool.failed(err)
	}
	return secret, results, err
}

// deliver makes one transaction on the session of o and leaves it.
func (h *Client) deliver(ctx context.Context, o *place, l transport.Letter) ([]transport.Result, error) {
	c := o.c
	t := newTransaction(ctx, c, l, h.cfg.Judge, h.took)
	t.reused = o.waits() || c.used > 1
	t.dotSent = func() { h.pool.dotSent(o) }
	defer t.close()
	err := t.begin()
	if o.waits() && !t.await(o, err == nil) {
		return nil, errStale
	}
	stop := context.AfterFunc(ctx, c.abort)
	if err == nil {
		err = t.run()
	}
	if !stop() || errors.Is(err, errStale) {
		c.broken = true
	}
	if err == nil {
		err = h.verdict(t)
	}
	h.pool.end(o, errors.Is(err, errStale) || h.tokenRefused(err) != nil)
	if err != nil {
		return nil, err
	}
	return t.results, nil
}

// verdict is why nothing was handed over; nil when there are results.
func (h *Client) verdict(t *transaction) error {
	switch {
	case t.loginLost != nil:
		return h.unreachable(transport.PhaseAuth, t.loginLost)
	case t.turnedAway != nil:
		return h.unreachable(transport.PhaseGreeting, fmt.Errorf("MAIL: %w", t.turnedAway))
	case t.unfit != nil:
		return &transport.Unfit{Upstream: h.cfg.Name, Reply: t.unfit}
	}
	return nil
}

// mostOf is how many messages c may carry, by our limit and the server's.
func (h *Client) mostOf(c *conn) int {
	if n := c.ext.limit("MAILMAX"); n > 0 {
		return min(n, h.cfg.MessagesPerConnection)
	}
	return h.cfg.MessagesPerConnection
}

// Offer is what the server offered on the last connection.
func (h *Client) Offer() transport.Offer { return h.heard.Get() }

// Suppose has the server be known to offer that much, as if it had just been heard.
func (h *Client) Suppose(o transport.Offer) { h.heard.Set(o) }

// Close says goodbye on the connections that are kept.
func (h *Client) Close() { h.pool.close() }
