package metrics_test

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"postern/metrics"
)

var update = flag.Bool("update", false, "write docs/metrics.md anew")

// hops are the questions that the numbers answer, in the order a message meets
// them, and the numbers of each.
var hops = []struct{ name, question, metrics string }{
	{"The relay", "Does it run, does it take mail, and with which configuration?", "build_info ready draining config_reloads_total credential_expiry_timestamp_seconds"},
	{"Connections", "Who connects, and who is turned away at the door?", "submission_connections submission_connections_total"},
	{"TLS", "Who still speaks old TLS, and whose handshake fails?", "submission_tls_total devices"},
	{"Login", "Do logins work, and is somebody guessing passwords?", "auth_attempts_total policy_bans policy_bans_total"},
	{"Messages", "What is handed in, what do we answer, and where does the time of a session go?", "submission_messages_total submission_message_bytes submission_resent_total submission_phase_seconds account_messages_total account_refusals_total account_last_message_timestamp_seconds"},
	{"Policy", "Which rule refuses, and which limit slows whom down?", "policy_refusals_total policy_limited_total"},
	{"Rewriting", "Which rules change mail, and how often?", "rewrite_changes_total"},
	{"Queue", "Does mail pile up, for how long does it wait, and is the store well?", "queue_deliveries queue_waiting queue_bytes queue_oldest_seconds queue_commit_seconds queue_damaged data_dir_free_bytes"},
	{"Upstreams", "Is the provider there, how fast is it, and does it slow us down?", "upstream_state upstream_hold_until_timestamp_seconds upstream_connections upstream_connection_limit upstream_rate_limit_per_minute upstream_throttle_wait_seconds upstream_throttled_seconds upstream_phase_seconds upstream_attempts_total upstream_replies_total"},
	{"Tokens", "Can we log in to the provider, and for how long yet?", "oauth_state oauth_refreshes_total oauth_token_expiry_timestamp_seconds"},
	{"Signatures", "Is mail signed, and would a receiver find the key?", "dkim_signatures_total dkim_sign_seconds dkim_key_state dkim_key_known_timestamp_seconds dkim_record_good"},
	{"Outcomes", "Does mail arrive, how long does it take, and who is told when it does not?", "delivery_seconds deliveries_total deliveries_uncertain_total bounces_total"},
}

// placeholders are the words for label values that come from a configuration.
var placeholders = map[string]string{
	"LISTENER": "each listener", "MECHANISM": "each mechanism", "UPSTREAM": "each upstream", "ROUTE": "each route; `upstream:` and the name for mail that only that upstream may send", "ACCOUNT": "each account, the first 500; `other`",
	"RULE": "each rule, by its name, and what is done without one", "DOMAIN": "each domain with a key", "ALGORITHM": "`rsa` `ed25519`", "SELECTOR": "each key", "NAME": "the upstream or file", "BUILD": "of the build",
}

// one has a configuration with one of everything, and all its numbers.
func one() *metrics.Metrics {
	m := metrics.New("BUILD", "BUILD")
	m.Expect(metrics.Names{Listeners: []string{"LISTENER"}, Mechanisms: []string{"MECHANISM"}, Upstreams: []string{"UPSTREAM"}, OAuth: []string{"UPSTREAM"}, Routes: []string{"ROUTE"},
		Accounts: []string{"ACCOUNT"}, Rules: []string{"RULE"}, DKIM: []metrics.DKIMKey{{Domain: "DOMAIN", Algorithm: "ALGORITHM"}}})
	for _, kind := range []string{"client_secret", "certificate", "listener_certificate"} {
		m.CredentialExpiry.WithLabelValues(kind, "NAME")
	}
	showKey(m, "SELECTOR")
	watch(m, "UPSTREAM")
	return m
}

// showKey shows a DKIM key as its room does.
func showKey(m *metrics.Metrics, selector string) {
	for _, state := range []string{"new", "published", "active", "retiring"} {
		m.DKIMKeyState.WithLabelValues("DOMAIN", selector, state)
	}
	m.DKIMKeyKnown.WithLabelValues("DOMAIN", selector)
	m.DKIMRecord.WithLabelValues("DOMAIN", selector)
}

// watch has all that is read at a scrape.
func watch(m *metrics.Metrics, upstreams ...string) {
	m.WatchReady(func() error { return nil })
	m.WatchBans(func() int { return 0 })
	m.WatchDevices(func(string) int { return 0 })
	m.WatchQueue(func() (metrics.QueueNumbers, error) { return metrics.QueueNumbers{}, nil })
	m.WatchUpstreams(func() (all []metrics.UpstreamLimits) {
		for _, u := range upstreams {
			all = append(all, metrics.UpstreamLimits{Upstream: u})
		}
		return all
	})
}

func gather(t *testing.T, m *metrics.Metrics) map[string]*dto.MetricFamily {
	t.Helper()
	all, err := m.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	families := map[string]*dto.MetricFamily{}
	for _, f := range all {
		if strings.HasPrefix(f.GetName(), "postern_") {
			families[f.GetName()] = f
		}
	}
	return families
}

// series is how many a scrape brings: a histogram has one for each bucket, with
// that without an end, and its sum and count.
func series(families map[string]*dto.MetricFamily) (n int) {
	for _, f := range families {
		for _, one := range f.GetMetric() {
			n++
			if h := one.GetHistogram(); h != nil {
				n += len(h.GetBucket()) + 2
			}
		}
	}
	return n
}

