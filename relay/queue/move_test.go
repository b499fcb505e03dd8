package queue_test

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"postern/metrics"
	"postern/relay/message"
	"postern/relay/queue"
	"postern/relay/queue/queuetest"
)

// ids names the messages of a store that wait.
func ids(t testing.TB, s queue.Reader) (all []string) {
	t.Helper()
	entries, err := s.List(t.Context(), queue.Filter{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.ID)
	}
	return all
}

// mail is a message to so many, each of which has come as far as its state says.
func mail(rt *rapid.T, t testing.TB, s *queue.SQLite) string {
	states := rapid.SliceOfN(rapid.SampledFrom([]queue.State{queue.Queued, queue.Deferred, queue.Held, queue.Uncertain, queue.Delivered}), 1, 5).Draw(rt, "states")
	if !slices.ContainsFunc(states, func(s queue.State) bool { return !s.Ended() }) {
		states[0] = queue.Queued
	}
	var to []string
	for i := range states {
		to = append(to, fmt.Sprintf("r%d@example.com", i))
	}
	m := queuetest.NewMessage("printer", rapid.SampledFrom([]int{0, 10, 100_000}).Draw(rt, "size"), to...)
	c, err := queuetest.Put(t.Context(), s, m, "office", "m365")
	if err != nil {
		rt.Fatal(err)
	}
	outcomes := make([]queue.Outcome, len(states))
	for i, state := range states {
		switch o := &outcomes[i]; state {
		case queue.Deferred:
			o.Result = message.Result{Outcome: message.Deferred, Reply: message.Reply{Code: 451, Enhanced: "4.2.1", Text: "not now"}}
		case queue.Uncertain:
			o.Result = message.Result{Outcome: message.Uncertain, Reply: message.Reply{Text: "the answer was lost"}}
		case queue.Delivered:
			o.Result = message.Result{Outcome: message.Delivered, Reply: message.Reply{Code: 250, Text: "ok"}, RemoteID: "r1"}
		default:
			o.GoesOn, o.Outcome = true, message.Deferred
		}
	}
	if _, err := s.Settle(t.Context(), c, outcomes, nil); err != nil {
		rt.Fatal(err)
	}
	for i, state := range states {
		if state == queue.Held {
			if _, err := s.Act(t.Context(), queue.Order{Do: queue.Hold, IDs: []string{m.ID}, Recipient: to[i], By: "root"}, nil); err != nil {
				rt.Fatal(err)
			}
		}
	}
	return m.ID
}

// wire is a parcel as it is in an archive, read from there.
func wire(rt *rapid.T, p *queue.Parcel) *queue.Parcel {
	record, err := p.Record()
	if err != nil {
		rt.Fatal(err)
	}
	read, err := queue.ParseRecord(record)
	if err != nil {
		rt.Fatal(err)
	}
	read.Message.Header, read.Message.Body = p.Message.Header, p.Message.Body
	return read
}

// All that matters of a message is the same in the store it moves to, whatever its
// recipients wait for, and nothing of it is left to be sent where it was.
func TestAMessageMovesAsItIs(t *testing.T) {
	t.Parallel()
	from, to := openIn(t, t.TempDir(), queuetest.Config()), openIn(t, t.TempDir(), queuetest.Config())
	rapid.Check(t, func(rt *rapid.T) {
		id := mail(rt, t, from)
		before, err := from.Pack(t.Context(), id)
		if err != nil {
			rt.Fatal(err)
		}
		before.Message.Body = message.Bytes(queuetest.Content(t, before.Message.Body)) // the file goes
		if acted, err := from.BeginMove(t.Context(), []string{id}, "root", "a.tar"); err != nil || acted[0].Deliveries != len(before.Deliveries) {
			rt.Fatalf("%+v, %v", acted, err)
		}
		if claims, err := from.Claim(t.Context(), "office", "m365", 10, 0); err != nil || len(claims) > 0 {
			rt.Fatalf("%d claims of what is being moved, %v", len(claims), err)
		}
		p, err := from.Pack(t.Context(), id)
		if err != nil {
			rt.Fatal(err)
		}
		p = wire(rt, p)
		if !reflect.DeepEqual(p.Deliveries, wire(rt, before).Deliveries) || len(p.Ended) != len(before.Ended) {
			rt.Errorf("held for a move they are\n%+v, were\n%+v", p.Deliveries, before.Deliveries)
		}
		if taken, err := to.Unpack(t.Context(), p, "relay.example.com"); err != nil || !taken {
			rt.Fatalf("taken %v, %v", taken, err)
		}
		if taken, err := to.Unpack(t.Context(), p, "relay.example.com"); err != nil || taken {
			rt.Errorf("taken a second time: %v, %v", taken, err)
		}
		if acted, err := from.EndMove(t.Context(), []string{id}, "root", "a.tar"); err != nil || acted[0].Deliveries == 0 {
			rt.Errorf("%+v, %v", acted, err)
		}
		if e, err := from.Show(t.Context(), id); err != nil || e.Finished.IsZero() || e.Body != nil {
			rt.Errorf("where it was it is %+v, %v", e, err)
		}
		after, err := to.Pack(t.Context(), id)
		if err != nil {
			rt.Fatal(err)
		}
		same(rt, t, wire(rt, after), wire(rt, before))
		if last := after.History[len(after.History)-1]; last.What != "imported" || last.Text != "from relay.example.com" || after.History[0].What != "accepted" {
			rt.Errorf("history %+v", after.History)
		}
	})
}

