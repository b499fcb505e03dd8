//go:build linux

package main_test

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// prometheus is a running one that scrapes a relay, with our alerts.
type prometheus struct {
	t       testing.TB
	address string
}

// startPrometheus runs one until the test ends. When it returns the relay has been
// scraped once.
func startPrometheus(t testing.TB, r *relay) *prometheus {
	t.Helper()
	needs(t, "prometheus")
	p := &prometheus{t, freeAddress(t)}
	rules, err := filepath.Abs(alertDir + "/postern.rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir, log := workDir(t), new(logbook)
	config := filepath.Join(dir, "prometheus.yaml")
	writeFile(t, config, fmt.Sprintf(`
global: {scrape_interval: 500ms, evaluation_interval: 500ms}
rule_files: [%q]
scrape_configs: [{job_name: postern, static_configs: [{targets: [%q]}]}]
`, rules, r.address.metrics))
	cmd := exec.Command("prometheus", "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+p.address, "--enable-feature=exemplar-storage")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() // what it keeps is thrown away
		cmd.Wait()
		if t.Failed() {
			t.Logf("the end of what Prometheus said:\n%s", log.tail(20))
		}
	})
	await(t, "Prometheus to listen", func() bool { return listening(p.address) })
	await(t, "Prometheus to scrape the relay", func() bool { return len(p.scrapes()) > 0 })
	return p
}

// vector is a series of an answer: its labels, and its values with their times. A
// value that is not a number is left out.
type vector struct {
	labels map[string]string
	points []point
}

type point struct{ at, value float64 }

// ask makes a request to the API. ok is false as long as Prometheus is not ready.
func (p *prometheus) ask(path string, query url.Values, data any) (ok bool) {
	p.t.Helper()
	resp, err := http.Get("http://" + p.address + "/api/v1/" + path + "?" + query.Encode())
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusServiceUnavailable {
		return false
	}
	answer := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Status != "success" {
		p.t.Fatalf("%s %s: %s, %v: %s", path, query, resp.Status, err, answer.Error)
	}
	return true
}

// query is ask for series: of one moment (path query), or of a time (query_range).
func (p *prometheus) query(path string, query url.Values) (all []vector) {
	p.t.Helper()
	var data struct {
		Result []struct {
			Metric map[string]string
			Value  [2]any
			Values [][2]any
		}
	}
	p.ask(path, query, &data)
	for _, series := range data.Result {
		v := vector{labels: series.Metric}
		if len(series.Values) == 0 {
			series.Values = [][2]any{series.Value}
		}
		for _, one := range series.Values {
			at, _ := one[0].(float64)
			text, _ := one[1].(string)
			if value, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(value) {
				v.points = append(v.points, point{at, value})
			}
		}
		if len(v.points) > 0 {
			all = append(all, v)
		}
	}
	return all
}

// at asks for the values of one moment.
func (p *prometheus) at(expr string, moment float64) []vector {
	p.t.Helper()
	return p.query("query", url.Values{"query": {expr}, "time": {unix(moment)}})
}

// during asks for the values of each second from one moment to another.
func (p *prometheus) during(expr string, from, to float64) []vector {
	p.t.Helper()
	return p.query("query_range", url.Values{"query": {expr}, "start": {unix(from)}, "end": {unix(to)}, "step": {"1"}})
}

func unix(seconds float64) string { return strconv.FormatFloat(seconds, 'f', 3, 64) }

// scrapes are the times at which the relay answered.
func (p *prometheus) scrapes() (times []float64) {
	p.t.Helper()
	for _, v := range p.query("query", url.Values{"query": {"postern_build_info[1h]"}}) {
		for _, one := range v.points {
			times = append(times, one.at)
		}
	}
	return times
}

// awaitScrapes waits until the relay has been scraped so many more times.
func (p *prometheus) awaitScrapes(more int) {
	p.t.Helper()
	seen := float64(time.Now().UnixMilli()) / 1000
	await(p.t, "Prometheus to scrape the relay", func() bool {
		fresh := 0
		for _, at := range p.scrapes() {
			if at > seen {
				fresh++
			}
		}
		return fresh >= more
	})
}

// exemplars are the message ids that come with a histogram.
func (p *prometheus) exemplars(metric string, from, to float64) (ids []string) {
	p.t.Helper()
	var data []struct {
		Exemplars []struct{ Labels map[string]string }
	}
	p.ask("query_exemplars", url.Values{"query": {metric}, "start": {unix(from)}, "end": {unix(to)}}, &data)
	for _, series := range data {
		for _, e := range series.Exemplars {
			ids = append(ids, e.Labels["id"])
		}
	}
	return ids
}
