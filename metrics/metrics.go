// Package metrics names and explains every number Postern exports, in this one
// file. It is a leaf: the rooms count on what they are given, and keep no
// numbers of their own.
//
// Label values come from the configuration or from fixed sets, never from the
// network, so that the number of series is bounded.
package metrics

import (
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Fixed label values, in the order a message meets them.
var (
	ConnectionResults = []string{"served", "refused"}
	TLSVersions       = []string{"1.0", "1.1", "1.2", "1.3", "none"}
	TLSResults        = []string{"ok", "failed"}
	AuthResults       = []string{"ok", "failed", "unavailable"}
	MessageResults    = []string{"accepted", "refused", "unavailable"}
	SubmissionPhases  = []string{"tls", "auth", "data", "accept"}
	PolicyRules       = []string{"sender", "from", "recipient", "recipients_per_message", "size", "null_sender", "route", "carry", "rewrite"}
	PolicyLimits      = []string{"messages", "recipients", "per_account_messages", "per_account_recipients"}
	BanKinds          = []string{"account", "address"}
	QueueStates       = []string{"queued", "sending", "deferred", "held", "uncertain"}
	Outcomes          = []string{"delivered", "deferred", "failed", "uncertain", "held"}
	AttemptOutcomes   = []string{"delivered", "deferred", "failed", "uncertain", "unreachable"}
	ReplyClasses      = []string{"2xx", "4xx", "5xx", "none"}
	UpstreamPhases    = []string{"token", "connect", "tls", "auth", "envelope", "data"}
	UpstreamStates    = []string{"up", "down", "probing", "held"}
	ReloadResults     = []string{"ok", "refused"}
	DKIMResults       = []string{"ok", "failed"}
	OAuthResults      = []string{"ok", "failed", "refused", "unsaved"}
	OAuthStates       = []string{"ok", "refreshing", "needs consent", "misconfigured"}
	BouncePolicies    = []string{"dsn", "digest", "none"}
	BounceResults     = []string{"failed", "delayed", "relayed", "silent"}
)

// Metrics is every number, ready to be counted on. Its methods and fields are
// safe for concurrent use.
type Metrics struct {
	Registry *prometheus.Registry

	Connections      *prometheus.GaugeVec     // listener
	ConnectionsTotal *prometheus.CounterVec   // listener, result
	TLS              *prometheus.CounterVec   // listener, version, result
	Auth             *prometheus.CounterVec   // mechanism, result
	Messages         *prometheus.CounterVec   // listener, result
	MessageBytes     prometheus.Histogram     //
	Resent           prometheus.Counter       //
	Draining         prometheus.Gauge         //
	SubmissionPhase  *prometheus.HistogramVec // phase
	PolicyRefusals   *prometheus.CounterVec   // rule
	RewriteChanges   *prometheus.CounterVec   // rule
	PolicyLimited    *prometheus.CounterVec   // rule
	PolicyBans       *prometheus.CounterVec   // kind

	QueueCommit  prometheus.Histogram //
	QueueDamaged prometheus.Gauge     //

	DKIMSignatures *prometheus.CounterVec // domain, algorithm, result
	DKIMSign       prometheus.Histogram   //
	DKIMKeyState   *prometheus.GaugeVec   // domain, selector, state
	DKIMKeyKnown   *prometheus.GaugeVec   // domain, selector
	DKIMRecord     *prometheus.GaugeVec   // domain, selector

	UpstreamConnections *prometheus.GaugeVec     // upstream
	UpstreamAttempts    *prometheus.CounterVec   // upstream, outcome
	UpstreamReplies     *prometheus.CounterVec   // upstream, class
	UpstreamPhase       *prometheus.HistogramVec // upstream, phase
	UpstreamState       *prometheus.GaugeVec     // upstream, state

	UpstreamHoldUntil    *prometheus.GaugeVec     // upstream
	UpstreamThrottleWait *prometheus.HistogramVec // upstream

	OAuthRefreshes   *prometheus.CounterVec // upstream, result
	OAuthState       *prometheus.GaugeVec   // upstream, state
	OAuthExpiry      *prometheus.GaugeVec   // upstream
	CredentialExpiry *prometheus.GaugeVec   // kind, name

	DeliverySeconds     *prometheus.HistogramVec // route
	Deliveries          *prometheus.CounterVec   // route, outcome
	DeliveriesUncertain *prometheus.CounterVec   // upstream
	Bounces             *prometheus.CounterVec   // policy, result
	Reloads             *prometheus.CounterVec   // result
	AccountLastMessage  *prometheus.GaugeVec     // account
	AccountMessages     *prometheus.CounterVec   // account
	AccountRefusals     *prometheus.CounterVec   // account

	accounts atomic.Pointer[map[string]bool] // those with a series of their own
	routes   atomic.Pointer[[]string]        // those in force
}

// maxAccounts is how many accounts get a series of their own; the others share
// "other".
const maxAccounts = 500

var seconds = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}

