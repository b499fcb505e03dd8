//go:build linux

package main_test

import (
	"os/exec"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

const alertDir = "../../deploy/prometheus"

// alert is one of our rules for Prometheus.
type alert struct {
	Name        string `yaml:"alert"`
	Expr        string
	Annotations map[string]string
}

func readAlerts(t *testing.T) []alert {
	t.Helper()
	var file struct{ Groups []struct{ Rules []alert } }
	if err := yaml.Unmarshal(readFile(t, alertDir+"/postern.rules.yaml"), &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Groups) != 1 || len(file.Groups[0].Rules) == 0 {
		t.Fatal("there are no alerts")
	}
	return file.Groups[0].Rules
}

func TestEveryAlertFiresAndClearsAndSaysWhatToDo(t *testing.T) {
	needs(t, "promtool")
	mustRun(t, exec.Command("promtool", "check", "rules", alertDir+"/postern.rules.yaml"))
	var shown strings.Builder
	for _, file := range []string{"postern.rules.test.yaml", "postern.rules.days.test.yaml"} {
		cmd := exec.Command("promtool", "test", "rules", file)
		cmd.Dir = alertDir
		mustRun(t, cmd)
		shown.Write(readFile(t, alertDir+"/"+file))
	}
	pages := string(readFile(t, "../../docs/operating.md"))
	for _, a := range readAlerts(t) {
		if a.Annotations["runbook"] != "docs/operating.md#"+strings.ToLower(a.Name) || !strings.Contains(pages, "\n### "+a.Name+"\n") {
			t.Errorf("%s has no paragraph in docs/operating.md, or does not lead to it", a.Name)
		}
		if a.Annotations["summary"] == "" || a.Annotations["action"] == "" {
			t.Errorf("%s does not say what is wrong and what to do", a.Name)
		}
		if n := strings.Count(shown.String(), "alertname: "+a.Name); n < 2 {
			t.Errorf("no test has %s fire and clear", a.Name)
		}
	}
}
