//go:build linux

package main_test

import (
	"fmt"
	"math"
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"

	"postern/cmd/provider-sim/smtpd"
	"postern/relay/dkim/dnstest"
)

// day is a relay with one of everything, the providers it sends through, and a
// Prometheus that watches.
type day struct {
	t         *testing.T
	relay     *relay
	providers *providers
	*prometheus
	author   string  // in From of what is sent now, if it is another than the sender
	from, to float64 // the first and the last scrape
}

// startDay has Microsoft 365 for the copier, and SES for the others.
func startDay(t *testing.T) *day {
	needs(t, "prometheus", "promtool")
	dns := dnstest.Start(t, "127.0.0.1:0")
	key, record := signingKey(t, workDir(t), "s1", "rsa", "")
	dns.TXT("s1._domainkey.example.com", record)
	p := startProviders(t, "1s", "{}")
	account := func(name, more string) string {
		return fmt.Sprintf("\n  - {name: %s, password_hash: %q, senders: [\"@example.com\"], %s}", name, needHash(t), more)
	}
	r := startRelay(t, "127.0.0.1:1", sections{
		"accounts":   account("copier", "route: office") + account("erp", "bounce: digest") + account("till", "limits: {messages: 2/d}"),
		"postmaster": "it@example.com",
		"policy":     "{ban: {after: 3}}",
		"dkim":       "[" + key + "]",
		"dns":        fmt.Sprintf("{resolver: %q}", dns.Address),
		"rewrite":    `[{match: "*@copier.local", to: "relay@example.com", fields: [envelope, from]}]`,
		"upstreams": p.microsoft365("m365", "relay@example.com", simApp, "sim-secret-of-the-gateway", `
    replies: [{code: 432, action: slow, for: 500ms}]`) +
			p.withPassword("ses", "ses", "ses-smtp", "AKIASIMULATED0000001", smtpd.SESPassword("sim/secret/key/of/the/iam/user", "eu-west-1")),
		"routes": "[{name: office, senders: [relay@example.com], upstreams: [m365]}, {name: default, upstreams: [ses]}]",
	})
	await(t, "the key's record to be seen", func() bool { return r.metric(`postern_dkim_record_good{domain="example.com",selector="s1"}`) == 1 })
	return &day{t: t, relay: r, providers: p, prometheus: startPrometheus(t, r)}
}

func (d *day) letter(from string) letter {
	l := letterOf(from)
	if d.author != "" {
		l.data = []byte(strings.ReplaceAll(string(l.data), from, d.author))
	}
	return l
}

// send has an account send messages, and returns the code of the last answer.
func (d *day) send(account, from string, messages int) (last int) {
	d.t.Helper()
	s, err := logInFrom(home, d.relay.address.submission, trust(d.t, needKeys(d.t).ca), account)
	if err != nil {
		d.t.Fatalf("%s: %v", account, err)
	}
	defer s.close()
	for range messages {
		_, _, err := s.send(d.letter(from))
		last = code(err)
	}
	return last
}

func (d *day) mustSend(account, from string, messages int) {
	d.t.Helper()
	if got := d.send(account, from, messages); got != 200 {
		d.t.Fatalf("%s is told %d", account, got)
	}
}

func (d *day) awaitEmpty(what string) {
	d.t.Helper()
	await(d.t, what, func() bool { return len(d.relay.queue()) == 0 })
}

