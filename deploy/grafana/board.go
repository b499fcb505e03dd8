package main

import "fmt"

// board is a dashboard as its .yaml says it.
type board struct {
	Title     string
	About     string
	Variables []variable
	Rows      []row
}

// variable is a choice at the top of the dashboard.
type variable struct {
	Name, Label, Query string
	One                bool // one of them is looked at, instead of any number
}

// row is one hop of a message's way, and the question it answers.
type row struct {
	Title  string
	Panels []panel
}

// object is one of JSON.
type object = map[string]any

const (
	schemaVersion = 39 // Grafana 10.3 and later
	width         = 24 // of a dashboard, in Grafana's units
)

var (
	prometheus = object{"type": "prometheus", "uid": "${datasource}"}
	titles     = map[string]string{"overview": "Overview", "upstream": "One upstream", "devices": "Listeners and devices"}
)

func (b board) dashboard(name string) (object, error) {
	panels, err := b.panels()
	if err != nil {
		return nil, err
	}
	return object{
		"uid": "postern-" + name, "id": nil, "title": b.Title, "description": b.About, "tags": []string{"postern"},
		"schemaVersion": schemaVersion, "version": 1, "editable": true, "graphTooltip": 1, // one crosshair for all
		"time": object{"from": "now-6h", "to": "now"}, "timezone": "browser", "refresh": "30s", "timepicker": object{}, "fiscalYearStartMonth": 0, "weekStart": "", "liveNow": false,
		"templating":  object{"list": b.choices()},
		"links":       links(name),
		"annotations": object{"list": []any{}},
		"panels":      panels,
	}, nil
}

// links lead to the other dashboards, which keep the time and the choices.
func links(own string) (all []object) {
	for _, name := range names {
		if name != own {
			all = append(all, object{"type": "link", "title": titles[name], "url": "/d/postern-" + name, "icon": "dashboard", "keepTime": true, "includeVars": true,
				"asDropdown": false, "targetBlank": false, "tags": []string{}, "tooltip": ""})
		}
	}
	return all
}

// choices are the variables of every dashboard, and its own.
func (b board) choices() []object {
	all := []object{{"type": "datasource", "name": "datasource", "label": "Prometheus", "query": "prometheus", "regex": "", "hide": 0, "multi": false, "includeAll": false, "refresh": 1, "options": []any{}, "current": object{}}}
	for _, v := range append([]variable{{Name: "instance", Label: "Relay", Query: "label_values(postern_build_info, instance)"}}, b.Variables...) {
		c := object{"type": "query", "name": v.Name, "label": v.Label, "datasource": prometheus, "definition": v.Query, "query": object{"query": v.Query, "refId": "values"},
			"refresh": 2, "regex": "", "sort": 1, "hide": 0, "multi": !v.One, "includeAll": !v.One, "options": []any{}, "skipUrlSync": false, "current": object{}}
		if !v.One {
			c["allValue"], c["current"] = ".*", object{"text": []string{"All"}, "value": []string{"$__all"}}
		}
		all = append(all, c)
	}
	return append(all, object{"type": "textbox", "name": "docs", "label": "Runbook at", "description": "The address of the folder docs of Postern. Links of panels lead there.",
		"query": defaultDocs, "current": object{"text": defaultDocs, "value": defaultDocs}, "options": []object{{"text": defaultDocs, "value": defaultDocs, "selected": true}}, "hide": 0, "skipUrlSync": false})
}

const defaultDocs = "https://docs.example.com/postern"

// panels places those of each row from left to right below its title, with a new
// line when one is full.
func (b board) panels() (all []object, err error) {
	y := 0
	for _, r := range b.Rows {
		all = append(all, object{"type": "row", "id": len(all) + 1, "title": r.Title, "collapsed": false, "panels": []any{}, "gridPos": object{"x": 0, "y": y, "w": width, "h": 1}})
		y++
		x, tallest := 0, 0
		for _, p := range r.Panels {
			made, err := p.build()
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", r.Title, p.Title, err)
			}
			w, h := p.size()
			if x+w > width {
				x, y, tallest = 0, y+tallest, 0
			}
			made["id"], made["gridPos"] = len(all)+1, object{"x": x, "y": y, "w": w, "h": h}
			x, tallest = x+w, max(tallest, h)
			all = append(all, made)
		}
		y += tallest
	}
	return all, nil
}
