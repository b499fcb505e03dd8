package queue_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"postern/metrics"
	"postern/relay/message"
	"postern/relay/queue"
	"postern/relay/queue/queuetest"
)

// columns are all that is kept of a message that waits, by the kind of their
// values; but for the number of a message, which its other rows are found by.
var columns = map[string]map[string]string{
	"messages": {"id": "text", "account": "text", "received": "int", "sender": "text", "envelope": "text", "client": "text", "size": "int",
		"damaged": "text", "finished": "int", "kept": "int", "about": "text", "warned": "int", "sought": "int"},
	"contents": {"message": "int", "header": "blob", "header_sum": "int", "body": "blob", "file": "text", "body_size": "int", "body_sum": "int",
		"eight_bit": "int", "made": "text"},
	"deliveries": {"message": "int", "n": "int", "recipient": "text", "parameters": "text", "account": "text", "lane": "text", "state": "text",
		"upstream": "text", "owner": "text", "attempts": "int", "next_at": "int", "reply": "text", "remote_id": "text"},
}

// spoilt are values that no one wrote there: some that break things, some drawn.
func spoilt(kind string) []any {
	switch kind {
	case "int":
		return []any{int64(-1), int64(1 << 62), int64(-1 << 63), rand.Int64(), -rand.Int64(), nil}
	case "blob":
		return []any{[]byte{}, []byte("\r\n\r\n"), queuetest.Octets(1 + rand.IntN(200)), nil}
	}
	return []any{"", "[", "{}", "null", `{"Account":7}`, "@", "upstream:", "a/b,c+", "../queue.db", "\x00\xff", string(queuetest.Octets(1 + rand.IntN(200)))}
}

// A row may hold anything in any column: the store opens, does all it does, and
// every other message goes on.
func TestAnyDamageOfARowIsOnlyItsOwn(t *testing.T) {
	cfg := queuetest.Config()
	cfg.WarnAfter = cfg.Retry[0]
	for table, kinds := range columns {
		for column, kind := range kinds {
			t.Run(table+"."+column, func(t *testing.T) {
				t.Parallel()
				var bad []string
				var good *message.Message
				spoil := func(s *queue.SQLite) {
					for _, value := range spoilt(kind) {
						m := queuetest.NewMessage("printer", 10, "a@example.com", "b@example.com")
						m.Received = m.Received.Add(-time.Hour) // due for a warning
						if _, err := queuetest.Put(t.Context(), s, m, "office", ""); err != nil {
							t.Fatal(err)
						}
						bad = append(bad, m.ID)
						key := "message"
						if table == "messages" {
							key = "n"
						}
						err := s.Exec(fmt.Sprintf(`UPDATE OR IGNORE %s SET %s = ? WHERE %s = (SELECT n FROM messages WHERE id = ?)`, table, column, key), value, m.ID)
						if err != nil && value != nil { // some columns are never NULL
							t.Fatal(err)
						}
					}
					good = queuetest.NewMessage("other", 10, "a@example.com")
					if _, err := queuetest.Put(t.Context(), s, good, "office", ""); err != nil {
						t.Fatal(err)
					}
				}
				goesOn(t, reopened(t, t.TempDir(), cfg, metrics.New("test", ""), spoil), bad, good.ID)
			})
		}
	}
}

// goesOn has the store do all it does.
func goesOn(t *testing.T, s *queue.SQLite, bad []string, good string) {
	t.Helper()
	must := func(what string, err error) {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	stay := func(w queue.Waiting) []string {
		w.Read() // what it says of damage is not our matter
		return slices.Repeat([]string{"office"}, len(w.To))
	}
	must("reroute", s.Reroute(t.Context(), stay))
	_, err := s.Lanes(t.Context())
	must("lanes", err)
	_, err = s.Numbers(t.Context())
	must("numbers", err)
	_, err = s.List(t.Context(), queue.Filter{All: true})
	must("list", err)
	for _, id := range bad {
		if _, err := s.Show(t.Context(), id); !errors.Is(err, queue.ErrNotFound) {
			must("show", err)
		}
	}
	must("accepted", s.Accepted(t.Context(), time.Now().Add(-time.Hour), func(string, string, time.Time, int) {}))
	delivered := false
	for range len(bad) + 2 {
		claims, err := s.Claim(t.Context(), "office", "m365", 4, 0)
		must("claim", err)
		for _, c := range claims {
			outcomes := slices.Repeat([]queue.Outcome{{Result: message.Result{Outcome: message.Deferred}}}, len(c.Message.To))
			if c.Message.ID == good {
				delivered, outcomes[0].Outcome = true, message.Delivered
			}
			_, err := s.Settle(t.Context(), c, outcomes, nil)
			must("settle", err)
		}
	}
	if !delivered {
		t.Error("the other message was not claimed")
	}
	_, err = s.Warn(t.Context(), tellBack)
	must("warn", err)
	_, err = s.Sweep(t.Context(), tellBack)
	must("sweep", err)
	must("fill", s.Fill(t.Context()))
	_, err = s.Search(t.Context(), queue.Filter{All: true, Account: "other", Reply: "any"})
	must("search", err)
	_, err = s.Act(t.Context(), queue.Order{Do: queue.Retry, IDs: bad, By: "test"}, stay)
	must("retry", err)
	_, err = s.Act(t.Context(), queue.Order{Do: queue.Drop, IDs: bad, By: "test"}, stay)
	must("drop", err)
	if s.Err() != nil {
		t.Error(s.Err())
	}
}
