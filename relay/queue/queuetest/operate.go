package queuetest

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"postern/relay/message"
	"postern/relay/queue"
	"postern/relay/setting"
)

func testWait(t *testing.T, open Open) {
	s := open(t, Config())
	done := make(chan error, 1)
	go func() { done <- s.Wait(t.Context(), lane) }()
	put(t, s, NewMessage("printer", 10, "a@example.com"))
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	claimOne(t, s, lane)
}

func testWaitCancelled(t *testing.T, open Open) {
	s := open(t, Config())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Wait(ctx, lane) }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
}

func testReroute(t *testing.T, open Open) {
	s := open(t, soon())
	waiting := put(t, s, NewMessage("printer", 10, "a@example.com"))
	put(t, s, NewMessage("lost", 10, "a@example.com"))
	pinned := NewMessage("printer", 10, "b@example.com")
	c, err := Put(t.Context(), s, pinned, lane, upstream)
	if err != nil {
		t.Fatal(err)
	}
	settle(t, s, c, uncertain)
	err = s.Reroute(t.Context(), func(w queue.Waiting) []string {
		if w.Account == "printer" && w.From == waiting.From {
			return to("new", w)
		}
		return make([]string, len(w.To))
	})
	if err != nil {
		t.Fatal(err)
	}
	if c := claimOne(t, s, "new"); c.Message.ID != waiting.ID {
		t.Errorf("rerouted %s", c.Message.ID)
	}
	if c := claimOne(t, s, lane); c.Message.Client.Account != "lost" {
		t.Errorf("left %s", c.Message.Client.Account)
	}
	wait(t, s, message.PinnedLane(upstream))
	claimOne(t, s, message.PinnedLane(upstream))
}

func testRerouteSending(t *testing.T, open Open) {
	s := open(t, soon())
	put(t, s, NewMessage("printer", 10, "a@example.com"))
	c := claimOne(t, s, lane)
	if err := s.Reroute(t.Context(), func(w queue.Waiting) []string { return to("new", w) }); err != nil {
		t.Fatal(err)
	}
	if got := settle(t, s, c, deferred)[0]; got.Lane != "new" {
		t.Errorf("settled %+v", got)
	}
	wait(t, s, "new")
	claimOne(t, s, "new")
}

func testWaitingLanes(t *testing.T, open Open) {
	s := open(t, Config())
	for _, lane := range []string{lane, "gone", "gone", message.PinnedLane("gone")} {
		if _, err := Put(t.Context(), s, NewMessage("printer", 10, "a@example.com"), lane, ""); err != nil {
			t.Fatal(err)
		}
	}
	settle(t, s, claimOne(t, s, lane), deferred)
	claim(t, s, "gone", 1) // what is being sent does not wait
	got, err := s.Lanes(t.Context())
	if want := map[string]int{lane: 1, "gone": 1, message.PinnedLane("gone"): 1}; err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
}

// to is one lane for all.
func to(lane string, w queue.Waiting) []string { return slices.Repeat([]string{lane}, len(w.To)) }

// testRerouteEach also holds what a Router is told.
func testRerouteEach(t *testing.T, open Open) {
	s := open(t, Config())
	m := put(t, s, NewMessage("printer", 1000, "a@example.com", "b@example.net", "c@example.com"))
	settle(t, s, claimOne(t, s, lane), deferred, deferred, uncertain)
	var told []queue.Waiting
	err := s.Reroute(t.Context(), func(w queue.Waiting) []string {
		told = append(told, w)
		return []string{"net", ""}
	})
	if err != nil || len(told) != 1 {
		t.Fatalf("%d messages, %v", len(told), err)
	}
	w := told[0]
	if w.Account != "printer" || w.Listener != "submission" || w.From != m.From || w.Size != m.Size() || len(w.To) != 2 || w.To[1] != m.To[1].Address {
		t.Errorf("told %+v", w)
	}
	read, err := w.Read()
	if err != nil || !bytes.Equal(read.Header.Bytes(), m.Header.Bytes()) || len(read.To) != 2 || read.Client.Listener != "submission" {
		t.Errorf("read %+v, %v", read, err)
	}
	var lanes []string
	for _, d := range show(t, s, m.ID).Deliveries {
		lanes = append(lanes, d.Lane)
	}
	if want := []string{"net", lane, message.PinnedLane(upstream)}; !slices.Equal(lanes, want) {
		t.Errorf("lanes %q, want %q", lanes, want)
	}
}

func testRetention(t *testing.T, open Open) {
	cfg := Config()
	s := open(t, cfg)
	ended := put(t, s, NewMessage("printer", 10, "a@example.com"))
	settle(t, s, claimOne(t, s, lane), delivered)
	waiting := put(t, s, NewMessage("printer", 10, "a@example.com"))
	sweep(t, s)
	show(t, s, ended.ID) // its time is not over
	cfg.Retention = -setting.Duration(time.Hour)
	s.Configure(cfg)
	sweep(t, s)
	if _, err := s.Show(t.Context(), ended.ID); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("the ended message: %v", err)
	}
	show(t, s, waiting.ID)
}

func testHistoryMax(t *testing.T, open Open) {
	cfg := Config()
	s := open(t, cfg)
	var ids []string
	for range 300 { // more than are forgotten at once
		m := NewMessage("printer", 10, "a@example.com")
		c, err := Put(t.Context(), s, m, lane, upstream)
		if err != nil {
			t.Fatal(err)
		}
		settle(t, s, c, delivered)
		ids = append(ids, m.ID)
	}
	cfg.HistoryMax = 60_000 // some 30 of them, fewer than are forgotten at once
	s.Configure(cfg)
	sweep(t, s)
	if _, err := s.Show(t.Context(), ids[0]); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("the first: %v", err)
	}
	list, err := s.List(t.Context(), queue.Filter{States: []queue.State{queue.Delivered}, Limit: 1000})
	if err != nil || len(list) > 100 {
		t.Errorf("%d are left, %v", len(list), err)
	}
}