// pass is the day: what happens in it is what the test below expects to see.
func (d *day) pass() {
	d.t.Helper()
	// SES is away at first, and back only later.
	d.providers.fault(`{"where": "ses-smtp", "down": true}`)
	d.mustSend("erp", sender, 3)
	await(d.t, "SES to be down", func() bool { return d.relay.metric(`postern_upstream_state{state="down",upstream="ses"}`) == 1 })

	// Microsoft says twice that it is too much.
	d.providers.fault(`{"name": "432", "times": 2}`)
	d.mustSend("copier", "scan@copier.local", 4)
	d.refused()
	d.awaitScrapes(4) // over a second: the panels are asked for each second
	d.providers.mend()
	postern(d.t, "upstreams", "resume", "ses", "--config", d.relay.config)
	d.awaitEmpty("the upstreams to be back, and all mail sent")

	d.mustSend("erp", sender, 12)
	d.awaitEmpty("the mail to be sent")
	d.providers.fault(`{"where": "ses-smtp", "at": "rcpt", "reply": "550 5.1.1 No such user here", "times": 2}`)
	d.mustSend("erp", sender, 2)
	d.awaitEmpty("the mail to fail")
	d.providers.fault(`{"where": "ses-smtp", "at": "end", "cut": {"octets": 0}, "times": 1}`)
	d.mustSend("erp", sender, 1)
	d.awaitEmpty("what may have been sent to be sent again")
	await(d.t, "the alert that a reload was refused", func() bool {
		return len(d.query("query", url.Values{"query": {`ALERTS{alertname="PosternReloadRefused", alertstate="firing"}`}})) > 0
	})
	d.awaitScrapes(2)
	times := d.scrapes()
	d.from, d.to = times[0], times[len(times)-1]
}

// refused is what is not taken: names an account may not use, more than it may
// send, passwords that are wrong, certificates nobody knows, a configuration with
// an error.
func (d *day) refused() {
	d.t.Helper()
	if got := d.send("erp", "boss@elsewhere.example", 3); got != 550 {
		d.t.Errorf("another's name is answered %d", got)
	}
	d.author = "boss@example.net"
	if got := d.send("erp", sender, 2); got != 550 {
		d.t.Errorf("another's name in From is answered %d", got)
	}
	d.author = ""
	if got := d.send("till", sender, 3); got != 450 {
		d.t.Errorf("more than the quota is answered %d", got)
	}
	roots := trust(d.t, needKeys(d.t).ca)
	for i := range 5 {
		s, err := securedFrom(stranger, d.relay.address.submission, roots)
		if err != nil {
			d.t.Fatal(err)
		}
		if got, want := code(s.auth("erp", "guess")), []int{535, 535, 535, 454, 454}[i]; got != want {
			d.t.Errorf("guess %d is answered %d, want %d", i, got, want)
		}
		s.close()
	}
	if s, err := dialTLS(d.relay.address.submissions, trust(d.t, d.providers.file("ca.pem"))); err == nil {
		s.close()
		d.t.Error("a client that does not know our CA has connected")
	}
	good := readFile(d.t, d.relay.config)
	writeFile(d.t, d.relay.config, string(good)+"\nno_such_key: 1\n")
	postern(d.t, "reload", "--config", d.relay.config)
	writeFile(d.t, d.relay.config, string(good))
}

// TestADayOnTheDashboards lets a relay, its providers and a Prometheus live through
// a short day, and asks for all that the dashboards and alerts show of it.
func TestADayOnTheDashboards(t *testing.T) {
	d := startDay(t)
	d.pass()
	page, _ := d.relay.get("/metrics")
	t.Run("promtool has nothing to say about the page", func(t *testing.T) {
		check := exec.Command("promtool", "check", "metrics")
		check.Stdin = strings.NewReader(page)
		if said, err := check.CombinedOutput(); err != nil || len(said) > 0 {
			t.Errorf("%v\n%s", err, said)
		}
	})
	t.Run("every query asks for what is exported", func(t *testing.T) { mustAskForWhatIsExported(t, page) })
	t.Run("Prometheus has the ids of messages", d.mustHaveExemplars)
	t.Run("every alert can be asked", d.mustJudge)
	t.Run("every panel shows something", d.mustShow)
}

func (d *day) mustHaveExemplars(t *testing.T) {
	for _, metric := range []string{"postern_delivery_seconds_bucket", "postern_submission_phase_seconds_bucket"} {
		ids := d.exemplars(metric, d.from, d.to)
		if len(ids) == 0 {
			t.Errorf("%s has none", metric)
		}
		for _, id := range ids {
			if !d.relay.log.contains(`"id":"` + id + `"`) {
				t.Errorf("%s has an exemplar %q, and the log does not know it", metric, id)
			}
		}
	}
}

