// Package upstream answers one question of a delivery: through whom?
//
// A route leads mail to upstreams in order of preference. An upstream is an
// SMTP smarthost, an HTTP API or the capture directory. Each has a number of slots,
// one for every connection it may have open (two with look-ahead), some of them kept
// for accounts that use none, and a breaker:
//
//   - up: slots are handed out while there are free ones, and while its mailbox
//     has room ([throttle]).
//   - down: it could not be reached, or has not come as far as MAIL for ten seconds. None is handed out until a pause is over
//     (1s, doubled at each failure up to 1m), then one, as a probe. A reload ends
//     the pause.
//   - held: it takes nothing, for a quota (1h, or as long as it says), for want of
//     consent or as it is configured (1m, doubled up to 15m; a reload ends the
//     pause), or as a person asked. Then too a probe comes first.
//   - probing: the probe is under way. When it reaches the upstream, that is up
//     again, with one more connection for each message that gets through.
//
// The ways to an upstream are packages below this one, and transport is the
// vocabulary they share. What fails before the mail is handed over is the
// upstream's trouble ([transport.Unreachable]) and never the mail's.
//
// When to try and try again, what the message looks like and what its sender
// learns is left to others.
package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"time"

	"postern/metrics"
	"postern/relay/message"
	"postern/relay/upstream/gmail"
	"postern/relay/upstream/graph"
	"postern/relay/upstream/preset"
	"postern/relay/upstream/smtp"
	"postern/relay/upstream/transport"
	"postern/relay/upstream/webapi"
)

// Defaults of Limits.
const (
	defaultConnections = 20
	defaultMessages    = 100
	defaultIdle        = 30 * time.Second
)

// upstream is a transport with its gate. A reload that does not change it
// hands it from one Set to the next.
type upstream struct {
	cfg       Upstream // with what its preset says
	preset    *preset.Preset
	made      made
	gate      gate
	transport transport.Transport
	fewer     transport.Heard // how many recipients a transaction had better have
	metrics   *metrics.Metrics
	log       *slog.Logger
}

// made is all an upstream was built from: when it is the same again, so is the
// upstream.
type made struct {
	cfg      Upstream
	hostname string
	dataDir  string
	roots    []byte // what the CA file held
	tokens   transport.Tokens
}

func (m made) same(n made) bool {
	return reflect.DeepEqual(m.cfg, n.cfg) && m.hostname == n.hostname &&
		m.dataDir == n.dataDir && bytes.Equal(m.roots, n.roots) && m.tokens == n.tokens
}

// newUpstream builds cfg, or returns old's upstream of that name when it was
// built from the same. It connects until connecting ends.
func newUpstream(connecting context.Context, cfg Upstream, o Options, box *mailbox, old *Set) (*upstream, error) {
	roots, err := readRoots(cfg.CA)
	if err != nil {
		return nil, fmt.Errorf("upstream %q: ca: %w", cfg.Name, err)
	}
	from := made{cfg: cfg, hostname: o.Hostname, dataDir: o.DataDir, roots: roots, tokens: o.Tokens[cfg.Name]}
	if old != nil {
		if u := old.upstreams[cfg.Name]; u != nil && u.made.same(from) {
			return u, nil
		}
	}
	cfg, known, err := cfg.Effective()
	if err != nil {
		return nil, fmt.Errorf("upstream %q: %w", cfg.Name, err)
	}
	u := &upstream{cfg: cfg, preset: known, made: from, metrics: o.Metrics, log: o.Log}
	u.gate.box, u.gate.capacity, u.gate.show, u.gate.waited = box, cfg.slots(), u.showState, u.waited
	switch known.Transport {
	case preset.Capture:
		u.transport = newCapture(o.DataDir)
	case preset.SMTP:
		if _, err := splitAddress(cfg.Address); err != nil {
			return nil, fmt.Errorf("upstream %q: address: %w", cfg.Name, err)
		}
		u.transport = smtp.New(cfg.smtp(connecting, o, known, roots))
	case preset.Graph, preset.Gmail:
		if o.Tokens[cfg.Name] == nil {
			return nil, fmt.Errorf("upstream %q: oauth: it is missing, and the API takes nothing without an access token", cfg.Name)
		}
		u.transport = cfg.api(known, cfg.webapi(connecting, o, known, roots))
	default:
		return nil, fmt.Errorf("upstream %q: there is no way to send by %s", cfg.Name, known.Transport)
	}
	return u, nil
}

// api is the way through an HTTP API.
func (u Upstream) api(known *preset.Preset, cfg webapi.Config) transport.Transport {
	if known.Transport == preset.Gmail {
		return gmail.New(cfg)
	}
	return graph.New(graph.Config{Config: cfg, Mailbox: u.Mailbox.String()})
}

// States, as the metrics name them.
const (
	stateUp      = "up"
	stateDown    = "down"
	stateProbing = "probing"
	stateHeld    = "held"
)

// showState exports the state u is in, and until when; "" for one that is no
// more.
func (u *upstream) showState(state string, until time.Time) {
	for _, s := range metrics.UpstreamStates {
		value := 0.0
		if s == state {
			value = 1
		}
		u.metrics.UpstreamState.WithLabelValues(u.cfg.Name, s).Set(value)
	}
	hold := 0.0
	if state == stateHeld && !until.IsZero() {
		hold = float64(until.Unix())
	}
	u.metrics.UpstreamHoldUntil.WithLabelValues(u.cfg.Name).Set(hold)
}

// waited notes how long the throttle kept a lane of u from sending.
func (u *upstream) waited(d time.Duration) {
	u.metrics.UpstreamThrottleWait.WithLabelValues(u.cfg.Name).Observe(d.Seconds())
}

// count adds one attempt at m to the numbers; one that our own side ended
// before it began is none.
func (u *upstream) count(m *message.Message, results []transport.Result, err error) {
	if fault := new(transport.Unreachable); errors.As(err, &fault) {
		u.metrics.UpstreamAttempts.WithLabelValues(u.cfg.Name, "unreachable").Add(float64(len(m.To)))
	}
	for _, r := range results {
		u.metrics.UpstreamAttempts.WithLabelValues(u.cfg.Name, r.Outcome.String()).Inc()
		if class, ok := replyClass(r.Result); ok {
			u.metrics.UpstreamReplies.WithLabelValues(u.cfg.Name, class).Inc()
		}
	}
}

// replyClass is the metric's name for the reply of r; not ok when the upstream
// was never asked.
func replyClass(r message.Result) (class string, ok bool) {
	switch r.Reply.Code / 100 {
	case 2:
		return "2xx", true
	case 4:
		return "4xx", true
	case 5:
		return "5xx", true
	}
	return "none", r.Outcome != message.Failed
}