// New makes the numbers and registers them with a registry of their own.
func New(version, commit string) *Metrics {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	f := factory{r}
	m := &Metrics{
		Registry: r,

		Connections:      f.gauges("submission_connections", "Clients connected now.", "listener"),
		ConnectionsTotal: f.counters("submission_connections_total", "Clients that connected, by whether they were served.", "listener", "result"),
		TLS:              f.counters("submission_tls_total", "TLS handshakes of clients.", "listener", "version", "result"),
		Auth:             f.counters("auth_attempts_total", "Authentications tried: failed is a wrong secret, unavailable our trouble, or a ban.", "mechanism", "result"),
		Messages:         f.counters("submission_messages_total", "Messages offered after DATA or BDAT, by our answer.", "listener", "result"),
		MessageBytes:     f.histogram("submission_message_bytes", "Size of accepted messages in bytes.", prometheus.ExponentialBuckets(1<<10, 4, 9)),
		Resent:           f.counter("submission_resent_total", "Messages sent again by a device that had a 250 already, and not kept."),
		Draining:         f.gauge("draining", "1 while no new mail is taken because somebody asked for it (postern queue drain)."),
		SubmissionPhase:  f.histograms("submission_phase_seconds", "Time a client's session spent in each phase.", seconds, "phase"),
		PolicyRefusals:   f.counters("policy_refusals_total", "Senders, recipients and messages refused, by the rule that did.", "rule"),
		RewriteChanges:   f.counters("rewrite_changes_total", "Changes made to messages when they were accepted and for each attempt to send them, by the rule that asked for them.", "rule"),
		PolicyLimited:    f.counters("policy_limited_total", "Senders, recipients and messages put off because a limit was reached, by the limit.", "rule"),
		PolicyBans:       f.counters("policy_bans_total", "Bans made after failed logins: of an account name from one address, or of an address.", "kind"),

		QueueCommit:  f.histogram("queue_commit_seconds", "Time to make one group of changes durable.", seconds),
		QueueDamaged: f.gauge("queue_damaged", "Entries of the store set aside because they cannot be read."),

		DKIMSignatures: f.counters("dkim_signatures_total", "Signatures made, by the key's domain and algorithm.", "domain", "algorithm", "result"),
		DKIMSign:       f.histogram("dkim_sign_seconds", "Time to sign one message with all its keys.", seconds),
		DKIMKeyState:   f.gauges("dkim_key_state", "1 for the state the key is in (new, published, active, retiring), 0 for the others.", "domain", "selector", "state"),
		DKIMKeyKnown:   f.gauges("dkim_key_known_timestamp_seconds", "Unix time at which this relay first met the key.", "domain", "selector"),
		DKIMRecord:     f.gauges("dkim_record_good", "1 if the key's record in DNS was right when last seen, 0 if not.", "domain", "selector"),

		UpstreamConnections: f.gauges("upstream_connections", "Connections open to the upstream now.", "upstream"),
		UpstreamAttempts:    f.counters("upstream_attempts_total", "Recipients tried, by how it ended; unreachable attempts sent nothing.", "upstream", "outcome"),
		UpstreamReplies:     f.counters("upstream_replies_total", "Final replies of the upstream by their class; none is a lost answer.", "upstream", "class"),
		UpstreamPhase:       f.histograms("upstream_phase_seconds", "Time the upstream took for each phase.", seconds, "upstream", "phase"),
		UpstreamState:       f.gauges("upstream_state", "1 for the state the upstream is in, 0 for the others.", "upstream", "state"),

		UpstreamHoldUntil:    f.gauges("upstream_hold_until_timestamp_seconds", "Unix time until which the upstream is held; 0 when it is not, or without an end.", "upstream"),
		UpstreamThrottleWait: f.histograms("upstream_throttle_wait_seconds", "Time for which mail that was due waited because its mailbox may send no more for now.", []float64{.1, .5, 1, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600}, "upstream"),

		OAuthRefreshes:   f.counters("oauth_refreshes_total", "Access tokens asked for: failed will be tried again, refused waits for a person, unsaved is a new refresh token that could not be stored.", "upstream", "result"),
		OAuthState:       f.gauges("oauth_state", "1 for the state the upstream's access tokens are in, 0 for the others.", "upstream", "state"),
		OAuthExpiry:      f.gauges("oauth_token_expiry_timestamp_seconds", "Unix time at which the access token expires; 0 when there is none.", "upstream"),
		CredentialExpiry: f.gauges("credential_expiry_timestamp_seconds", "Unix time at which what somebody must renew expires: client_secret and certificate of the upstream of that name, listener_certificate in the file of that name.", "kind", "name"),

		DeliverySeconds:     f.histograms("delivery_seconds", "Time from acceptance to delivery.", []float64{.01, .1, .5, 1, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600}, "route"),
		Deliveries:          f.counters("deliveries_total", "Attempts settled per recipient.", "route", "outcome"),
		DeliveriesUncertain: f.counters("deliveries_uncertain_total", "Recipients whose delivery may or may not have been made.", "upstream"),
		Bounces:             f.counters("bounces_total", "Recipients reported on to the sender or in a digest, by what became of them; silent are those nobody is told of.", "policy", "result"),
		Reloads:             f.counters("config_reloads_total", "Configuration reloads; refused ones left the old configuration running.", "result"),
		AccountLastMessage:  f.gauges("account_last_message_timestamp_seconds", "Unix time of the account's last accepted message; 0 when there was none since the start.", "account"),
		AccountMessages:     f.counters("account_messages_total", "Messages accepted from the account.", "account"),
		AccountRefusals:     f.counters("account_refusals_total", "Senders, recipients and messages of the account refused or put off.", "account"),
	}
	build := f.gauges("build_info", "1; the labels say what is running.", "version", "commit", "goversion")
	goVersion := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		goVersion = info.GoVersion
	}
	build.WithLabelValues(version, commit, goVersion).Set(1)
	for _, result := range ReloadResults {
		m.Reloads.WithLabelValues(result)
	}
	for _, policy := range BouncePolicies {
		each(BounceResults, func(v string) { m.Bounces.WithLabelValues(policy, v) })
	}
	for _, rule := range PolicyRules {
		m.PolicyRefusals.WithLabelValues(rule)
	}
	for _, rule := range PolicyLimits {
		m.PolicyLimited.WithLabelValues(rule)
	}
	for _, kind := range BanKinds {
		m.PolicyBans.WithLabelValues(kind)
	}
	for _, phase := range SubmissionPhases {
		m.SubmissionPhase.WithLabelValues(phase)
	}
	return m
}

