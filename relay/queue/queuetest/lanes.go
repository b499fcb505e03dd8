package queuetest

import (
	"slices"
	"testing"
	"time"

	"postern/relay/message"
	"postern/relay/queue"
	"postern/relay/setting"
)

// other is the lane of a second upstream.
const other = "office/backup"

func testLanePerRecipient(t *testing.T, open Open) {
	s := open(t, Config())
	m := NewMessage("printer", 100_000, "a@example.com", "b@example.net", "c@example.com")
	if _, err := s.Put(t.Context(), m, []queue.Way{{Lane: lane}, {Lane: other}, {Lane: lane}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), NewMessage("printer", 10, "a@example.com", "b@example.com"), []queue.Way{{Lane: lane}}); err == nil {
		t.Error("one way was enough for two recipients")
	}
	if n, err := s.Numbers(t.Context()); err != nil || n.Waiting[lane] != 2 || n.Waiting[other] != 1 {
		t.Errorf("waiting are %v, %v", n.Waiting, err)
	}
	first, second := claimOne(t, s, lane), claimOne(t, s, other)
	if n, err := s.Numbers(t.Context()); err != nil || len(n.Waiting) != 0 || n.Deliveries["sending"] != 3 {
		t.Errorf("while all are sent, %v wait and %v are there, %v", n.Waiting, n.Deliveries, err)
	}
	if got := addresses(first.Message); !slices.Equal(got, []string{"a@example.com", "c@example.com"}) {
		t.Errorf("claimed %q", got)
	}
	if got := addresses(second.Message); !slices.Equal(got, []string{"b@example.net"}) {
		t.Errorf("claimed %q", got)
	}
	settle(t, s, first, delivered, delivered)
	if e := show(t, s, m.ID); !e.Finished.IsZero() {
		t.Error("the message ended while it is sent to one more")
	}
	sameBody(t, second.Message, m) // it is still there for the other
	settle(t, s, second, delivered)
	if e := show(t, s, m.ID); e.Finished.IsZero() || len(e.History) != 4 {
		t.Errorf("entry %+v", e)
	}
}

func testPutSeveralLanes(t *testing.T, open Open) {
	s := open(t, Config())
	m := NewMessage("printer", 10, "a@example.com", "b@example.net", "c@example.com", "d@example.com")
	claims, err := s.Put(t.Context(), m, []queue.Way{{Lane: lane, Upstream: upstream}, {Lane: other, Upstream: "backup"}, {Lane: lane, Upstream: upstream}, {Lane: lane}})
	if err != nil || len(claims) != 2 {
		t.Fatalf("%d claims, %v", len(claims), err)
	}
	for i, want := range []struct {
		lane, upstream string
		to             []string
	}{{lane, upstream, []string{"a@example.com", "c@example.com"}}, {other, "backup", []string{"b@example.net"}}} {
		c := claims[i]
		if got := addresses(c.Message); c.Lane != want.lane || c.Upstream != want.upstream || !slices.Equal(got, want.to) {
			t.Errorf("%s by %s: %q", c.Lane, c.Upstream, got)
		}
	}
	settle(t, s, claims[1], delivered)
	settle(t, s, claims[0], deferred, delivered)
	wait(t, s, lane)
	if rest := claimOne(t, s, lane); !slices.Equal(addresses(rest.Message), []string{"d@example.com"}) {
		t.Errorf("the rest is %q", addresses(rest.Message))
	}
}

func testRecipients(t *testing.T, open Open) {
	s := open(t, Config())
	m := put(t, s, NewMessage("printer", 10, "a@example.com", "b@example.com", "c@example.com"))
	put(t, s, NewMessage("other", 10, "d@example.com"))
	claims, err := s.Claim(t.Context(), lane, upstream, 10, 2)
	if err != nil || len(claims) != 3 {
		t.Fatalf("%d claims, %v", len(claims), err)
	}
	var parts []string
	for _, c := range claims {
		if c.Message.ID == m.ID {
			parts = append(parts, addresses(c.Message)...)
			if n := len(c.Message.To); n > 2 {
				t.Errorf("one claim has %d", n)
			}
		}
	}
	if !slices.Equal(parts, []string{"a@example.com", "b@example.com", "c@example.com"}) {
		t.Errorf("in parts %q", parts)
	}
	for _, c := range claims {
		settle(t, s, c, slices.Repeat([]message.Result{delivered}, len(c.Message.To))...)
	}
	if e := show(t, s, m.ID); e.Finished.IsZero() {
		t.Error("it has not ended")
	}
}

