package queuetest

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/relay/message"
	"postern/relay/queue"
	"postern/relay/setting"
)

func testDelivered(t *testing.T, open Open) {
	s := open(t, Config())
	m := put(t, s, NewMessage("printer", 100_000, "a@example.com"))
	c := claimOne(t, s, lane)
	got := settle(t, s, c, delivered)[0]
	if got.ID != m.ID || got.Account != "printer" || got.From != m.From || got.Recipient != m.To[0].Address || got.State != queue.Delivered ||
		got.Lane != lane || got.Upstream != upstream || got.Attempts != 1 || !got.NextAt.IsZero() || got.Reply != delivered.Reply || got.RemoteID != "r1" {
		t.Errorf("settled %+v", got)
	}
	e := show(t, s, m.ID)
	if e.Finished.IsZero() || e.Header != nil || e.Body != nil {
		t.Errorf("entry %+v", e)
	}
	var what []string
	for _, event := range e.History {
		what = append(what, event.What)
	}
	if strings.Join(what, " ") != "accepted attempted ended" {
		t.Errorf("history %q", what)
	}
	attempt := e.History[1]
	if attempt.Upstream != upstream || attempt.Results[0].Reply != delivered.Reply || attempt.Results[0].RemoteID != "r1" {
		t.Errorf("attempt %+v", attempt)
	}
	if r, err := c.Message.Body.Open(); err == nil {
		r.Close()
		t.Error("the body is still there")
	}
}

func testOutcomes(t *testing.T, open Open) {
	s := open(t, Config())
	m := put(t, s, NewMessage("printer", 10, "a@example.com", "b@example.com", "c@example.com"))
	settled := settle(t, s, claimOne(t, s, lane), delivered, result(message.Failed, 550, "no such user"), deferred)
	want := []queue.State{queue.Delivered, queue.Failed, queue.Deferred}
	e := show(t, s, m.ID)
	for i, state := range want {
		if settled[i].State != state || e.Deliveries[i].State != state || settled[i].Recipient != m.To[i].Address {
			t.Errorf("recipient %d: settled %+v, stored %+v, want %s", i, settled[i], e.Deliveries[i], state)
		}
	}
	if !e.Finished.IsZero() || e.Body == nil {
		t.Error("the message ended while a recipient waits")
	}
}

func testDeferred(t *testing.T, open Open) {
	cfg := soon()
	cfg.Retry = append(cfg.Retry, setting.Duration(time.Hour))
	s := open(t, cfg)
	m := put(t, s, NewMessage("printer", 10, "a@example.com", "b@example.com"))
	settle(t, s, claimOne(t, s, lane), deferred, delivered)
	wait(t, s, lane)
	c := claimOne(t, s, lane)
	if len(c.Message.To) != 1 || c.Message.To[0].Address != m.To[0].Address {
		t.Errorf("claimed %v", c.Message.To)
	}
	before := time.Now()
	got := settle(t, s, c, deferred)[0]
	if in := got.NextAt.Sub(before); got.Attempts != 2 || in < 50*time.Minute || in > 70*time.Minute {
		t.Errorf("attempt %d, next in %s", got.Attempts, in)
	}
	if len(claim(t, s, lane, 1)) != 0 {
		t.Error("it is claimed before it is due")
	}
}

func overdue(to ...string) *message.Message {
	m := NewMessage("printer", 100_000, to...)
	m.Received = time.Now().Add(-100 * 24 * time.Hour)
	return m
}

func testExpiredAtAttempt(t *testing.T, open Open) {
	s := open(t, Config())
	m := put(t, s, overdue("a@example.com"))
	got := settle(t, s, claimOne(t, s, lane), deferred)[0]
	if got.State != queue.Failed || !strings.Contains(got.Reply.Text, "not delivered within 4d; the last reply was: 451 not now") {
		t.Errorf("settled %+v", got)
	}
	if show(t, s, m.ID).Finished.IsZero() {
		t.Error("the message has not ended")
	}
}