// mustJudge holds that Prometheus could ask for every alert, and that the reload
// that was refused is one.
func (d *day) mustJudge(t *testing.T) {
	var data struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError, State string }
		}
	}
	d.ask("rules", nil, &data)
	firing := map[string]bool{}
	for _, g := range data.Groups {
		for _, r := range g.Rules {
			if r.Health != "ok" {
				t.Errorf("%s: %s, %s", r.Name, r.Health, r.LastError)
			}
			firing[r.Name] = r.State == "firing"
		}
	}
	if len(firing) != len(readAlerts(t)) || !firing["PosternReloadRefused"] || firing["PosternDown"] {
		t.Errorf("of %d alerts these fire: %v", len(firing), firing)
	}
}

// mustShow asks for every panel as Grafana does. Series have the labels that they
// are named by, and what the day had a number for is that number.
func (d *day) mustShow(t *testing.T) {
	numbers := map[string]float64{ // by dashboard, panel and legend
		"postern-overview, Messages accepted: accepted":                           24,
		"postern-overview, Delivered: delivered":                                  22,
		"postern-overview, Failed for good: failed":                               2,
		"postern-overview, Takes mail: takes mail":                                1,
		"postern-overview, Waiting: waiting":                                      0,
		"postern-overview, Upstreams away: away":                                  0,
		"postern-overview, Refused, by rule: sender":                              3,
		"postern-overview, Refused, by rule: from":                                2,
		"postern-overview, Put off, by limit: messages":                           1,
		"postern-overview, Changes, by rule: rewrite[0]":                          8,
		"postern-overview, Recipients reported on: digest: failed":                2,
		"postern-overview, Recipients settled, by route: upstream:ses: uncertain": 1,
		"postern-overview, Keys in DNS: s1 example.com":                           1,
		"postern-upstream, Delivered: delivered":                                  4,
		"postern-upstream, Put off: deferred":                                     2,
		"postern-devices, Accepted: accepted":                                     24,
		"postern-devices, Refused: refused":                                       2,
		"postern-devices, Told to come later: unavailable":                        0,
		"postern-devices, No TLS agreed on: failed":                               1,
		"postern-devices, Who sends most: copier":                                 4,
		"postern-devices, Who sends most: erp":                                    18,
		"postern-devices, Who sends most: till":                                   2,
		"postern-devices, Who is refused most: erp":                               5,
		"postern-devices, Who is refused most: till":                              1,
	}
	// No longer than from scrape to scrape, so that increase() has nothing to guess.
	span := time.Duration(math.Round((d.to-d.from)*1000)) * time.Millisecond
	shown, most := map[string]float64{}, map[string]float64{}
	for _, board := range readDashboards(t) {
		for _, p := range board.Panels {
			for _, target := range p.Targets {
				expr, where := chosen(target.Expr, span), board.UID+", "+p.Title
				ask := func() []vector { return d.during(expr, d.from, d.to) }
				if target.Instant {
					ask = func() []vector { return d.at(expr, d.to) }
				}
				series := ask()
				if len(series) == 0 {
					t.Errorf("%s shows nothing: %s", where, expr)
				}
				for _, v := range series {
					name := d.named(t, where, target.LegendFormat, v)
					shown[name] = v.points[len(v.points)-1].value
					for _, one := range v.points {
						most[name] = max(most[name], one.value)
					}
				}
			}
		}
	}
	if got := most["postern-overview, Upstreams: ses"]; got != 4 {
		t.Errorf("SES was away, and its worst state is %v, want 4", got)
	}
	for _, name := range []string{"postern-overview, Waiting for a limit, of the time: m365", "postern-overview, What mail waits for: deferred", "postern-overview, On which route it waits: default", "postern-overview, Age of the oldest: " + d.relay.address.metrics} {
		if most[name] == 0 {
			t.Errorf("%s was never more than 0", name)
		}
	}
	for name, want := range numbers {
		if got, there := shown[name]; !there || math.Abs(got-want) > 0.1 {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	if t.Failed() {
		t.Logf("shown are %v", shown)
	}
}

// named is a series as the legend calls it, which must have all labels for that.
func (d *day) named(t *testing.T, where, legend string, v vector) string {
	return where + ": " + legendLabel.ReplaceAllStringFunc(legend, func(label string) string {
		value := v.labels[strings.Trim(label, "{}")]
		if value == "" {
			t.Errorf("%s: a series has no %s: %v", where, label, v.labels)
		}
		return value
	})
}
