package queue_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"postern/relay/message"
	"postern/relay/queue"
	"postern/relay/queue/queuetest"
	"postern/relay/setting"
)

// codes are mail that is worthless after ten minutes, patient what is tried for
// longer than the rest.
func ofRoutes() queue.Config {
	cfg := queuetest.Config()
	minutes := func(n int) setting.Duration { return setting.Duration(n) * setting.Duration(time.Minute) }
	cfg.Routes = map[string]queue.Route{
		"codes":        {Retry: []setting.Duration{minutes(2)}, Expire: minutes(10)},
		"upstream:own": {Expire: minutes(10)},
		"patient":      {Expire: minutes(60 * 24 * 9)},
	}
	return cfg
}

func TestWhatCountsInALane(t *testing.T) {
	cfg := ofRoutes()
	for lane, want := range map[string]string{
		"office":            "1m 4d",
		"codes":             "2m 10m",
		"codes/ses,backup":  "2m 10m",
		"codes/ses+":        "2m 10m",
		"codes2":            "1m 4d",
		"patient":           "1m 9d",
		"upstream:own":      "1m 10m",
		"upstream:everyone": "1m 4d",
	} {
		r := cfg.Of(lane)
		if got := fmt.Sprint(r.Retry[0], " ", r.Expire); got != want {
			t.Errorf("%s: %s, want %s", lane, got, want)
		}
	}
	if got := fmt.Sprint(cfg.Shortest(), " ", cfg.Longest()); got != "10m 9d" {
		t.Errorf("from shortest to longest %s", got)
	}
}

// What is given up is given up by the lane it waits in, each recipient for
// itself, and however much else is older.
func TestARouteHasItsOwnExpiry(t *testing.T) {
	s := openIn(t, t.TempDir(), ofRoutes())
	put := func(age time.Duration, lanes ...string) string {
		var to []string
		var ways []queue.Way
		for i, lane := range lanes {
			to, ways = append(to, fmt.Sprintf("r%d@example.com", i)), append(ways, queue.Way{Lane: lane})
		}
		m := queuetest.NewMessage("printer", 10, to...)
		m.Received = time.Now().Add(-age)
		if _, err := s.Put(t.Context(), m, ways); err != nil {
			t.Fatal(err)
		}
		return m.ID
	}
	const day = 24 * time.Hour
	want := map[string]string{
		put(time.Hour, "office", "codes", "codes/ses+", "upstream:own"): "codes codes/ses+ upstream:own",
		put(9*time.Minute, "codes", "upstream:own"):                     "",
		put(time.Hour, "codes2", "upstream:everyone"):                   "",
		put(5*day, "patient", "office", "patient/ses"):                  "office",
		put(10*day, "patient", "codes2"):                                "patient codes2",
	}
	settled, err := s.Sweep(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for id := range want {
		got[id] = ""
	}
	for _, d := range settled {
		got[d.ID] = strings.TrimSpace(got[d.ID] + " " + d.Lane)
		if told := "not delivered within " + ofRoutes().Of(d.Lane).Expire.String(); !strings.HasPrefix(d.Reply.Text, told) {
			t.Errorf("%s: %s; want %s", d.Lane, d.Reply.Text, told)
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("given up %v, want %v", got, want)
	}
	if again, err := s.Sweep(t.Context(), nil); err != nil || len(again) != 0 {
		t.Errorf("again %v, %v", again, err)
	}
}

// More than one step of a sweep takes.
func TestARouteExpiresInSteps(t *testing.T) {
	t.Parallel()
	s := openIn(t, t.TempDir(), ofRoutes())
	const many = 450
	if err := queuetest.Fill(t.Context(), s, "printer", many); err != nil {
		t.Fatal(err)
	}
	for _, change := range []string{`UPDATE deliveries SET lane = 'codes'`, `UPDATE messages SET received = received - 3600000`} {
		if err := s.Exec(change); err != nil {
			t.Fatal(err)
		}
	}
	if settled, err := s.Sweep(t.Context(), nil); err != nil || len(settled) != many {
		t.Errorf("%d given up, %v", len(settled), err)
	}
}

func TestARouteHasItsOwnWaits(t *testing.T) {
	for lane, want := range map[string]time.Duration{"office": time.Minute, "codes": 2 * time.Minute, "codes/ses+": 2 * time.Minute, "patient": time.Minute} {
		s := openIn(t, t.TempDir(), ofRoutes())
		c, err := queuetest.Put(t.Context(), s, queuetest.NewMessage("printer", 10, "a@example.com"), lane, "ses")
		if err != nil {
			t.Fatal(err)
		}
		before := time.Now()
		d := settleAs(t, s, c, message.Uncertain)
		if in := d.NextAt.Sub(before); d.State != queue.Uncertain || in < want*9/10 || d.NextAt.After(time.Now().Add(want*11/10)) {
			t.Errorf("%s: %s again in %s, want about %s", lane, d.State, in, want)
		}
	}
}

// A reload that takes the schedule of a route away has what waits by it follow.
func TestAReloadChangesTheScheduleOfARoute(t *testing.T) {
	s := openIn(t, t.TempDir(), ofRoutes())
	m := queuetest.NewMessage("printer", 10, "a@example.com")
	m.Received = time.Now().Add(-time.Hour)
	if _, err := queuetest.Put(t.Context(), s, m, "codes", ""); err != nil {
		t.Fatal(err)
	}
	s.Configure(queuetest.Config())
	if settled, err := s.Sweep(t.Context(), nil); err != nil || len(settled) != 0 {
		t.Errorf("given up %v, %v", settled, err)
	}
	s.Configure(ofRoutes())
	if settled, err := s.Sweep(t.Context(), nil); err != nil || len(settled) != 1 {
		t.Errorf("given up %v, %v", settled, err)
	}
}

// What may wait for longer, however much of it there is, does not hide what is over.
func TestPatientMailHidesNothing(t *testing.T) {
	s := openIn(t, t.TempDir(), ofRoutes())
	if err := queuetest.Fill(t.Context(), s, "printer", 250); err != nil {
		t.Fatal(err)
	}
	if err := s.Exec(`UPDATE deliveries SET lane = 'patient'`); err != nil {
		t.Fatal(err)
	}
	m := queuetest.NewMessage("printer", 10, "a@example.com")
	if _, err := queuetest.Put(t.Context(), s, m, "office", ""); err != nil {
		t.Fatal(err)
	}
	if err := s.Exec(`UPDATE messages SET received = received - 5 * 86400000`); err != nil {
		t.Fatal(err)
	}
	if settled, err := s.Sweep(t.Context(), nil); err != nil || len(settled) != 1 || settled[0].ID != m.ID {
		t.Errorf("%d given up, %v", len(settled), err)
	}
}