func testExpired(t *testing.T, open Open) {
	s := open(t, Config())
	old := put(t, s, overdue("a@example.com", "b@example.com"))
	recent := put(t, s, NewMessage("printer", 10, "c@example.com"))
	settled := sweep(t, s)
	if len(settled) != 2 || settled[1].ID != old.ID || settled[1].State != queue.Failed || settled[1].Recipient != old.To[1].Address ||
		settled[1].From != old.From || settled[1].Account != "printer" {
		t.Fatalf("settled %+v", settled)
	}
	if e := show(t, s, old.ID); e.Finished.IsZero() || e.Body != nil || e.History[1].What != "expired" {
		t.Errorf("entry %+v", e)
	}
	if c := claimOne(t, s, lane); c.Message.ID != recent.ID {
		t.Errorf("claimed %s", c.Message.ID)
	}
	held := sweep(t, s)
	if len(held) != 0 {
		t.Errorf("what is being sent was given up: %+v", held)
	}
}

func testUncertain(t *testing.T, open Open) {
	s := open(t, soon())
	m := put(t, s, NewMessage("printer", 10, "a@example.com"))
	got := settle(t, s, claimOne(t, s, lane), uncertain)[0]
	pinned := message.PinnedLane(upstream)
	if got.State != queue.Uncertain || got.Lane != pinned || got.NextAt.IsZero() {
		t.Fatalf("settled %+v", got)
	}
	wait(t, s, pinned)
	if len(claim(t, s, lane, 1)) != 0 {
		t.Fatal("it waits in its old lane too")
	}
	c := claimOne(t, s, pinned)
	if err := s.Return(t.Context(), c, ""); err != nil {
		t.Fatal(err)
	}
	if d := show(t, s, m.ID).Deliveries[0]; d.State != queue.Uncertain || d.Lane != pinned || d.Attempts != 1 {
		t.Errorf("returned as %+v", d)
	}
	// Refused for now at the second attempt, it may still have been delivered by
	// the first.
	got = settle(t, s, claimOne(t, s, pinned), deferred)[0]
	if got.State != queue.Uncertain || got.Lane != pinned {
		t.Errorf("settled %+v", got)
	}
	wait(t, s, pinned)
	if got = settle(t, s, claimOne(t, s, pinned), delivered)[0]; got.State != queue.Delivered {
		t.Errorf("settled %+v", got)
	}
}

func testUncertainRefused(t *testing.T, open Open) {
	s := open(t, soon())
	m := put(t, s, NewMessage("printer", 10, "a@example.com"))
	settle(t, s, claimOne(t, s, lane), uncertain)
	wait(t, s, message.PinnedLane(upstream))
	got := settle(t, s, claimOne(t, s, message.PinnedLane(upstream)), result(message.Failed, 550, "no such user"))[0]
	e := show(t, s, m.ID)
	for _, reply := range []message.Reply{got.Reply, e.Deliveries[0].Reply, e.History[2].Results[0].Reply} {
		if !strings.Contains(reply.Text, "may have been delivered") || !strings.Contains(reply.Text, "550 no such user") || reply.Code != 0 {
			t.Errorf("reply %+v", reply)
		}
	}
	if got.State != queue.Failed {
		t.Errorf("settled %+v", got)
	}
}

func testUncertainHold(t *testing.T, open Open) {
	cfg := soon()
	cfg.Uncertain = "hold"
	s := open(t, cfg)
	m := put(t, s, overdue("a@example.com"))
	got := settle(t, s, claimOne(t, s, lane), uncertain)[0]
	if got.State != queue.Held || !got.NextAt.IsZero() {
		t.Fatalf("settled %+v", got)
	}
	if len(sweep(t, s)) != 0 || len(claim(t, s, message.PinnedLane(upstream), 1)) != 0 {
		t.Error("what is held was given up or claimed")
	}
	if e := show(t, s, m.ID); e.Deliveries[0].State != queue.Held || e.Body == nil {
		t.Errorf("entry %+v", e)
	}
}

func testUncertainExpires(t *testing.T, open Open) {
	s := open(t, Config())
	put(t, s, overdue("a@example.com"))
	settle(t, s, claimOne(t, s, lane), uncertain)
	settled := sweep(t, s)
	if len(settled) != 1 || settled[0].State != queue.Failed || !strings.Contains(settled[0].Reply.Text, "may have been delivered") {
		t.Errorf("settled %+v", settled)
	}
}

func testReturn(t *testing.T, open Open) {
	s := open(t, Config())
	m := put(t, s, NewMessage("printer", 10, "a@example.com"))
	if err := s.Return(t.Context(), claimOne(t, s, lane), "m365 cannot be reached"); err != nil {
		t.Fatal(err)
	}
	e := show(t, s, m.ID)
	if d := e.Deliveries[0]; d.State != queue.Queued || d.Attempts != 0 {
		t.Errorf("returned as %+v", d)
	}
	if last := e.History[1]; last.What != "returned" || last.Text != "m365 cannot be reached" {
		t.Errorf("history %+v", last)
	}
	wait(t, s, lane)
	claimOne(t, s, lane)
}

