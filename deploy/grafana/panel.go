package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// panel is one picture as the .yaml says it.
type panel struct {
	Title   string
	About   string   // what it shows, and what to do
	Runbook []string // alerts whose paragraph of docs/operating.md tells more
	Kind    string   // stat, graph, area, states, table or bars
	Width   int      // of 24; by its kind if 0
	Unit    string   // Grafana's word for it
	Colors  map[string]float64
	Base    string         // the colour below all of Colors; green if it is empty
	Words   map[int]string // what is shown instead of a number
	Queries []query
}

// query is one, and what its series are called.
type query struct {
	Expr, Legend string
	Exemplars    bool
}

// kinds are the ways to show numbers: Grafana's name for it, how wide and tall it
// is, and its settings.
var kinds = map[string]struct {
	is            string
	width, height int
	now           bool // it shows one moment, not the course of time
	custom        object
	options       object
}{
	"stat": {"stat", 3, 4, true, nil, object{"colorMode": "background", "graphMode": "none", "justifyMode": "center", "orientation": "auto", "textMode": "auto", "wideLayout": true, "reduceOptions": last}},
	"graph": {"timeseries", 8, 8, false, object{"drawStyle": "line", "lineWidth": 2, "fillOpacity": 8, "showPoints": "never", "spanNulls": false},
		lines},
	"area": {"timeseries", 8, 8, false, object{"drawStyle": "line", "lineWidth": 1, "fillOpacity": 60, "showPoints": "never", "spanNulls": false, "stacking": object{"mode": "normal", "group": "A"}},
		lines},
	"states": {"state-timeline", 12, 8, false, object{"lineWidth": 0, "fillOpacity": 80},
		object{"mergeValues": true, "showValue": "auto", "alignValue": "left", "rowHeight": 0.9, "legend": object{"displayMode": "list", "placement": "bottom", "showLegend": false}, "tooltip": object{"mode": "single", "sort": "none"}}},
	"table": {"table", 12, 8, true, object{"align": "auto", "cellOptions": object{"type": "auto"}, "inspect": false},
		object{"cellHeight": "sm", "showHeader": true, "footer": object{"show": false, "reducer": []string{"sum"}, "countRows": false, "fields": ""}}},
	"bars": {"bargauge", 6, 8, true, nil,
		object{"displayMode": "basic", "orientation": "horizontal", "showUnfilled": true, "minVizWidth": 8, "minVizHeight": 10, "valueMode": "color", "namePlacement": "auto", "sizing": "auto", "reduceOptions": last}},
}

var (
	last  = object{"calcs": []string{"lastNotNull"}, "fields": "", "values": false}
	lines = object{"legend": object{"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []string{}}, "tooltip": object{"mode": "multi", "sort": "desc"}}
)

func (p panel) size() (w, h int) {
	k := kinds[p.Kind]
	return cmp.Or(p.Width, k.width), k.height
}

func (p panel) build() (object, error) {
	k, known := kinds[p.Kind]
	switch {
	case !known:
		return nil, fmt.Errorf("there is no kind %q", p.Kind)
	case p.Title == "" || p.About == "" || p.Unit == "" || len(p.Queries) == 0:
		return nil, fmt.Errorf("a panel has a title, about, a unit and queries")
	case p.Width > width:
		return nil, fmt.Errorf("a panel is at most %d wide", width)
	}
	defaults := object{"unit": p.Unit, "min": 0, "decimals": nil, "noValue": "none", "color": object{"mode": p.colorMode()}, "thresholds": object{"mode": "absolute", "steps": p.steps()}, "mappings": p.mappings()}
	if k.custom != nil {
		defaults["custom"] = p.custom(k.custom)
	}
	if p.Unit == "none" {
		defaults["decimals"] = 0 // what is counted is whole, but for what increase() makes of it
	}
	made := object{
		"type": k.is, "title": p.Title, "description": p.description(), "datasource": prometheus, "links": p.links(),
		"targets": p.targets(k.now), "options": k.options, "fieldConfig": object{"defaults": defaults, "overrides": []any{}},
	}
	if p.Kind == "table" {
		made["transformations"] = tidy
	}
	return made, nil
}

// custom draws a line where a graph begins to mean something.
func (p panel) custom(of object) object {
	if p.Kind != "graph" || len(p.Colors) == 0 {
		return of
	}
	with := maps.Clone(of)
	with["thresholdsStyle"] = object{"mode": "dashed"}
	return with
}

// tidy leaves what says something of the columns of a table.
var tidy = []object{{"id": "organize", "options": object{"excludeByName": object{"Time": true, "__name__": true, "job": true}, "indexByName": object{}, "renameByName": object{"Value": "value"}}}}

// description says what to do, and where more is said.
func (p panel) description() string {
	text := strings.TrimSpace(p.About)
	for _, alert := range p.Runbook {
		text += fmt.Sprintf("\n\n[What to do: %s](%s)", alert, paragraph(alert))
	}
	return text
}

func (p panel) links() []object {
	all := []object{}
	for _, alert := range p.Runbook {
		all = append(all, object{"title": "What to do: " + alert, "url": paragraph(alert), "targetBlank": true})
	}
	return all
}

// paragraph is that of the runbook about an alert.
func paragraph(alert string) string {
	return "${docs}/operating.md#" + strings.ToLower(alert)
}

func (p panel) targets(now bool) (all []object) {
	for i, q := range p.Queries {
		t := object{"refId": string(rune('A' + i)), "datasource": prometheus, "editorMode": "code", "expr": strings.TrimSpace(q.Expr), "legendFormat": q.Legend, "range": !now, "instant": now, "exemplar": q.Exemplars}
		if t["format"] = "time_series"; p.Kind == "table" {
			t["format"] = "table"
		}
		all = append(all, t)
	}
	return all
}

// colorMode has lines differ, and what stands alone tell by its colour how it is.
func (p panel) colorMode() string {
	if p.Kind == "graph" || p.Kind == "area" {
		return "palette-classic"
	}
	return "thresholds"
}

func (p panel) steps() []object {
	steps := []object{{"color": cmp.Or(p.Base, "green"), "value": nil}}
	colors := slices.SortedFunc(maps.Keys(p.Colors), func(a, b string) int { return cmp.Compare(p.Colors[a], p.Colors[b]) })
	for _, color := range colors {
		steps = append(steps, object{"color": color, "value": p.Colors[color]})
	}
	return steps
}

func (p panel) mappings() []object {
	if len(p.Words) == 0 {
		return []object{}
	}
	options := object{}
	for i, value := range slices.Sorted(maps.Keys(p.Words)) {
		options[fmt.Sprint(value)] = object{"text": p.Words[value], "index": i}
	}
	return []object{{"type": "value", "options": options}}
}
