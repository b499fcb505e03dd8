//go:build linux

package main_test

import (
	"bufio"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
)

// TestMailFitsWhatAProviderAllows sends through a mailbox that
// takes 3 connections and 30 messages a minute, a minute being a second. The relay
// is told of neither: it has to learn them. No sender notices, few are refused, and
// every message arrives once. How near the learned rate comes to the allowed one is
// shown where the relay's own minutes can be made short, too: by
// TestAThousandMessagesThroughANarrowMailbox.
func TestMailFitsWhatAProviderAllows(t *testing.T) {
	const messages = 300
	const allowed = 30 * 60 // a minute of ours
	p := startProviders(t, "1s", "microsoft: {limits: {connections: 3, messages: 30, excess: refuse, recipients: 1000000}}")
	r := p.through(t, p.microsoft365("way", "relay@example.com", simApp, "sim-secret-of-the-gateway", `
    limits: {connections: 10, messages: 100000/m, recipients: 1000000/d}
    replies: [{code: 432, action: slow, for: 500ms}]`), nil)

	var senders errgroup.Group
	for range 4 {
		d := r.session()
		senders.Go(func() error {
			for range messages / 4 {
				if _, _, err := d.send(letterOf("relay@example.com")); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := senders.Wait(); err != nil {
		t.Fatalf("a sender was refused: %v", err)
	}
	learned := 0.0
	await(t, "all messages to arrive", func() bool {
		if rate := r.metric(`postern_upstream_rate_limit_per_minute{upstream="way"}`); rate > 0 {
			learned = rate
		}
		return p.count("microsoft-smtp accepted") >= messages && len(r.queue()) == 0
	})
	arrived := map[string]int{}
	for _, m := range p.messages() {
		arrived[m.MessageID]++
		if arrived[m.MessageID] > 1 {
			t.Errorf("%s arrived %d times", m.MessageID, arrived[m.MessageID])
		}
	}
	if len(arrived) != messages {
		t.Errorf("%d messages arrived, want %d", len(arrived), messages)
	}
	if n := p.count("microsoft-smtp 432"); n == 0 || n > messages/10 {
		t.Errorf("%d of %d messages were refused at first", n, messages)
	}
	if learned > 2*allowed { // it is raised again while a busy machine sends fewer than are allowed
		t.Errorf("the learned rate is %.0f a minute, and %d are allowed", learned, allowed)
	}
	t.Logf("%d refusals, learned %.0f a minute of %d", p.count("microsoft-smtp 432"), learned, allowed)
}

// metric is the value of one series; 0 if it is not there.
func (r *relay) metric(series string) float64 {
	r.t.Helper()
	body, _ := r.get("/metrics")
	lines := bufio.NewScanner(strings.NewReader(body))
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), series+" "); ok {
			value, err := strconv.ParseFloat(text, 64)
			if err != nil {
				r.t.Fatal(err)
			}
			return value
		}
	}
	return 0
}