func testList(t *testing.T, open Open) {
	s := open(t, Config())
	one := put(t, s, NewMessage("printer", 10, "a@example.com", "b@example.com"))
	settle(t, s, claimOne(t, s, lane), deferred, deferred)
	two := NewMessage("erp", 10, "c@example.com")
	two.From = message.Address{}
	if _, err := Put(t.Context(), s, two, "second", ""); err != nil {
		t.Fatal(err)
	}
	ended := put(t, s, NewMessage("printer", 10, "c@example.com"))
	settle(t, s, claimOne(t, s, lane), delivered)
	for _, test := range []struct {
		name   string
		filter queue.Filter
		want   []string
	}{
		{"all that waits", queue.Filter{}, []string{one.ID, two.ID}},
		{"one state", queue.Filter{States: []queue.State{queue.Deferred}}, []string{one.ID}},
		{"an end state", queue.Filter{States: []queue.State{queue.Delivered, queue.Failed}}, []string{ended.ID}},
		{"an account", queue.Filter{Account: "ERP"}, []string{two.ID}},
		{"a sender", queue.Filter{Sender: "SCAN@example.com"}, []string{one.ID}},
		{"a recipient", queue.Filter{Recipient: "B@example.com"}, []string{one.ID}},
		{"a lane", queue.Filter{Lane: "second"}, []string{two.ID}},
		{"nothing", queue.Filter{Account: "nobody"}, nil},
	} {
		list, err := s.List(t.Context(), test.filter)
		if err != nil {
			t.Fatal(err)
		}
		if got := ids(list); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
	list, _ := s.List(t.Context(), queue.Filter{Recipient: "a@example.com"})
	if e := list[0]; e.From != one.From || !reflect.DeepEqual(e.Client, one.Client) || e.Size != one.Size() || !slices.EqualFunc(e.To, one.To, sameRecipient) ||
		len(e.Deliveries) != 2 || e.Deliveries[1].Reply != deferred.Reply || e.Deliveries[1].Attempts != 1 || e.Deliveries[1].NextAt.IsZero() {
		t.Errorf("entry %+v", e)
	}
}

func ids(list []queue.Entry) []string {
	var ids []string
	for _, e := range list {
		ids = append(ids, e.ID)
	}
	return ids
}

func testPages(t *testing.T, open Open) {
	s := open(t, Config())
	var want, got []string
	for range 7 {
		want = append(want, put(t, s, NewMessage("printer", 10, "a@example.com")).ID)
	}
	slices.Sort(want)
	for after := ""; ; {
		page, err := s.List(t.Context(), queue.Filter{After: after, Limit: 3})
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		got = append(got, ids(page)...)
		after = page[len(page)-1].ID
	}
	if !slices.Equal(got, want) {
		t.Errorf("pages hold %v, want %v", got, want)
	}
}

func testNotFound(t *testing.T, open Open) {
	s := open(t, Config())
	if _, err := s.Show(t.Context(), "nothing"); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("error %v", err)
	}
}

func testNumbers(t *testing.T, open Open) {
	s := open(t, Config())
	if n, err := s.Numbers(t.Context()); err != nil || n.OldestSeconds != 0 || n.Bytes != 0 || n.FreeBytes <= 0 {
		t.Fatalf("empty: %+v, %v", n, err)
	}
	m := NewMessage("printer", 1000, "a@example.com", "b@example.com", "c@example.com")
	m.Received = time.Now().Add(-time.Hour)
	put(t, s, m)
	settle(t, s, claimOne(t, s, lane), delivered, deferred, uncertain)
	second := put(t, s, NewMessage("printer", 1000, "a@example.com"))
	if _, err := Put(t.Context(), s, NewMessage("printer", 0, "a@example.com"), "second", upstream); err != nil {
		t.Fatal(err)
	}
	n, err := s.Numbers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, state := range []queue.State{queue.Queued, queue.Sending, queue.Deferred, queue.Uncertain} {
		if n.Deliveries[string(state)] != 1 {
			t.Errorf("%s: %d, want 1", state, n.Deliveries[string(state)])
		}
	}
	if n.OldestSeconds < 3599 || n.Bytes < m.Size()+second.Size() {
		t.Errorf("numbers %+v", n)
	}
}

func testAccepted(t *testing.T, open Open) {
	s := open(t, Config())
	put(t, s, NewMessage("first", 10, "a@example.com"))
	settle(t, s, claimOne(t, s, lane), delivered) // what became of it makes no difference
	put(t, s, NewMessage("printer", 10, "a@example.com", "b@example.com"))
	many := NewMessage("office", 10, "c@example.com")
	many.Client.User = "jane"
	put(t, s, many)

	type told struct {
		account, user string
		recipients    int
	}
	var times []time.Time
	accepted := func(since time.Time) (all []told) {
		times = nil
		err := s.Accepted(t.Context(), since, func(account, user string, at time.Time, recipients int) {
			all, times = append(all, told{account, user, recipients}), append(times, at)
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	want := []told{{"office", "jane", 1}, {"printer", "", 2}, {"first", "", 1}}
	if got := accepted(time.Time{}); !slices.Equal(got, want) {
		t.Errorf("all: %v, want %v", got, want)
	}
	for _, at := range slices.Clone(times) {
		got := accepted(at)
		if len(got) == 0 || slices.ContainsFunc(times, at.After) {
			t.Errorf("since %v: %v at %v", at, got, times)
		}
	}
	if got := accepted(time.Now().Add(time.Second)); got != nil {
		t.Errorf("since what is to come: %v", got)
	}
}
