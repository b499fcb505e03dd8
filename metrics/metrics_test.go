package metrics_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"postern/metrics"
)

// The collectors of the Go runtime and the process have names of their own.
func ours(t *testing.T, m *metrics.Metrics) map[string]int {
	t.Helper()
	families, err := m.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	series := map[string]int{}
	for _, f := range families {
		if name := f.GetName(); len(name) > 8 && name[:8] == "postern_" {
			series[name] = len(f.GetMetric())
		}
	}
	return series
}

func TestSeriesExistAtZeroBeforeAnythingHappens(t *testing.T) {
	m := metrics.New("1.0", "abc")
	m.Expect(metrics.Names{Listeners: []string{"submission"}, Mechanisms: []string{"PLAIN"}, Upstreams: []string{"ses"}, Routes: []string{"default"}, Accounts: []string{"printer"},
		Rules: []string{"date", "rewrite[0]"}, DKIM: []metrics.DKIMKey{{Domain: "example.com", Algorithm: "rsa"}}})
	got := ours(t, m)
	for name, want := range map[string]int{
		"postern_submission_connections_total":           len(metrics.ConnectionResults),
		"postern_submission_tls_total":                   5, // four versions that worked, and failures, whose version is unknown
		"postern_auth_attempts_total":                    len(metrics.AuthResults),
		"postern_submission_messages_total":              len(metrics.MessageResults),
		"postern_policy_refusals_total":                  len(metrics.PolicyRules),
		"postern_rewrite_changes_total":                  2,
		"postern_policy_limited_total":                   len(metrics.PolicyLimits),
		"postern_policy_bans_total":                      len(metrics.BanKinds),
		"postern_upstream_attempts_total":                len(metrics.AttemptOutcomes),
		"postern_upstream_replies_total":                 len(metrics.ReplyClasses),
		"postern_deliveries_total":                       len(metrics.Outcomes),
		"postern_deliveries_uncertain_total":             1,
		"postern_config_reloads_total":                   len(metrics.ReloadResults),
		"postern_dkim_signatures_total":                  len(metrics.DKIMResults),
		"postern_account_last_message_timestamp_seconds": 1,
		"postern_account_messages_total":                 1,
		"postern_account_refusals_total":                 1,
	} {
		if got[name] != want {
			t.Errorf("%s has %d series, want %d", name, got[name], want)
		}
	}
}

func TestAccountsBeyondTheFirst500ShareASeries(t *testing.T) {
	m := metrics.New("1.0", "abc")
	var names metrics.Names
	for i := range 600 {
		names.Accounts = append(names.Accounts, fmt.Sprintf("device-%d", i))
	}
	m.Expect(names)
	at := time.UnixMilli(1_700_000_000_500)
	m.Accepted("device-0", at)
	m.Accepted("device-599", at)
	m.Accepted("nobody-knows", at)
	m.Refused("device-599")
	m.Refused("") // nobody yet
	for _, name := range []string{"last_message_timestamp_seconds", "messages_total", "refusals_total"} {
		if n := ours(t, m)["postern_account_"+name]; n != 501 {
			t.Errorf("postern_account_%s has %d series, want 500 and one for the others", name, n)
		}
	}
	if accepted, refused := testutil.ToFloat64(m.AccountMessages.WithLabelValues("other")), testutil.ToFloat64(m.AccountRefusals.WithLabelValues("other")); accepted != 2 || refused != 1 {
		t.Errorf("the others have %v messages and %v refusals, want 2 and 1", accepted, refused)
	}
	for _, label := range []string{"device-0", "other"} {
		if got := testutil.ToFloat64(m.AccountLastMessage.WithLabelValues(label)); got != 1_700_000_000.5 {
			t.Errorf("%s: %f", label, got)
		}
	}
}

func TestTheQueueIsAskedAtEachScrape(t *testing.T) {
	m := metrics.New("1.0", "abc")
	var answer metrics.QueueNumbers
	var trouble error
	m.WatchQueue(func() (metrics.QueueNumbers, error) { return answer, trouble })
	m.Expect(metrics.Names{Routes: []string{"office", "default"}})
	answer = metrics.QueueNumbers{Deliveries: map[string]int{"deferred": 7}, Waiting: map[string]int{"office": 4, "gone": 1, "": 2}, Bytes: 42, OldestSeconds: 3, FreeBytes: 9}
	want := `# HELP postern_queue_waiting Recipients queued, deferred or uncertain, by their route; other is that of a route no longer configured.
# TYPE postern_queue_waiting gauge
postern_queue_waiting{route="default"} 0
postern_queue_waiting{route="office"} 4
postern_queue_waiting{route="other"} 3
`
	if err := testutil.GatherAndCompare(m.Registry, strings.NewReader(want), "postern_queue_waiting"); err != nil {
		t.Error(err)
	}
	got := ours(t, m)
	if got["postern_queue_deliveries"] != len(metrics.QueueStates) || got["postern_queue_bytes"] != 1 {
		t.Errorf("the queue's numbers are not there: %v", got)
	}
	trouble = fmt.Errorf("locked")
	if got := ours(t, m); got["postern_queue_bytes"] != 0 || got["postern_build_info"] != 1 {
		t.Errorf("a store that cannot answer must only hide its own numbers: %v", got)
	}
}

func TestDevicesAreCountedAtEachScrape(t *testing.T) {
	m := metrics.New("1.0", "abc")
	known := 0
	m.WatchDevices(func(version string) int {
		if version == "1.2" {
			return known
		}
		return 0
	})
	known = 7
	want := "# HELP postern_devices Devices that logged in during the last 90 days, by the TLS version they spoke last.\n# TYPE postern_devices gauge\n"
	for _, version := range metrics.TLSVersions {
		n := 0
		if version == "1.2" {
			n = 7
		}
		want += fmt.Sprintf("postern_devices{version=%q} %d\n", version, n)
	}
	if err := testutil.GatherAndCompare(m.Registry, strings.NewReader(want), "postern_devices"); err != nil {
		t.Error(err)
	}
}

func TestNamesAndHelpFollowTheConventions(t *testing.T) {
	m := metrics.New("1.0", "abc")
	m.Expect(metrics.Names{Listeners: []string{"submission"}, Mechanisms: []string{"PLAIN"}, Upstreams: []string{"ses"}, Routes: []string{"default"}, Accounts: []string{"printer"}})
	m.WatchQueue(func() (metrics.QueueNumbers, error) { return metrics.QueueNumbers{}, nil })
	m.WatchDevices(func(string) int { return 0 })
	problems, err := testutil.GatherAndLint(prometheus.Gatherer(m.Registry))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}
