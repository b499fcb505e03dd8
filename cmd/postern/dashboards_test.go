//go:build linux

package main_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const dashboardDir = "../../deploy/grafana"

// dashboard is what a test has to know of one for Grafana.
type dashboard struct {
	UID        string
	Panels     []dashboardPanel
	Templating struct {
		List []struct{ Name, Type, Definition string }
	}
}

type dashboardPanel struct {
	Type, Title, Description string
	Targets                  []struct {
		Expr, LegendFormat string
		Instant            bool
	}
}

func readDashboards(t *testing.T) (all []dashboard) {
	t.Helper()
	files, _ := filepath.Glob(dashboardDir + "/*.json")
	for _, file := range files {
		var d dashboard
		if err := json.Unmarshal(readFile(t, file), &d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, d)
	}
	if len(all) != 3 {
		t.Fatalf("there are %d dashboards, want 3", len(all))
	}
	return all
}

// chosen puts values in the place of Grafana's variables: all relays, listeners and
// accounts, one upstream, and a time.
func chosen(expr string, span time.Duration) string {
	return strings.NewReplacer("$instance", ".*", "$listener", ".*", "$account", ".*", "$upstream", "m365",
		"$__range", fmt.Sprintf("%dms", span.Milliseconds()), "$__rate_interval", "30s").Replace(expr)
}

var (
	legendLabel = regexp.MustCompile(`\{\{(\w+)\}\}`)
	runbookLink = regexp.MustCompile(`\$\{docs\}/operating\.md#(\w+)`)
)

// mustAskForWhatIsExported holds each query of the dashboards and of the
// alerts against the page of a running relay that has one of everything.
func mustAskForWhatIsExported(t *testing.T, page string) {
	exported := readPage(page)
	asked := 0
	look := func(where, expr string) {
		asked++
		for _, what := range exported.unknown(expr) {
			t.Errorf("%s: %s\n%s", where, what, expr)
		}
	}
	for _, a := range readAlerts(t) {
		look(a.Name, a.Expr)
	}
	for _, d := range readDashboards(t) {
		for _, v := range d.Templating.List {
			if v.Type == "query" {
				metric, label, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(v.Definition, "label_values("), ")"), ", ")
				look(d.UID+", "+v.Name, "sum by ("+label+") ("+metric+")")
			}
		}
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				look(d.UID+", "+p.Title, target.Expr)
			}
		}
	}
	if asked < 100 {
		t.Errorf("only %d queries were found", asked)
	}
}

func TestEveryPanelSaysWhatToDo(t *testing.T) {
	pages := strings.ToLower(string(readFile(t, "../../docs/operating.md")))
	for _, d := range readDashboards(t) {
		titles := map[string]bool{}
		for _, p := range d.Panels {
			if p.Type == "row" {
				continue
			}
			if titles[p.Title] || len(p.Targets) == 0 || len(p.Description) < 30 {
				t.Errorf("%s, %s: the title is there twice, or it has no query, or does not say what it shows", d.UID, p.Title)
			}
			titles[p.Title] = true
			for _, link := range runbookLink.FindAllStringSubmatch(p.Description, -1) {
				if !strings.Contains(pages, "\n### "+link[1]+"\n") {
					t.Errorf("%s, %s: there is no paragraph %s in docs/operating.md", d.UID, p.Title, link[1])
				}
			}
		}
	}
}
