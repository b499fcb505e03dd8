package queuetest

import (
	"fmt"
	"io"
	"iter"
	"slices"
	"testing"
	"time"

	"postern/relay/message"
	"postern/relay/queue"
	"postern/relay/setting"
)

var reports = []struct {
	name string
	run  func(t *testing.T, open Open)
}{
	{"a failure and its report are durable together", testReport},
	{"what is told of a delivery knows what the upstream said last", testLastWord},
	{"what is given up is reported with its content", testReportExpired},
	{"a report takes the way of the mail of whom it goes to", testReportReroute},
	{"a report is no message of its account", testReportNotAccepted},
	{"a delay is told of once", testWarn},
	{"without warn_after no delay is told of", testWarnNever},
	{"a digest has every failure left to it, once", testDigest},
}

// back reports every failure to the sender of the message.
func back(m *message.Message, settled []queue.Settled) queue.Told {
	var of []int
	for i, d := range settled {
		if d.State == queue.Failed || d.State == queue.Deferred {
			of = append(of, i)
		}
	}
	if len(of) == 0 {
		return queue.Told{}
	}
	r := NewMessage(m.Client.Account, 0, m.From.String())
	r.From, r.About = message.Address{}, m.ID
	r.Body = message.Bytes(fmt.Sprintf("%s to %d of %d, %d octets\r\n", r.About, len(of), len(m.To), size(m.Body)))
	return queue.Told{Reports: []queue.Report{{Message: r, Lane: lane, Of: of}}}
}

func size(b message.Body) int64 {
	if b == nil {
		return 0
	}
	return b.Size()
}

