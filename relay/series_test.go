package relay_test

import (
	"fmt"
	"net/smtp"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// The numbers stay as many as docs/metrics.md says, whatever comes over the
// network.
func TestTheNumberOfSeriesIsBounded(t *testing.T) {
	const listeners, accounts, upstreams, routes = 50, 500, 20, 21 // and the listener of the stage
	numbers, host := freeAddress(t), newSmarthost(t, "127.0.0.1:0")
	r := &running{t: t, listeners: make([]string, listeners-1)}
	for i := range r.listeners {
		r.listeners[i] = fmt.Sprintf(`{name: floor-%d, address: "127.0.0.%d:0", tls: starttls}`, i, i+2)
	}
	var all strings.Builder
	for i := range accounts - 1 {
		fmt.Fprintf(&all, `{name: device-%d, password_hash: "%s", senders: ["@example.com"]}, `, i, paperHash)
	}
	r.accounts = all.String() + fmt.Sprintf(`{name: printer, password_hash: "%s", senders: ["@example.com"]}`, paperHash)
	var ways, leads strings.Builder
	for i := range upstreams {
		fmt.Fprintf(&ways, "  - {name: way-%d, address: %q, tls: none}\n", i, host.address)
		fmt.Fprintf(&leads, "  - {name: to-%d, recipients: [\"@d%d.example.org\"], upstreams: [way-%d]}\n", i, i, i)
	}
	r.start(fmt.Sprintf("upstreams:\n%sroutes:\n%s  - {name: default, upstreams: [way-0, way-1]}\nmetrics: {address: %q}", &ways, &leads, numbers))
	scrape := func() string { return get(t, "http://"+numbers+"/metrics") }

	before := scrape()
	cost := costs(t)
	rules := strings.Count(before, "\npostern_rewrite_changes_total{")
	bound := cost["the relay"] + listeners*cost["each listener"] + 2*cost["each mechanism of AUTH"] + accounts*cost["each account, up to 501"] +
		upstreams*cost["each upstream, which is a route too"] + routes*cost["each route"] + rules*cost["each rule of rewriting, repairing and dressing"] + cost["each certificate and client secret"]
	if n := strings.Count(before, "\npostern_"); n != bound {
		t.Errorf("%d series at the start, want %d of docs/metrics.md", n, bound)
	}
	for i := range 5 {
		stranger := r.greet()
		stranger.Auth(smtp.PlainAuth("", fmt.Sprintf("stranger-%d", i), "wrong", "127.0.0.1"))
		c := r.dial()
		c.Mail(fmt.Sprintf("somebody-%d@elsewhere.example", i))
		if err := r.submitTo(fmt.Sprintf("Subject: %d\nX-Odd: \x1b[31m\n\ntext\n", i), fmt.Sprintf("you@d%d.example.org", i), "you@example.net"); err != nil {
			t.Fatal(err)
		}
		r.log.await(t, `"delivered"`)
	}
	after := scrape()
	if n := strings.Count(after, "\npostern_"); n != bound {
		t.Errorf("%d series after some mail and worse, want %d as before; new are\n%s", n, bound, strings.Join(fresh(before, after), "\n"))
	}
}

// costs is the table of docs/metrics.md.
func costs(t *testing.T) map[string]int {
	t.Helper()
	page, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	table := map[string]int{}
	for _, row := range regexp.MustCompile(`(?m)^\| ([^|]+) \| (\d+) \|$`).FindAllStringSubmatch(string(page), -1) {
		table[row[1]], _ = strconv.Atoi(row[2])
	}
	if len(table) == 0 {
		t.Fatal("docs/metrics.md has no table of series")
	}
	return table
}

// fresh are the series of after that before has not.
func fresh(before, after string) (names []string) {
	for line := range strings.Lines(after) {
		if name := line[:strings.LastIndexByte(line, ' ')+1]; !strings.Contains(before, "\n"+name) {
			names = append(names, name)
		}
	}
	return names
}
