//go:build linux

package main_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// exported is what a page of metrics has: of each name its labels, and their values.
type exported map[string]map[string][]string

var (
	sampleLine = regexp.MustCompile(`(?m)^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? \S+$`)
	labelPair  = regexp.MustCompile(`(\w+)="((?:[^"\\]|\\.)*)"`)
)

// readPage reads one in Prometheus's text format, and adds what Prometheus itself
// says of targets and alerts.
func readPage(page string) exported {
	all := exported{"up": {}, "ALERTS": {"alertname": nil, "alertstate": {"pending", "firing"}, "severity": nil}}
	for _, sample := range sampleLine.FindAllStringSubmatch(page, -1) {
		labels := all[sample[1]]
		if labels == nil {
			labels = map[string][]string{}
			all[sample[1]] = labels
		}
		for _, pair := range labelPair.FindAllStringSubmatch(sample[2], -1) {
			labels[pair[1]] = append(labels[pair[1]], pair[2])
		}
	}
	for _, labels := range all {
		labels["instance"], labels["job"] = nil, nil
	}
	return all
}

// asking reads a query of Prometheus, and finds in it what nobody exports: a metric,
// a label, or a value of a label. Whether Prometheus understands it, is for
// Prometheus to say.
type asking struct {
	exported
	tokens []string
	wrong  []string
}

var promqlToken = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|[0-9][\w.]*|[$a-zA-Z_:][\w:]*|=~|!~|!=|==|>=|<=|\S`)

var (
	aggregations = strings.Fields("sum min max avg count group stddev stdvar quantile count_values")
	operators    = strings.Fields("and or unless bool offset Inf NaN")
)

// unknown lists what expr asks for in vain.
func (e exported) unknown(expr string) []string {
	a := &asking{exported: e, tokens: promqlToken.FindAllString(expr, -1)}
	a.sequence()
	if len(a.tokens) > 0 {
		a.complain("%q is left over", a.tokens[0])
	}
	return a.wrong
}

func (a *asking) complain(format string, args ...any) {
	a.wrong = append(a.wrong, fmt.Sprintf(format, args...))
}

func (a *asking) peek() string {
	if len(a.tokens) == 0 {
		return ""
	}
	return a.tokens[0]
}

func (a *asking) next() string {
	token := a.peek()
	if token != "" {
		a.tokens = a.tokens[1:]
	}
	return token
}

// sequence reads operands up to a closing bracket, and returns the labels of the
// first that has any. Those that operands are matched by, each must have.
func (a *asking) sequence() []string {
	var operands [][]string
	var matched []string
	for t := a.peek(); t != "" && t != ")" && t != "]"; t = a.peek() {
		a.next()
		switch {
		case t == "(":
			operands = append(operands, a.sequence())
			a.next()
		case t == "[": // how far back, or a subquery
			a.sequence()
			a.next()
		case t == "on" || t == "ignoring" || t == "group_left" || t == "group_right":
			if labels := a.list(); t == "on" {
				matched = append(matched, labels...)
			}
		case slices.Contains(operators, t) || !isName(t):
		case a.peek() == "(" || a.peek() == "by" || a.peek() == "without":
			operands = append(operands, a.call(t))
		default:
			operands = append(operands, a.selector(t))
		}
	}
	var first []string
	for _, labels := range operands {
		if labels == nil {
			continue
		}
		for _, label := range matched {
			a.must(labels, label)
		}
		if first == nil {
			first = labels
		}
	}
	return first
}

func isName(token string) bool {
	return token[0] == '_' || token[0] == ':' || token[0]|0x20 >= 'a' && token[0]|0x20 <= 'z'
}

func (a *asking) must(labels []string, label string) {
	if !slices.Contains(labels, label) {
		a.complain("there is no label %s among %v", label, labels)
	}
}

// list reads names in brackets, if there are any.
func (a *asking) list() (names []string) {
	if a.peek() != "(" {
		return nil
	}
	for a.next(); a.peek() != ")" && a.peek() != ""; {
		if name := a.next(); name != "," {
			names = append(names, name)
		}
	}
	a.next()
	return names
}

// call reads what follows the name of a function or an aggregation, and returns
// which labels are left.
func (a *asking) call(name string) []string {
	how, grouped := a.grouping()
	a.next() // (
	labels := a.sequence()
	a.next() // )
	if how == "" {
		how, grouped = a.grouping()
	}
	for _, label := range grouped {
		a.must(labels, label)
	}
	switch {
	case name == "time":
		return nil
	case name == "histogram_quantile":
		a.must(labels, "le")
		return slices.DeleteFunc(slices.Clone(labels), func(l string) bool { return l == "le" })
	case how == "by":
		return append([]string{}, grouped...)
	case how == "without":
		return slices.DeleteFunc(slices.Clone(labels), func(l string) bool { return slices.Contains(grouped, l) })
	case slices.Contains(aggregations, name):
		return []string{}
	}
	return labels
}

func (a *asking) grouping() (how string, labels []string) {
	if how = a.peek(); how != "by" && how != "without" {
		return "", nil
	}
	a.next()
	return how, a.list()
}

// selector reads what follows the name of a metric, and returns its labels.
func (a *asking) selector(metric string) []string {
	labels, known := a.exported[metric]
	if !known {
		a.complain("nobody exports %s", metric)
	}
	names := []string{}
	for name := range labels {
		names = append(names, name)
	}
	slices.Sort(names)
	if a.peek() != "{" {
		return names
	}
	for a.next(); a.peek() != "}" && a.peek() != ""; {
		label := a.next()
		if label == "," {
			continue
		}
		a.next() // = != =~ !~
		value := strings.Trim(a.next(), `"`)
		if a.must(names, label); len(labels[label]) > 0 {
			a.mustTake(metric, label, labels[label], value)
		}
	}
	a.next()
	return names
}