// text is what a body says.
func text(t *testing.T, b message.Body) string {
	t.Helper()
	r, err := b.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	content, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func whats(e *queue.Entry) (all []string) {
	for _, event := range e.History {
		all = append(all, event.What)
	}
	return all
}

func testReport(t *testing.T, open Open) {
	s := open(t, Config())
	m := NewMessage("printer", 10, "a@example.com", "b@example.com")
	put(t, s, m)
	c := claimOne(t, s, lane)
	settled, err := s.Settle(t.Context(), c, fared(delivered, failed), back)
	if err != nil {
		t.Fatal(err)
	}
	if settled[0].Report != "" || settled[1].Report == "" {
		t.Fatalf("settled as %+v", settled)
	}
	if got, want := whats(show(t, s, m.ID)), []string{"accepted", "attempted", "reported", "ended"}; !slices.Equal(got, want) {
		t.Errorf("the history is %q, want %q", got, want)
	}
	wait(t, s, lane)
	r := claimOne(t, s, lane).Message
	if r.ID != settled[1].Report || r.About != m.ID || !r.From.IsNull() || r.RoutedBy() != m.From || r.Client.Account != "printer" {
		t.Errorf("the report is %+v", r)
	}
	if got, want := text(t, r.Body), m.ID+" to 1 of 2, 10 octets\r\n"; got != want {
		t.Errorf("it says %q, want %q", got, want)
	}
	if e := show(t, s, r.ID); e.About != m.ID {
		t.Errorf("it is shown as about %q", e.About)
	}
}

func testLastWord(t *testing.T, open Open) {
	s := open(t, soon())
	put(t, s, NewMessage("printer", 10, "a@example.com"))
	settle(t, s, claimOne(t, s, lane), result(message.Uncertain, 0, "no answer"))
	pinned := message.PinnedLane("m365")
	wait(t, s, pinned)
	said := result(message.Failed, 550, "no such user")
	d := settle(t, s, claimOne(t, s, pinned), said)[0]
	if d.Last != said.Reply || d.Reply == d.Last || d.Expired {
		t.Errorf("settled as %+v", d)
	}
}

func testReportExpired(t *testing.T, open Open) {
	cfg := soon()
	cfg.Expire = cfg.Retry[0]
	s := open(t, cfg)
	m := NewMessage("printer", 10, "a@example.com", "b@example.com")
	m.Received = time.Now().Add(-time.Hour)
	put(t, s, m)
	settled, err := s.Sweep(t.Context(), back)
	if err != nil || len(settled) != 2 || settled[0].Report == "" || settled[0].Report != settled[1].Report || !settled[0].Expired {
		t.Fatalf("given up: %+v, %v", settled, err)
	}
	wait(t, s, lane)
	if got, want := text(t, claimOne(t, s, lane).Message.Body), m.ID+" to 2 of 2, 10 octets\r\n"; got != want {
		t.Errorf("the report says %q, want %q", got, want)
	}
}

func testReportReroute(t *testing.T, open Open) {
	s := open(t, Config())
	m := NewMessage("printer", 10, "a@example.com")
	put(t, s, m)
	if _, err := s.Settle(t.Context(), claimOne(t, s, lane), fared(failed), back); err != nil {
		t.Fatal(err)
	}
	err := s.Reroute(t.Context(), func(w queue.Waiting) []string {
		if w.From == m.From {
			return to("other", w)
		}
		return make([]string, len(w.To))
	})
	if err != nil {
		t.Fatal(err)
	}
	wait(t, s, "other")
	if c := claimOne(t, s, "other"); c.Message.About != m.ID {
		t.Errorf("claimed %+v", c.Message)
	}
}

func testReportNotAccepted(t *testing.T, open Open) {
	s := open(t, Config())
	put(t, s, NewMessage("printer", 10, "a@example.com"))
	if _, err := s.Settle(t.Context(), claimOne(t, s, lane), fared(failed), back); err != nil {
		t.Fatal(err)
	}
	accepted := 0
	err := s.Accepted(t.Context(), time.Time{}, func(string, string, time.Time, int) { accepted++ })
	if err != nil || accepted != 1 {
		t.Errorf("%d accepted, %v", accepted, err)
	}
}

func testWarn(t *testing.T, open Open) {
	cfg := Config()
	cfg.WarnAfter = setting.Duration(time.Hour)
	s := open(t, cfg)
	m := NewMessage("printer", 10, "a@example.com", "b@example.com")
	m.Received = time.Now().Add(-2 * time.Hour)
	put(t, s, m)
	fresh := NewMessage("printer", 10, "a@example.com")
	put(t, s, fresh)
	settle(t, s, claimOf(t, s, m.ID), delivered, deferred)
	warned, err := s.Warn(t.Context(), back)
	if err != nil || len(warned) != 1 || warned[0].ID != m.ID || warned[0].Recipient.Local != "b" || warned[0].Last != deferred.Reply {
		t.Fatalf("warned of %+v, %v", warned, err)
	}
	if again, err := s.Warn(t.Context(), back); err != nil || len(again) != 0 {
		t.Errorf("warned once more of %+v, %v", again, err)
	}
}

// claimOf claims what is due until it is that message.
func claimOf(t *testing.T, s queue.Store, id string) *queue.Claim {
	t.Helper()
	for _, c := range claim(t, s, lane, 10) {
		if c.Message.ID == id {
			return c
		}
		if err := s.Return(t.Context(), c, ""); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatalf("%s is not due", id)
	return nil
}

func testWarnNever(t *testing.T, open Open) {
	cfg := Config()
	cfg.WarnAfter = 0
	s := open(t, cfg)
	m := NewMessage("printer", 10, "a@example.com")
	m.Received = time.Now().Add(-24 * time.Hour)
	put(t, s, m)
	settle(t, s, claimOne(t, s, lane), deferred)
	if warned, err := s.Warn(t.Context(), back); err != nil || len(warned) != 0 {
		t.Errorf("warned of %+v, %v", warned, err)
	}
}

func testDigest(t *testing.T, open Open) {
	s := open(t, Config())
	later := func(m *message.Message, settled []queue.Settled) queue.Told { return queue.Told{Digest: []int{1}} }
	var want []string
	for range 3 {
		m := NewMessage("printer", 10, "a@example.com", "b@example.com")
		put(t, s, m)
		want = append(want, m.ID+" b@example.com no such user")
		if _, err := s.Settle(t.Context(), claimOne(t, s, lane), fared(delivered, failed), later); err != nil {
			t.Fatal(err)
		}
	}
	digest := NewMessage("", 0, "it@example.com")
	digest.From, digest.About, digest.Body = message.Address{}, "digest", message.Bytes("three\r\n")
	var got []string
	write := func(failures iter.Seq[queue.Failure]) queue.Report {
		got = nil
		for f := range failures {
			got = append(got, f.ID+" "+f.Recipient.String()+" "+f.Reply.Text)
		}
		return queue.Report{Message: digest, Lane: lane}
	}
	if id, err := s.Digest(t.Context(), time.Hour, write); err != nil || id != "" {
		t.Errorf("digest %q before its time, %v", id, err)
	}
	if id, err := s.Digest(t.Context(), 0, write); err != nil || id != digest.ID || !slices.Equal(got, want) {
		t.Errorf("digest %q of %q, want %q; %v", id, got, want, err)
	}
	if id, err := s.Digest(t.Context(), 0, write); err != nil || id != "" {
		t.Errorf("a second digest %q of nothing, %v", id, err)
	}
	wait(t, s, lane)
	if m := claimOne(t, s, lane).Message; m.About != "digest" || m.ID != digest.ID {
		t.Errorf("claimed %+v", m)
	}
}
