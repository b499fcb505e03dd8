package queuetest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"postern/relay/message"
	"postern/relay/queue"
)

func testBytes(t *testing.T, open Open) {
	s := open(t, Config())
	for _, size := range []int{0, 1, 4096, queue.InlineLimit - 1, queue.InlineLimit, queue.InlineLimit + 1, 1 << 20} {
		m := NewMessage("printer", size, `"od d"@example.com`, "b@xn--bcher-kva.example", "c@[192.0.2.1]")
		want := *m
		body, spool := Spooled(t, s, Content(t, m.Body))
		m.Body = body
		m.Changes = []message.Change{{Rule: "date", Field: "Date", After: "today"}}
		if _, err := Put(t.Context(), s, m, lane, ""); err != nil {
			t.Fatal(err)
		}
		spool.Discard()
		c := claimOne(t, s, lane)
		sameMessage(t, c.Message, &want)
		sameMessage(t, c.Message, &want) // a body may be opened again
		e := show(t, s, m.ID)
		if e.Size != want.Size() || len(e.History) != 1 || e.History[0].What != "accepted" || e.History[0].Changes[0] != m.Changes[0] {
			t.Errorf("entry of %d octets with history %+v", e.Size, e.History)
		}
	}
}

func testForeignBody(t *testing.T, open Open) {
	s := open(t, Config())
	for _, size := range []int{100, 100_000} {
		m := put(t, s, NewMessage("printer", size, "a@example.com"))
		c := claimOne(t, s, lane)
		sameMessage(t, c.Message, m)
		copied := *c.Message // a body of the store, for a second message
		copied.ID = message.NewID(time.Now())
		settle(t, s, c, deferred)
		put(t, s, &copied)
		again := claimOne(t, s, lane)
		sameMessage(t, again.Message, &copied)
		settle(t, s, again, delivered)
	}
}

func testDiscard(t *testing.T, open Open) {
	s := open(t, Config())
	body, spool := Spooled(t, s, Octets(100_000))
	spool.Discard()
	spool.Discard()
	if r, err := body.Open(); err == nil {
		r.Close()
		t.Error("a discarded body can be opened")
	}
	if _, err := spool.Write([]byte("x")); err == nil {
		t.Error("a discarded spool takes more")
	}
	if list, err := s.List(t.Context(), queue.Filter{}); err != nil || len(list) != 0 {
		t.Errorf("list %v, %v", list, err)
	}
}

func testNoRecipients(t *testing.T, open Open) {
	s := open(t, Config())
	_, err := Put(t.Context(), s, NewMessage("printer", 10), lane, "")
	isReply(t, err, 554)
}

func testLargeHeader(t *testing.T, open Open) {
	s := open(t, Config())
	m := NewMessage("printer", 10, "a@example.com")
	m.Header = m.Header.Append(message.NewField("X-Long", strings.Repeat("x", message.MaxHeaderSize)))
	_, err := Put(t.Context(), s, m, lane, "")
	isReply(t, err, 552)
}

func testDuplicateID(t *testing.T, open Open) {
	s := open(t, Config())
	m := put(t, s, NewMessage("printer", 10, "a@example.com"))
	again := NewMessage("printer", 10, "b@example.com")
	again.ID = m.ID
	if _, err := Put(t.Context(), s, again, lane, ""); err == nil {
		t.Fatal("two messages have one id")
	}
	sameMessage(t, claimOne(t, s, lane).Message, m)
}

func testPutClaimed(t *testing.T, open Open) {
	s := open(t, Config())
	m := NewMessage("printer", 100_000, "a@example.com", "b@example.com")
	c, err := Put(t.Context(), s, m, lane, upstream)
	if err != nil {
		t.Fatal(err)
	}
	if c == nil || c.Lane != lane || c.Upstream != upstream {
		t.Fatalf("claim %+v", c)
	}
	sameMessage(t, c.Message, m)
	if d := show(t, s, m.ID).Deliveries[1]; d.State != queue.Sending || d.Upstream != upstream {
		t.Errorf("stored as %+v", d)
	}
	if more := claim(t, s, lane, 1); len(more) != 0 {
		t.Error("it can be claimed a second time")
	}
	settle(t, s, c, delivered, delivered)
}

func testMinFree(t *testing.T, open Open) {
	cfg := Config()
	cfg.MinFree = 1 << 60
	s := open(t, cfg)
	isReply(t, s.Ready(), 452)
	m := NewMessage("printer", 10, "a@example.com")
	_, err := Put(t.Context(), s, m, lane, "")
	isReply(t, err, 452)
	cfg.MinFree = 0
	s.Configure(cfg)
	if err := s.Ready(); err != nil {
		t.Fatal(err)
	}
	put(t, s, m)
}

func testCancelled(t *testing.T, open Open) {
	s := open(t, Config())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m := NewMessage("printer", 10, "a@example.com")
	if _, err := Put(ctx, s, m, lane, ""); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	if _, err := s.Show(t.Context(), m.ID); !errors.Is(err, queue.ErrNotFound) {
		t.Fatalf("error %v", err)
	}
}