func same(rt *rapid.T, t testing.TB, got, want *queue.Parcel) {
	g, w := *got.Message, *want.Message
	if !bytes.Equal(queuetest.Content(t, g.Body), queuetest.Content(t, w.Body)) || !bytes.Equal(g.Header.Bytes(), w.Header.Bytes()) {
		rt.Error("its content is another")
	}
	g.Body, w.Body, g.Header, w.Header = nil, nil, nil, nil
	if !reflect.DeepEqual(g, w) {
		rt.Errorf("message\n%+v, was\n%+v", g, w)
	}
	if !reflect.DeepEqual(got.Deliveries, want.Deliveries) || got.Warned != want.Warned {
		rt.Errorf("deliveries\n%+v, were\n%+v", got.Deliveries, want.Deliveries)
	}
}

// A move that fails makes of each delivery what it was.
func TestAMoveThatIsCalledOffChangesNothing(t *testing.T) {
	t.Parallel()
	s := openIn(t, t.TempDir(), queuetest.Config())
	rapid.Check(t, func(rt *rapid.T) {
		id := mail(rt, t, s)
		before, err := s.Show(t.Context(), id)
		if err != nil {
			rt.Fatal(err)
		}
		for range 2 { // the first of them was killed
			if _, err := s.BeginMove(t.Context(), []string{id}, "root", "a.tar"); err != nil {
				rt.Fatal(err)
			}
		}
		if _, err := s.CancelMove(t.Context(), []string{id}, "root", "disk full"); err != nil {
			rt.Fatal(err)
		}
		if after, err := s.Show(t.Context(), id); err != nil || !reflect.DeepEqual(after.Deliveries, before.Deliveries) {
			rt.Errorf("deliveries\n%+v, were\n%+v, %v", after.Deliveries, before.Deliveries, err)
		}
	})
}

// A process that dies in the middle of a move leaves its messages held, with the
// reason; a person releases them, or moves them again as what they were.
func TestAMoveThatDiesLeavesMessagesHeld(t *testing.T) {
	dir := t.TempDir()
	s, err := queue.Open(queuetest.Config(), dir, metrics.New("test", ""), quiet())
	if err != nil {
		t.Fatal(err)
	}
	m := queuetest.NewMessage("printer", 10, "a@example.com")
	if _, err := queuetest.Put(t.Context(), s, m, "office", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := s.BeginMove(t.Context(), []string{m.ID}, "root", "/backup/a.tar"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := openIn(t, dir, queuetest.Config())
	e, err := again.Show(t.Context(), m.ID)
	if err != nil || e.Deliveries[0].State != queue.Held || !strings.Contains(e.History[len(e.History)-1].Text, "to be moved to /backup/a.tar") {
		t.Fatalf("%+v, %v", e, err)
	}
	if p, err := again.Pack(t.Context(), m.ID); err != nil || p.Deliveries[0].State != queue.Queued {
		t.Errorf("packed %+v, %v", p, err)
	}
	if _, err := again.Act(t.Context(), queue.Order{Do: queue.Release, IDs: []string{m.ID}, By: "root"}, nil); err != nil {
		t.Fatal(err)
	}
	if acted, err := again.EndMove(t.Context(), []string{m.ID}, "root", "a.tar"); err != nil || acted[0].Deliveries != 0 {
		t.Errorf("dropped what somebody released: %+v, %v", acted, err)
	}
	if claims, err := again.Claim(t.Context(), "office", "m365", 1, 0); err != nil || len(claims) != 1 {
		t.Fatalf("%d claims, %v", len(claims), err)
	}
	if acted, err := again.BeginMove(t.Context(), []string{m.ID, "nosuchid"}, "root", "a.tar"); err != nil || !strings.Contains(acted[0].Why, "being sent") || acted[1].Why == "" {
		t.Errorf("moved what is being sent: %+v, %v", acted, err)
	}
}

// What moved away comes back with its history, and is not counted as sent today
// by those who sent it.
func TestAMessageThatMovedComesBack(t *testing.T) {
	s := openIn(t, t.TempDir(), queuetest.Config())
	m := queuetest.NewMessage("printer", 100_000, "a@example.com")
	if _, err := queuetest.Put(t.Context(), s, m, "office", ""); err != nil {
		t.Fatal(err)
	}
	p, err := s.Pack(t.Context(), m.ID)
	if err != nil {
		t.Fatal(err)
	}
	p.Message.Body = message.Bytes(queuetest.Content(t, p.Message.Body))
	for _, step := range []func() ([]queue.Acted, error){
		func() ([]queue.Acted, error) { return s.BeginMove(t.Context(), []string{m.ID}, "root", "a.tar") },
		func() ([]queue.Acted, error) { return s.EndMove(t.Context(), []string{m.ID}, "root", "a.tar") },
	} {
		if acted, err := step(); err != nil || acted[0].Deliveries != 1 {
			t.Fatalf("%+v, %v", acted, err)
		}
	}
	if got := ids(t, s); len(got) != 0 {
		t.Errorf("%v wait", got)
	}
	if taken, err := s.Unpack(t.Context(), p, "there"); err != nil || !taken {
		t.Fatalf("taken %v, %v", taken, err)
	}
	counted := 0
	if err := s.Accepted(t.Context(), time.Time{}, func(string, string, time.Time, int) { counted++ }); err != nil || counted != 0 {
		t.Errorf("%d counted, %v", counted, err)
	}
	claims, err := s.Claim(t.Context(), "office", "m365", 1, 0)
	if err != nil || len(claims) != 1 || !bytes.Equal(queuetest.Content(t, claims[0].Message.Body), queuetest.Content(t, m.Body)) {
		t.Errorf("%d claims, %v", len(claims), err)
	}
}
