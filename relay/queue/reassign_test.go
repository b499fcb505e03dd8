package queue_test

import (
	"testing"

	"postern/metrics"
	"postern/relay/message"
	"postern/relay/queue"
	"postern/relay/queue/queuetest"
)

// What was passed on to another upstream may have left by that one.
func TestAReassignedClaimIsUncertainByItsNewUpstream(t *testing.T) {
	var id string
	s := reopened(t, t.TempDir(), queuetest.Config(), metrics.New("test", ""), func(s *queue.SQLite) {
		c := putClaimed(t, s)
		id = c.Message.ID
		if err := s.Reassign(t.Context(), c, "backup"); err != nil || c.Upstream != "backup" {
			t.Fatal(c.Upstream, err)
		}
	})
	e, err := s.Show(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if d := e.Deliveries[0]; d.Upstream != "backup" || d.Lane != message.PinnedLane("backup") {
		t.Errorf("delivery %+v", d)
	}
}

func TestAReassignedClaimSettlesByItsNewUpstream(t *testing.T) {
	s := openIn(t, t.TempDir(), queuetest.Config())
	c := putClaimed(t, s)
	if err := s.Reassign(t.Context(), c, "backup"); err != nil {
		t.Fatal(err)
	}
	settled, err := s.Settle(t.Context(), c, []message.Result{{Outcome: message.Uncertain}}, nil)
	if err != nil || settled[0].Upstream != "backup" || settled[0].Lane != message.PinnedLane("backup") {
		t.Errorf("%+v, %v", settled, err)
	}
	if err := s.Reassign(t.Context(), c, "m365"); err == nil {
		t.Error("a claim that has ended is reassigned")
	}
}
