package queue_test

import (
	"strings"
	"testing"

	"postern/metrics"
	"postern/relay/message"
	"postern/relay/queue"
	"postern/relay/queue/queuetest"
)

// A process that dies between the transactions of one message leaves uncertain
// only those of the one that was under way: not those that wait for the next, nor
// those that were just about to go on by another upstream.
func TestOnlyTheTransactionUnderWayIsUncertain(t *testing.T) {
	var id string
	s := reopened(t, t.TempDir(), queuetest.Config(), metrics.New("test", ""), func(s *queue.SQLite) {
		m := queuetest.NewMessage("printer", 10, "1@example.com", "2@example.com", "3@example.com", "4@example.com")
		id = m.ID
		if _, err := queuetest.Put(t.Context(), s, m, "office", ""); err != nil {
			t.Fatal(err)
		}
		claims, err := s.Claim(t.Context(), "office", "m365", 1, 2)
		if err != nil || len(claims) != 1 {
			t.Fatal(claims, err)
		}
		_, err = s.Settle(t.Context(), claims[0], []queue.Outcome{
			{Result: message.Result{Outcome: message.Delivered}},
			{Result: message.Result{Outcome: message.Failed, Reply: message.Reply{Code: 554, Text: "SendAsDenied"}}, GoesOn: true, Lane: "office/ses"},
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if claims, err = s.Claim(t.Context(), "office", "m365", 1, 1); err != nil || len(claims) != 1 { // and then it dies
			t.Fatal(claims, err)
		}
	})
	e, err := s.Show(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range e.Deliveries {
		got = append(got, string(d.State)+" "+d.Lane)
	}
	want := "delivered office, queued office/ses, uncertain upstream:m365, queued office"
	if strings.Join(got, ", ") != want {
		t.Errorf("left are %q, want %q", strings.Join(got, ", "), want)
	}
	for lane, n := range map[string]int{"office/ses": 1, "office": 1} {
		if claims, err := s.Claim(t.Context(), lane, "ses", 10, 0); err != nil || len(claims) != n {
			t.Errorf("%d claims in %s, %v", len(claims), lane, err)
		}
	}
}