// Names are the label values that come from the configuration.
type Names struct {
	Listeners, Mechanisms, Upstreams, Routes, Accounts, Rules []string
	DKIM                                                      []DKIMKey
	// OAuth are the upstreams with access tokens.
	OAuth []string
}

// DKIMKey is what the numbers call a key by.
type DKIMKey struct{ Domain, Algorithm string }

// Expect makes the series of these names exist at zero, so that an alert on a
// rate sees the first event. Series of names gone since stay until a restart:
// a counter must not vanish between two scrapes.
func (m *Metrics) Expect(n Names) {
	for _, l := range n.Listeners {
		m.Connections.WithLabelValues(l)
		each(ConnectionResults, func(v string) { m.ConnectionsTotal.WithLabelValues(l, v) })
		each(MessageResults, func(v string) { m.Messages.WithLabelValues(l, v) })
		each(TLSVersions, func(version string) {
			each(TLSResults, func(v string) {
				if (version == "none") == (v == "failed") {
					m.TLS.WithLabelValues(l, version, v)
				}
			})
		})
	}
	for _, mech := range n.Mechanisms {
		each(AuthResults, func(v string) { m.Auth.WithLabelValues(mech, v) })
	}
	for _, u := range n.Upstreams {
		m.UpstreamConnections.WithLabelValues(u)
		m.DeliveriesUncertain.WithLabelValues(u)
		each(AttemptOutcomes, func(v string) { m.UpstreamAttempts.WithLabelValues(u, v) })
		each(ReplyClasses, func(v string) { m.UpstreamReplies.WithLabelValues(u, v) })
		each(UpstreamPhases, func(v string) { m.UpstreamPhase.WithLabelValues(u, v) })
		each(UpstreamStates, func(v string) { m.UpstreamState.WithLabelValues(u, v) })
		m.UpstreamHoldUntil.WithLabelValues(u)
		m.UpstreamThrottleWait.WithLabelValues(u)
	}
	for _, u := range n.OAuth {
		m.OAuthExpiry.WithLabelValues(u)
		each(OAuthStates, func(v string) { m.OAuthState.WithLabelValues(u, v) })
		each(OAuthResults, func(v string) { m.OAuthRefreshes.WithLabelValues(u, v) })
	}
	for _, route := range n.Routes {
		m.DeliverySeconds.WithLabelValues(route)
		each(Outcomes, func(v string) { m.Deliveries.WithLabelValues(route, v) })
	}
	m.routes.Store(&n.Routes)
	each(n.Rules, func(rule string) { m.RewriteChanges.WithLabelValues(rule) })
	for _, k := range n.DKIM {
		each(DKIMResults, func(v string) { m.DKIMSignatures.WithLabelValues(k.Domain, k.Algorithm, v) })
	}
	known := map[string]bool{}
	for _, account := range n.Accounts[:min(len(n.Accounts), maxAccounts)] {
		known[account] = true
	}
	m.accounts.Store(&known)
	each(n.Accounts, func(account string) {
		label := m.accountLabel(account)
		m.AccountLastMessage.WithLabelValues(label)
		m.AccountMessages.WithLabelValues(label)
		m.AccountRefusals.WithLabelValues(label)
	})
}

