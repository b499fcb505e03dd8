package queuetest

import (
	"context"
	"strings"
	"testing"
	"time"

	"postern/relay/message"
	"postern/relay/queue"
)

// ordered has something done with messages, any lost one by the lane of the
// tests, and returns why it was not with the first; "" when it was.
func ordered(t *testing.T, s queue.Store, o queue.Order) string {
	t.Helper()
	o.By = "root"
	acted, err := s.Act(t.Context(), o, func(w queue.Waiting) []string { return to(lane, w) })
	if err != nil {
		t.Fatal(err)
	}
	if len(acted) != len(o.IDs) {
		t.Fatalf("%d answers for %d messages", len(acted), len(o.IDs))
	}
	if (acted[0].Deliveries > 0) != (acted[0].Why == "") {
		t.Errorf("answer %+v", acted[0])
	}
	return acted[0].Why
}

// states are those of a message's recipients.
func states(t *testing.T, s queue.Store, id string) string {
	t.Helper()
	e, err := s.Show(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, d := range e.Deliveries {
		all = append(all, string(d.State))
	}
	return strings.Join(all, " ")
}

// unsure puts a message whose delivery is uncertain.
func unsure(t *testing.T, s queue.Store) string {
	t.Helper()
	c, err := Put(t.Context(), s, NewMessage("printer", 10, "a@example.com"), lane, upstream)
	if err != nil {
		t.Fatal(err)
	}
	settle(t, s, c, uncertain)
	return c.Message.ID
}

func testHold(t *testing.T, open Open) {
	s := open(t, Config())
	id := put(t, s, NewMessage("printer", 10, "a@example.com", "b@example.com")).ID
	if why := ordered(t, s, queue.Order{Do: queue.Hold, IDs: []string{strings.ToUpper(id)}, Recipient: "B@example.com", Reason: "a loop"}); why != "" {
		t.Fatal(why)
	}
	if got := states(t, s, id); got != "queued held" {
		t.Errorf("states %s", got)
	}
	settle(t, s, claimOne(t, s, lane), delivered)
	if why := ordered(t, s, queue.Order{Do: queue.Retry, IDs: []string{id}}); !strings.Contains(why, "release") {
		t.Errorf("retried what is held: %q", why)
	}
	if why := ordered(t, s, queue.Order{Do: queue.Release, IDs: []string{id}}); why != "" {
		t.Fatal(why)
	}
	c := claimOne(t, s, lane)
	if len(c.Message.To) != 1 || c.Message.To[0].Address.Local != "b" {
		t.Errorf("released %v", c.Message.To)
	}
	if why := ordered(t, s, queue.Order{Do: queue.Drop, IDs: []string{id}, Reason: "x"}); !strings.Contains(why, "being sent") {
		t.Errorf("dropped what is being sent: %q", why)
	}
	settle(t, s, c, delivered)
	e, err := s.Show(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, event := range e.History {
		told = append(told, event.What+" "+event.Text)
	}
	if got := strings.Join(told, ", "); !strings.Contains(got, "held by root: a loop") || !strings.Contains(got, "released by root") {
		t.Errorf("history %s", got)
	}
}

func testRetryNow(t *testing.T, open Open) {
	s := open(t, Config())
	id := put(t, s, NewMessage("printer", 10, "a@example.com")).ID
	settle(t, s, claimOne(t, s, lane), deferred)
	if claims := claim(t, s, lane, 1); len(claims) != 0 {
		t.Fatal("a deferred delivery is due at once")
	}
	if why := ordered(t, s, queue.Order{Do: queue.Retry, IDs: []string{id}}); why != "" {
		t.Fatal(why)
	}
	wait(t, s, lane)
	claimOne(t, s, lane)
}

func testDrop(t *testing.T, open Open) {
	s := open(t, Config())
	id := put(t, s, NewMessage("printer", 100_000, "a@example.com")).ID
	missing := message.NewID(time.Now())
	acted, err := s.Act(t.Context(), queue.Order{Do: queue.Drop, IDs: []string{id, missing}, By: "root", Reason: "spam"}, nil)
	if err != nil || len(acted) != 2 || acted[0].Deliveries != 1 || !strings.Contains(acted[1].Why, "no such message") {
		t.Fatalf("%+v, %v", acted, err)
	}
	e, err := s.Show(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if d := e.Deliveries[0]; d.State != queue.Dropped || !strings.Contains(d.Reply.Text, "root: spam") || e.Finished.IsZero() || e.Body != nil {
		t.Errorf("dropped %+v", e)
	}
	if why := ordered(t, s, queue.Order{Do: queue.Retry, IDs: []string{id}}); !strings.Contains(why, "dropped already") {
		t.Errorf("retried what was dropped: %q", why)
	}
}

func testSettleByPerson(t *testing.T, open Open) {
	s := open(t, Config())
	arrived, lost, sure := unsure(t, s), unsure(t, s), put(t, s, NewMessage("printer", 10, "a@example.com")).ID
	if why := ordered(t, s, queue.Order{Do: queue.Arrived, IDs: []string{sure}}); !strings.Contains(why, "not uncertain") {
		t.Errorf("settled what is not uncertain: %q", why)
	}
	ordered(t, s, queue.Order{Do: queue.Drop, IDs: []string{sure}, Reason: "x"})
	if why := ordered(t, s, queue.Order{Do: queue.Arrived, IDs: []string{arrived}}); why != "" {
		t.Fatal(why)
	}
	if got := states(t, s, arrived); got != "delivered" {
		t.Errorf("arrived is %s", got)
	}
	if why := ordered(t, s, queue.Order{Do: queue.Lost, IDs: []string{lost}}); why != "" {
		t.Fatal(why)
	}
	if c := claimOne(t, s, lane); c.Message.ID != lost {
		t.Errorf("claimed %s", c.Message.ID)
	}
}

func testLostWithoutRoute(t *testing.T, open Open) {
	s := open(t, Config())
	id := unsure(t, s)
	nowhere := func(w queue.Waiting) []string { return to("", w) }
	acted, err := s.Act(context.Background(), queue.Order{Do: queue.Lost, IDs: []string{id}, By: "root"}, nowhere)
	if err != nil || !strings.Contains(acted[0].Why, "no route") || states(t, s, id) != "uncertain" {
		t.Errorf("%+v, %v: %s", acted, err, states(t, s, id))
	}
}

func testReleaseUncertain(t *testing.T, open Open) {
	cfg := Config()
	cfg.Uncertain = "hold"
	s := open(t, cfg)
	id := unsure(t, s)
	if got := states(t, s, id); got != "held" {
		t.Fatalf("state %s", got)
	}
	if why := ordered(t, s, queue.Order{Do: queue.Release, IDs: []string{id}}); why != "" {
		t.Fatal(why)
	}
	if got := states(t, s, id); got != "uncertain" {
		t.Errorf("released as %s", got)
	}
	claimOne(t, s, message.PinnedLane(upstream))
}
