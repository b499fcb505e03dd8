// Package webapi is what the ways to an upstream by an HTTP API have in common.
//
// A request takes these steps: a token, a connection (one that is kept, or a new
// one with TLS), the request, the answer. What fails before the request begins is
// a transport.Unreachable and never the mail's. From the moment the last octet of
// the request may have left, a lost answer is a [Broken] that is Whole: the server
// may have done what it was asked for.
//
// Nothing is ever sent a second time, but for a token that was refused. No
// redirect is followed, so no token reaches another host. What a server says is
// read up to 64 KiB of header and of body each.
//
// Which requests make a delivery is left to the packages of the APIs.
package webapi

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"postern/metrics"
	"postern/relay/upstream/transport"
)

// Config is one API that takes our mail, checked and with its defaults filled in.
type Config struct {
	// Name is that of the upstream.
	Name string
	// Base is the URL of the API without a slash at its end.
	Base string
	// Roots are the only ones its certificate may come from, as PEM; nil: the
	// system's.
	Roots []byte
	// Connections is how many may be kept open, Idle how long unused ones are.
	Connections int
	Idle        time.Duration

	Tokens transport.Tokens
	// Connecting ends when no delivery is to begin any more.
	Connecting context.Context
	// Judge says what answers mean that do not carry out what was asked for; nil:
	// [transport.Usual].
	Judge   transport.Judge
	Metrics *metrics.Metrics
	// Patience is how long each step may take; zero: the usual.
	Patience Patience
}

// Patience is how long each step may take.
type Patience struct {
	// Token is for a token that has to be fetched first, Dial for TCP, Handshake for
	// TLS.
	Token, Dial, Handshake time.Duration
	// Block is for the server to take 32 KiB, Answer for its whole answer once it
	// has the request.
	Block, Answer time.Duration
	// Whole is for a request and its answer, connecting included.
	Whole time.Duration
	// Farewell is for tidying up behind a delivery that failed.
	Farewell time.Duration
}

var standard = Patience{
	Token:     time.Minute,
	Dial:      30 * time.Second,
	Handshake: time.Minute,
	Block:     3 * time.Minute,
	Answer:    5 * time.Minute,
	Whole:     30 * time.Minute,
	Farewell:  10 * time.Second,
}

// Client makes requests to one API. It is safe for concurrent use.
type Client struct {
	// Dial opens a TCP connection. It may be changed before the first request.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	cfg    Config
	http   *http.Transport
	closed atomic.Bool
}

// New connects to nothing yet.
func New(cfg Config) *Client {
	if cfg.Judge == nil {
		cfg.Judge = transport.Usual
	}
	if cfg.Patience == (Patience{}) {
		cfg.Patience = standard
	}
	c := &Client{cfg: cfg}
	c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		d := net.Dialer{Timeout: c.cfg.Patience.Dial}
		return d.DialContext(ctx, network, address)
	}
	c.http = c.newTransport()
	return c
}

// Close drops the connections that are unused, and from now on every one once it
// is.
func (c *Client) Close() {
	c.closed.Store(true)
	c.http.CloseIdleConnections()
}

// Base is the URL of the API without a slash at its end.
func (c *Client) Base() string { return c.cfg.Base }

// took adds the time since began to the numbers of a phase, and to those of the
// delivery of ctx.
func (c *Client) took(ctx context.Context, phase string, began time.Time) {
	d := time.Since(began)
	c.cfg.Metrics.UpstreamPhase.WithLabelValues(c.cfg.Name, phase).Observe(d.Seconds())
	transport.Took(ctx, phase, d)
}

// Delivery is the requests for one letter, one after the other.
type Delivery struct {
	c   *Client
	ctx context.Context
	// begun: a connection was ready for a request. Until then we may be told to
	// stop.
	begun atomic.Bool
}

// Begin connects to nothing yet. A ctx that ends breaks off what is under way.
func (c *Client) Begin(ctx context.Context) *Delivery { return &Delivery{c: c, ctx: ctx} }

// Farewell is for the requests behind a delivery that failed, also when its ctx
// has ended.
func (d *Delivery) Farewell() (*Delivery, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(d.ctx), d.c.cfg.Patience.Farewell)
	last := d.c.Begin(ctx)
	last.begun.Store(true)
	return last, cancel
}

// Do makes one request, with another token if the one it had is refused. An error
// is an *[transport.Unreachable], [transport.ErrStopping] or that of ctx, when
// nothing was asked for; or a *[Broken].
func (d *Delivery) Do(r Request) (Answer, error) {
	if !d.begun.Load() && d.c.cfg.Connecting.Err() != nil {
		return Answer{}, transport.ErrStopping
	}
	for again := false; ; again = true {
		token, err := d.token(r)
		if err != nil {
			return Answer{}, err
		}
		a, err := d.exchange(r, token)
		if d.c.closed.Load() {
			d.c.http.CloseIdleConnections()
		}
		if err != nil || a.Status != http.StatusUnauthorized || r.Foreign {
			return a, err
		}
		d.c.cfg.Tokens.Reject(token)
		if again {
			return Answer{}, d.c.turnedAway(a)
		}
	}
}

// token is the one for r, "" if it takes none.
func (d *Delivery) token(r Request) (string, error) {
	if r.Foreign {
		return "", nil
	}
	ctx, cancel := d.starting()
	defer cancel(nil)
	ctx, stop := context.WithTimeoutCause(ctx, d.c.cfg.Patience.Token, errors.New("no token came in time"))
	defer stop()
	began := time.Now()
	token, err := d.c.cfg.Tokens.Token(ctx)
	if err != nil {
		return "", d.blame(ctx, transport.PhaseAuth, err)
	}
	d.c.took(ctx, transport.PhaseAuth, began)
	return token, nil
}

// starting is the context of what leads to the first request.
func (d *Delivery) starting() (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(d.ctx)
	if d.begun.Load() {
		return ctx, cancel
	}
	stop := context.AfterFunc(d.c.cfg.Connecting, func() {
		if !d.begun.Load() {
			cancel(transport.ErrStopping)
		}
	})
	return ctx, func(cause error) {
		stop()
		cancel(cause)
	}
}
