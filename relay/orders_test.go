package relay

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"postern/relay/queue"
)

// busy is a queue to which messages come whenever somebody looks.
type busy struct {
	queue.Store
	ids []string // in order
}

func (b *busy) List(_ context.Context, f queue.Filter) ([]queue.Entry, error) {
	at := len(b.ids)
	if f.After != "" {
		at = slices.Index(b.ids, f.After)
	}
	for range f.Limit {
		b.ids = append(b.ids, fmt.Sprintf("%06d", len(b.ids)))
	}
	if !f.Newest || len(b.ids) > 20*f.Limit {
		return nil, fmt.Errorf("asked for more than there was after %d messages", len(b.ids))
	}
	var page []queue.Entry
	for _, id := range slices.Backward(b.ids[max(0, at-f.Limit):at]) {
		page = append(page, queue.Entry{ID: id})
	}
	return page, nil
}

func TestAnOrderIsForWhatWasThereWhenItWasGiven(t *testing.T) {
	b := new(busy)
	for i := range 2500 {
		b.ids = append(b.ids, fmt.Sprintf("%06d", i))
	}
	want := slices.Clone(b.ids)
	got, err := (&Relay{queue: b}).meant(t.Context(), Order{All: true})
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v; %d messages of %d", err, len(got), len(want))
	}
}
