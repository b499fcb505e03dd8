//go:build linux

package main_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestThroughAProvider is what people come for: a printer with a short password,
// and an upstream that wants OAuth. While the token endpoint is away mail waits,
// and a metric says so; when it is back the mail leaves.
func TestThroughAProvider(t *testing.T) {
	for _, c := range []struct {
		way, service, login string
		upstream            func(p *providers) string
		from                string
	}{
		{"Microsoft 365 by SMTP, with a secret", "microsoft-smtp", "microsoft-login", func(p *providers) string {
			return p.microsoft365("way", "relay@example.com", simApp, "sim-secret-of-the-gateway", "")
		}, "relay@example.com"},
		{"Microsoft 365 by SMTP, with a certificate", "microsoft-smtp", "microsoft-login", func(p *providers) string {
			text := p.microsoft365("way", "relay@example.com", simApp, "SECRET", "")
			return strings.ReplaceAll(text, "client_secret: SECRET", fmt.Sprintf("certificate: %s, key: %s", p.file("app.crt"), p.file("app.key")))
		}, "relay@example.com"},
		{"Gmail by SMTP, with a service account", "gmail-smtp", "google-login", func(p *providers) string {
			return p.google("way", "gmail", "relay@workspace.example", "")
		}, "relay@workspace.example"},
		{"the Gmail API, with a service account", "gmail-api", "google-login", func(p *providers) string {
			return p.google("way", "gmail-api", "relay@workspace.example", "")
		}, "relay@workspace.example"},
		{"Graph, for a tenant whose SMTP AUTH is off", "graph", "microsoft-login", func(p *providers) string {
			return p.graph("way")
		}, "relay@graph.example"},
	} {
		t.Run(c.way, func(t *testing.T) {
			t.Parallel()
			p := startProviders(t, "1m", "")
			p.fault(fmt.Sprintf(`{"where": %q, "down": true}`, c.login))
			r := p.through(t, c.upstream(p), nil)
			l := letterOf(c.from)
			if _, _, err := r.session().send(l); err != nil {
				t.Fatalf("the token endpoint is away, and with it acceptance: %v", err)
			}
			await(t, "the metric to tell that there is no token", func() bool {
				body, _ := r.get("/metrics")
				return metricIs(body, `postern_oauth_state{state="refreshing",upstream="way"}`, "1")
			})
			if waiting, arrived := r.queue(), p.messages(); len(waiting) != 1 || len(arrived) != 0 {
				t.Fatalf("%d wait and %d have arrived, want 1 and none", len(waiting), len(arrived))
			}
			p.mend()
			await(t, "the mail to be delivered", func() bool { return len(r.queue()) == 0 })
			arrived := p.messages()
			if len(arrived) != 1 || arrived[0].Provider != c.service || !slices.Equal(arrived[0].To, l.to) {
				t.Fatalf("arrived: %+v, want one by %s to %v", arrived, c.service, l.to)
			}
			if c.service == "gmail-smtp" || c.service == "microsoft-smtp" {
				if !strings.Contains(arrived[0].content(t), "A scan.\r\n") || !strings.Contains(arrived[0].MessageID, l.id) {
					t.Errorf("it arrived as\n%s", arrived[0].content(t))
				}
			}
			body, _ := r.get("/metrics")
			if !metricIs(body, `postern_oauth_state{state="ok",upstream="way"}`, "1") {
				t.Errorf("the metric does not tell that there is a token")
			}
		})
	}
}

// metricIs tells whether a metric has that value.
func metricIs(page, metric, value string) bool {
	return strings.Contains(page, "\n"+metric+" "+value+"\n")
}
