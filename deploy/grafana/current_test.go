package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

func TestTheDashboardsAreThoseOfTheirSources(t *testing.T) {
	for _, name := range names {
		source, err := os.ReadFile(name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		want, err := build(name, source)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(name + ".json"); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s.json is out of date (%v); write it anew: go run ./deploy/grafana", name, err)
		}
	}
}

func TestASourceWithAMistakeIsRefused(t *testing.T) {
	for _, tt := range []struct{ name, source, want string }{
		{"a key that is unknown", "titel: Mail", "field titel not found"},
		{"a kind that is unknown", "rows: [{title: Queue, panels: [{title: Age, about: old, unit: s, kind: pie, queries: [{expr: up}]}]}]", `x.yaml: Queue: Age: there is no kind "pie"`},
		{"a panel that says nothing of itself", "rows: [{title: Queue, panels: [{title: Age, unit: s, kind: stat, queries: [{expr: up}]}]}]", "x.yaml: Queue: Age: a panel has a title, about"},
		{"a line that is wider than the page", "rows: [{title: Queue, panels: [{title: Age, about: old, unit: s, kind: stat, width: 30, queries: [{expr: up}]}]}]", "x.yaml: Queue: Age: a panel is at most 24 wide"},
	} {
		if _, err := build("x", []byte(tt.source)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
}