// mustTake looks at the value a label is compared with, unless it is the choice of
// a person.
func (a *asking) mustTake(metric, label string, values []string, asked string) {
	if strings.Contains(asked, "$") {
		return
	}
	for one := range strings.SplitSeq(asked, "|") {
		if !slices.Contains(values, one) {
			a.complain("%s of %s is never %q", label, metric, one)
		}
	}
}

func TestQueriesForWhatNobodyExportsAreFound(t *testing.T) {
	page := readPage(`# HELP postern_a_total Things.
postern_a_total{result="ok",upstream="x"} 1
postern_a_total{result="failed",upstream="x"} 0
postern_h_seconds_bucket{phase="data",le="+Inf"} 1
postern_ready 1
`)
	for _, tt := range []struct{ name, expr, want string }{
		{"a metric with labels", `60 * sum by (upstream) (rate(postern_a_total{instance=~"$instance", result!="ok"}[$__rate_interval])) > 0.5`, ""},
		{"one without labels", `up{job="postern"} == 0 and postern_ready == 1`, ""},
		{"the grouping at the end", `sum(postern_a_total) by (result)`, ""},
		{"a quantile", `histogram_quantile(0.5, sum by (le, phase) (rate(postern_h_seconds_bucket[5m])))`, ""},
		{"several values", `postern_a_total{result=~"ok|failed"} - on (instance, upstream) 2 * postern_a_total`, ""},
		{"the clock", `time() - postern_ready > 86400 unless on (instance) postern_a_total offset 7d`, ""},
		{"another metric", `rate(postern_b_total[5m])`, "nobody exports postern_b_total"},
		{"a histogram by its bare name", `postern_h_seconds`, "nobody exports postern_h_seconds"},
		{"another label", `postern_a_total{outcome="ok"}`, "there is no label outcome among"},
		{"a value that is misspelt", `postern_a_total{result=~"ok|faild"}`, `result of postern_a_total is never "faild"`},
		{"a group by another label", `sum by (route) (postern_a_total)`, "there is no label route among"},
		{"the same at the end", `sum(postern_a_total) by (route)`, "there is no label route among"},
		{"a label that the sum has dropped", `max by (result) (sum by (upstream) (postern_a_total))`, "there is no label result among [upstream]"},
		{"a match by what one side lacks", `postern_a_total > on (upstream) postern_ready`, "there is no label upstream among"},
		{"a quantile whose buckets were summed up", `histogram_quantile(0.5, sum by (phase) (rate(postern_h_seconds_bucket[5m])))`, "there is no label le among"},
		{"a bracket too many", `sum(postern_ready))`, `")" is left over`},
	} {
		got := strings.Join(page.unknown(tt.expr), "; ")
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %s: found %q, want %q", tt.name, tt.expr, got, tt.want)
		}
	}
}