func TestTheDocumentationIsThatOfTheCode(t *testing.T) {
	m := one()
	if problems, err := testutil.GatherAndLint(m.Registry); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	got := document(t, gather(t, m))
	const path = "../docs/metrics.md"
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(path); err != nil || string(want) != got {
		t.Errorf("docs/metrics.md is out of date (%v); write it anew: go test ./metrics -run Documentation -update", err)
	}
}

func document(t *testing.T, families map[string]*dto.MetricFamily) string {
	t.Helper()
	var b strings.Builder
	b.WriteString(docHead)
	for _, hop := range hops {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| metric | type | unit | labels | meaning |\n|---|---|---|---|---|\n", hop.name, hop.question)
		for name := range strings.FieldsSeq(hop.metrics) {
			f := families["postern_"+name]
			if f == nil {
				t.Fatalf("there is no postern_%s", name)
			}
			delete(families, "postern_"+name)
			fmt.Fprintf(&b, "| `postern_%s` | %s | %s | %s | %s |\n", name, strings.ToLower(f.GetType().String()), unit(name), labels(f), f.GetHelp())
		}
	}
	for name := range families {
		t.Errorf("%s answers no question; add it to one of the hops", name)
	}
	fmt.Fprintf(&b, docSeries, seriesTable(t))
	return b.String()
}

const docHead = `# What is counted

Every number at ` + "`/metrics`" + ` (` + "`metrics.address`" + ` of the configuration), in the order a message meets them. This page is written from the code: ` + "`go test ./metrics -run Documentation -update`" + `.

All of them are there from the start, at 0, so that the first event is seen as a change; those that tell when something ends are there once it is known.
Label values are names of the configuration or one of those listed here, never anything that came over the network. Those who ask for OpenMetrics (Prometheus
with ` + "`--enable-feature=exemplar-storage`" + `) get with ` + "`postern_delivery_seconds`" + ` and the phases ` + "`data` and `accept`" + ` of ` + "`postern_submission_phase_seconds`" + ` an
exemplar whose ` + "`id`" + ` is that of a message, to be looked up with ` + "`postern queue show ID`" + `.

Alerts on these numbers are in ` + "`deploy/prometheus`" + ` ([what to do](operating.md#alerts)), [dashboards](operating.md#dashboards) in ` + "`deploy/grafana`" + `.
`

const docSeries = `
## How many series

So many series, besides those of the Go runtime and the process:

| for | series |
|---|---|
%s
A relay never has more than the sum says; ` + "`TestTheNumberOfSeriesIsBounded`" + ` (relay) holds it, with 50 listeners, 500 accounts and 20 upstreams. What a reload takes out of the configuration keeps its
counters until the next restart.
`

func unit(name string) string {
	switch {
	case strings.HasSuffix(name, "timestamp_seconds"):
		return "Unix time"
	case strings.HasSuffix(name, "_seconds"):
		return "seconds"
	case strings.HasSuffix(name, "_bytes"):
		return "bytes"
	case strings.HasSuffix(name, "_per_minute"):
		return "per minute"
	}
	return ""
}

// labels lists those of a metric, each with its values.
func labels(f *dto.MetricFamily) string {
	values := map[string][]string{}
	var names []string
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			if !slices.Contains(names, l.GetName()) {
				names = append(names, l.GetName())
			}
			value := cmp.Or(placeholders[l.GetValue()], "`"+l.GetValue()+"`")
			if l.GetName() == "goversion" {
				value = placeholders["BUILD"]
			}
			if all := values[l.GetName()]; !slices.Contains(all, value) {
				values[l.GetName()] = append(all, value)
			}
		}
	}
	slices.Sort(names)
	for i, name := range names {
		names[i] = fmt.Sprintf("`%s`: %s", name, strings.Join(values[name], " "))
	}
	return strings.Join(names, "; ")
}

// seriesTable is what each thing of a configuration costs.
func seriesTable(t *testing.T) string {
	t.Helper()
	count := func(n metrics.Names, more func(*metrics.Metrics)) int {
		m := metrics.New("1.0", "abc")
		m.Expect(n)
		watch(m, n.Upstreams...)
		if more != nil {
			more(m)
		}
		return series(gather(t, m))
	}
	base := count(metrics.Names{}, nil)
	var b strings.Builder
	row := func(what string, n int) { fmt.Fprintf(&b, "| %s | %d |\n", what, n) }
	row("the relay", base)
	for _, r := range []struct {
		what  string
		names metrics.Names
	}{
		{"each listener", metrics.Names{Listeners: []string{"a"}}},
		{"each mechanism of AUTH", metrics.Names{Mechanisms: []string{"a"}}},
		{"each account, up to 501", metrics.Names{Accounts: []string{"a"}}},
		{"each upstream, which is a route too", metrics.Names{Upstreams: []string{"a"}, Routes: []string{"upstream:a"}}},
		{"each upstream with OAuth, besides", metrics.Names{OAuth: []string{"a"}}},
		{"each route", metrics.Names{Routes: []string{"a"}}},
		{"each rule of rewriting, repairing and dressing", metrics.Names{Rules: []string{"a"}}},
		{"each domain and algorithm of DKIM", metrics.Names{DKIM: []metrics.DKIMKey{{}}}},
	} {
		row(r.what, count(r.names, nil)-base)
	}
	row("each key of DKIM", count(metrics.Names{}, func(m *metrics.Metrics) { showKey(m, "s") })-base)
	row("each certificate and client secret", count(metrics.Names{}, func(m *metrics.Metrics) { m.CredentialExpiry.WithLabelValues("kind", "name") })-base)
	return b.String()
}