// Accepted notes that a message of the account was taken, and when.
func (m *Metrics) Accepted(account string, at time.Time) {
	label := m.accountLabel(account)
	m.AccountLastMessage.WithLabelValues(label).Set(float64(at.UnixMilli()) / 1000)
	m.AccountMessages.WithLabelValues(label).Inc()
}

// Refused notes that a sender, a recipient or a message of the account was not
// taken. Who has not logged in has no account, and counts for nobody.
func (m *Metrics) Refused(account string) {
	if account != "" {
		m.AccountRefusals.WithLabelValues(m.accountLabel(account)).Inc()
	}
}

// accountLabel bounds the series: accounts beyond the first 500 share "other".
func (m *Metrics) accountLabel(account string) string {
	if known := m.accounts.Load(); known != nil && (*known)[account] {
		return account
	}
	return "other"
}

// ObserveWith adds seconds to h for the message with that id, which those who ask
// for OpenMetrics are shown as the exemplar; "" for no message.
func ObserveWith(h prometheus.Observer, seconds float64, id string) {
	if with, ok := h.(prometheus.ExemplarObserver); ok && id != "" {
		with.ObserveWithExemplar(seconds, prometheus.Labels{"id": id})
		return
	}
	h.Observe(seconds)
}

// WatchReady exports at each scrape whether mail is taken.
func (m *Metrics) WatchReady(ready func() error) {
	m.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "postern", Name: "ready", Help: "1 while mail is taken, 0 while it is not, as /readyz says with the reason.",
	}, func() float64 {
		if ready() != nil {
			return 0
		}
		return 1
	}))
}

// QueueNumbers is what the store knows when it is asked.
type QueueNumbers struct {
	// Deliveries counts recipients by state.
	Deliveries map[string]int
	// Waiting counts those that wait to be sent, by route.
	Waiting map[string]int
	// Bytes is what waiting messages take in the store.
	Bytes int64
	// OldestSeconds is the age of the oldest waiting message; 0 when none waits.
	OldestSeconds float64
	// FreeBytes is the free space of the data directory's file system.
	FreeBytes int64
}

// WatchQueue exports what read returns at each scrape. A scrape during which
// the store cannot answer has no queue numbers.
func (m *Metrics) WatchQueue(read func() (QueueNumbers, error)) {
	m.Registry.MustRegister(&queueCollector{read: read,
		deliveries: prometheus.NewDesc("postern_queue_deliveries", "Recipients waiting, by state.", []string{"state"}, nil),
		waiting:    prometheus.NewDesc("postern_queue_waiting", "Recipients queued, deferred or uncertain, by their route; other is that of a route no longer configured.", []string{"route"}, nil),
		routes:     &m.routes,
		bytes:      prometheus.NewDesc("postern_queue_bytes", "Bytes of the messages waiting.", nil, nil),
		oldest:     prometheus.NewDesc("postern_queue_oldest_seconds", "Age of the oldest waiting message.", nil, nil),
		free:       prometheus.NewDesc("postern_data_dir_free_bytes", "Free space where the data directory lies.", nil, nil),
	})
}

// WatchBans exports how many bans count returns at each scrape.
func (m *Metrics) WatchBans(count func() int) {
	m.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "postern", Name: "policy_bans", Help: "Bans in force now, of account names from one address and of addresses.",
	}, func() float64 { return float64(count()) }))
}

