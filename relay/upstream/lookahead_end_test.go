package upstream_test

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"postern/relay/message"
)

// A session that ends while others wait behind it takes none of them along, and
// leaves no more sessions than are allowed.
func TestSessionsThatEndBeneathLookAhead(t *testing.T) {
	s := newServer(t)
	var dots atomic.Int32
	s.fault = func(step, line string) string {
		if step == "DOT" && dots.Add(1)%3 == 0 {
			return drop
		}
		return ""
	}
	set := aheadSet(t, s, 2)
	const n = 120
	var wg sync.WaitGroup
	var uncertain, delivered atomic.Int32
	todo := make(chan int)
	for range 4 {
		wg.Go(func() {
			for i := range todo {
				slots, err := set.Slots(t.Context(), "default", 1)
				if err != nil {
					t.Error(err)
					continue
				}
				results, err := slots[0].Send(t.Context(), marked(i), nil)
				slots[0].Release()
				switch {
				case err == nil && results[0].Outcome == message.Delivered:
					delivered.Add(1)
				case err == nil && results[0].Outcome == message.Uncertain:
					uncertain.Add(1)
				default:
					t.Errorf("message %d: %v, %v", i, results, err)
				}
			}
		})
	}
	for i := range n {
		todo <- i
	}
	close(todo)
	wg.Wait()
	found := marks(s.got())
	slices.Sort(found)
	if len(slices.Compact(found)) != n || delivered.Load()+uncertain.Load() != n || uncertain.Load() != n/3 {
		t.Errorf("%d delivered, %d uncertain, %d mails", delivered.Load(), uncertain.Load(), len(found))
	}
}