func testGoesOn(t *testing.T, open Open) {
	s := open(t, Config())
	m := put(t, s, NewMessage("printer", 10, "a@example.com", "b@example.com"))
	refused := result(message.Failed, 554, "SendAsDenied")
	got := settleAs(t, s, claimOne(t, s, lane), queue.Outcome{Result: refused, GoesOn: true, Lane: other}, queue.Outcome{Result: delivered})
	if got[0].State != queue.Queued || got[0].Lane != other || got[0].Attempts != 0 || got[0].Reply != refused.Reply || got[1].State != queue.Delivered {
		t.Errorf("settled %+v", got)
	}
	attempt := show(t, s, m.ID).History[1]
	if r := attempt.Results[0]; r.State != queue.Queued || !slices.Equal(r.By, []string{"backup"}) || r.Reply != refused.Reply || attempt.Results[1].By != nil {
		t.Errorf("history %+v", attempt)
	}
	wait(t, s, other)
	if c := claimOne(t, s, other); !slices.Equal(addresses(c.Message), []string{"a@example.com"}) {
		t.Errorf("claimed %q", addresses(c.Message))
	}
}

func testGoesOnPinned(t *testing.T, open Open) {
	s := open(t, soon())
	put(t, s, NewMessage("printer", 10, "a@example.com"))
	settle(t, s, claimOne(t, s, lane), uncertain)
	pinned := message.PinnedLane(upstream)
	wait(t, s, pinned)
	if got := settleAs(t, s, claimOne(t, s, pinned), queue.Outcome{Result: deferred, GoesOn: true})[0]; got.State != queue.Uncertain || got.Lane != pinned {
		t.Errorf("settled %+v", got)
	}
	wait(t, s, pinned)
	claimOne(t, s, pinned)
}

func testGoesOnRerouted(t *testing.T, open Open) {
	s := open(t, Config())
	put(t, s, NewMessage("printer", 10, "a@example.com"))
	c := claimOne(t, s, lane)
	if err := s.Reroute(t.Context(), func(w queue.Waiting) []string { return to("new", w) }); err != nil {
		t.Fatal(err)
	}
	if got := settleAs(t, s, c, queue.Outcome{Result: deferred, GoesOn: true, Lane: other})[0]; got.Lane != "new" {
		t.Errorf("settled %+v", got)
	}
}

func testWaitAsTold(t *testing.T, open Open) {
	cfg := Config()
	cfg.Retry = []setting.Duration{setting.Duration(time.Minute), setting.Duration(time.Hour)}
	for _, test := range []struct{ told, least, most time.Duration }{
		{10 * time.Second, 9 * time.Second, 10 * time.Second},
		{10 * time.Minute, 10*time.Minute - time.Second, 10 * time.Minute},
		{100 * time.Hour, time.Hour, 66 * time.Minute},
	} {
		s := open(t, cfg)
		put(t, s, NewMessage("printer", 10, "a@example.com"))
		c, before := claimOne(t, s, lane), time.Now()
		got := settleAs(t, s, c, queue.Outcome{Result: deferred, Wait: test.told})[0]
		if in := got.NextAt.Sub(before); in < test.least-time.Millisecond || time.Until(got.NextAt) > test.most {
			t.Errorf("told to wait %s it waits %s", test.told, in)
		}
	}
}

func addresses(m *message.Message) []string {
	var all []string
	for _, r := range m.To {
		all = append(all, r.Address.String())
	}
	return all
}

// sameBody reads the body that a claim has.
func sameBody(t *testing.T, got, want *message.Message) {
	t.Helper()
	if string(Content(t, got.Body)) != string(Content(t, want.Body)) {
		t.Error("the body is not the one that was put")
	}
}