type queueCollector struct {
	read                                     func() (QueueNumbers, error)
	routes                                   *atomic.Pointer[[]string]
	deliveries, waiting, bytes, oldest, free *prometheus.Desc
}

func (c *queueCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.deliveries, c.waiting, c.bytes, c.oldest, c.free} {
		ch <- d
	}
}

func (c *queueCollector) Collect(ch chan<- prometheus.Metric) {
	n, err := c.read()
	if err != nil {
		return // readyz and the log say why; one number missing must not hide the rest
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for _, state := range QueueStates {
		gauge(c.deliveries, float64(n.Deliveries[state]), state)
	}
	other := 0
	for _, waiting := range n.Waiting {
		other += waiting
	}
	if routes := c.routes.Load(); routes != nil {
		for _, route := range *routes {
			gauge(c.waiting, float64(n.Waiting[route]), route)
			other -= n.Waiting[route]
		}
	}
	gauge(c.waiting, float64(other), "other")
	gauge(c.bytes, float64(n.Bytes))
	gauge(c.oldest, n.OldestSeconds)
	gauge(c.free, float64(n.FreeBytes))
}

// UpstreamLimits is what an upstream may send now, configured or learned; 0 for no
// limit.
type UpstreamLimits struct {
	Upstream    string
	Rate        float64 // messages a minute
	Connections int
	Throttled   float64 // seconds for which mail has waited by now
}

// WatchUpstreams exports, at each scrape, what read tells of the upstreams in
// force.
func (m *Metrics) WatchUpstreams(read func() []UpstreamLimits) {
	m.Registry.MustRegister(&upstreamCollector{read: read,
		rate:        prometheus.NewDesc("postern_upstream_rate_limit_per_minute", "Messages a minute that may go through the upstream's mailbox, configured or learned; 0 for no limit.", []string{"upstream"}, nil),
		connections: prometheus.NewDesc("postern_upstream_connection_limit", "Connections that may be used at once, configured or learned, and fewer for a while after an outage.", []string{"upstream"}, nil),
		throttled:   prometheus.NewDesc("postern_upstream_throttled_seconds", "For how long mail that is due has waited by now because its mailbox may send no more; 0 while none does.", []string{"upstream"}, nil),
	})
}

type upstreamCollector struct {
	read                         func() []UpstreamLimits
	rate, connections, throttled *prometheus.Desc
}

func (c *upstreamCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.rate
	ch <- c.connections
	ch <- c.throttled
}

func (c *upstreamCollector) Collect(ch chan<- prometheus.Metric) {
	for _, u := range c.read() {
		ch <- prometheus.MustNewConstMetric(c.rate, prometheus.GaugeValue, u.Rate, u.Upstream)
		ch <- prometheus.MustNewConstMetric(c.connections, prometheus.GaugeValue, float64(u.Connections), u.Upstream)
		ch <- prometheus.MustNewConstMetric(c.throttled, prometheus.GaugeValue, u.Throttled, u.Upstream)
	}
}

// WatchDevices exports, at each scrape, how many devices count knows of each TLS
// version.
func (m *Metrics) WatchDevices(count func(version string) int) {
	for _, version := range TLSVersions {
		m.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "postern", Name: "devices",
			Help:        "Devices that logged in during the last 90 days, by the TLS version they spoke last.",
			ConstLabels: prometheus.Labels{"version": version}}, func() float64 { return float64(count(version)) }))
	}
}

func each(values []string, f func(string)) {
	for _, v := range values {
		f(v)
	}
}

// factory registers what it makes, under our prefix.
type factory struct{ r *prometheus.Registry }

func (f factory) gauge(name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "postern", Name: name, Help: help})
	f.r.MustRegister(g)
	return g
}

func (f factory) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "postern", Name: name, Help: help})
	f.r.MustRegister(c)
	return c
}

func (f factory) gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "postern", Name: name, Help: help}, labels)
	f.r.MustRegister(g)
	return g
}

func (f factory) counters(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "postern", Name: name, Help: help}, labels)
	f.r.MustRegister(c)
	return c
}

func (f factory) histogram(name, help string, buckets []float64) prometheus.Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "postern", Name: name, Help: help, Buckets: buckets})
	f.r.MustRegister(h)
	return h
}

func (f factory) histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "postern", Name: name, Help: help, Buckets: buckets}, labels)
	f.r.MustRegister(h)
	return h
}