func testSettleTwice(t *testing.T, open Open) {
	s := open(t, Config())
	put(t, s, NewMessage("printer", 10, "a@example.com"))
	c := claimOne(t, s, lane)
	if _, err := s.Settle(t.Context(), c, nil, nil); err == nil {
		t.Error("settled without results")
	}
	settle(t, s, c, deferred)
	if _, err := s.Settle(t.Context(), c, []queue.Outcome{{Result: delivered}}, nil); err == nil {
		t.Error("settled twice")
	}
	if err := s.Return(t.Context(), c, ""); err == nil {
		t.Error("returned after it was settled")
	}
}

func testMade(t *testing.T, open Open) {
	s := open(t, soon())
	m := put(t, s, NewMessage("printer", 10, "a@example.com"))
	c := claimOne(t, s, lane)
	if len(c.Made.Signatures) > 0 {
		t.Errorf("at first it is made into %+v", c.Made)
	}
	c.Made = queue.Made{
		Changes:    []message.Change{{Rule: "dkim", Field: "DKIM-Signature", After: "example.com"}},
		Signatures: []string{"DKIM-Signature: v=1;\r\n\ta=rsa-sha256\r\n"}, Signed: "digest", At: time.Unix(1, 0).UTC(),
	}
	settle(t, s, c, deferred)
	if e := show(t, s, m.ID); len(e.History) != 2 || !slices.Equal(e.History[1].Changes, c.Made.Changes) {
		t.Errorf("history %+v", e.History)
	}
	wait(t, s, lane)
	again := claimOne(t, s, lane)
	want := c.Made
	want.Changes = nil
	if !reflect.DeepEqual(again.Made, want) {
		t.Errorf("kept %+v, want %+v", again.Made, want)
	}
	if err := s.Return(t.Context(), again, "later"); err != nil {
		t.Fatal(err)
	}
	wait(t, s, lane)
	settle(t, s, claimOne(t, s, lane), delivered)
}

func testFairness(t *testing.T, open Open) {
	s := open(t, Config())
	for i := range 20 {
		put(t, s, NewMessage("busy", 10, fmt.Sprintf("%d@example.com", i)))
	}
	for _, account := range []string{"calm", "other"} {
		put(t, s, NewMessage(account, 10, "a@example.com"))
	}
	got := map[string]int{}
	for _, c := range claim(t, s, lane, 4) {
		got[c.Message.Client.Account]++
	}
	if got["busy"] != 2 || got["calm"] != 1 || got["other"] != 1 {
		t.Errorf("claimed %v", got)
	}
	put(t, s, NewMessage("calm", 10, "b@example.com"))
	var turns []string // one claim at a time takes turns too
	for range 3 {
		turns = append(turns, claim(t, s, lane, 1)[0].Message.Client.Account)
	}
	if strings.Count(strings.Join(turns, " "), "calm") != 1 {
		t.Errorf("turns %v", turns)
	}
}

func testMax(t *testing.T, open Open) {
	s := open(t, Config())
	first := put(t, s, NewMessage("printer", 10, "a@example.com"))
	time1 := first.Received
	for range 4 {
		put(t, s, NewMessage("printer", 10, "a@example.com", "b@example.com"))
	}
	claims := claim(t, s, lane, 2)
	if len(claims) != 2 || claims[0].Message.ID != first.ID || claims[1].Message.Received.UnixMilli() < time1.UnixMilli() {
		t.Fatalf("claims %v", claims)
	}
	if rest := claim(t, s, lane, 10); len(rest) != 3 || len(rest[0].Message.To) != 2 {
		t.Errorf("%d claims are left", len(rest))
	}
}

func testLanes(t *testing.T, open Open) {
	s := open(t, Config())
	m := NewMessage("printer", 10, "a@example.com")
	if _, err := Put(t.Context(), s, m, "second", ""); err != nil {
		t.Fatal(err)
	}
	if len(claim(t, s, lane, 1)) != 0 {
		t.Error("claimed from another lane")
	}
	if c := claimOne(t, s, "second"); c.Lane != "second" || c.Message.ID != m.ID {
		t.Errorf("claim %+v", c)
	}
}
