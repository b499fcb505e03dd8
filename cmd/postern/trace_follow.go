package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"postern/relay/queue"
)

// Every so often the store is looked at again.
const followEvery = 500 * time.Millisecond

// again waits for the next look; false when there is none.
func again(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(followEvery):
		return true
	}
}

// followOne tells each step of a message as it is made, until the last.
func (t tracing) followOne(ctx context.Context, id string) error {
	told := 0
	for {
		e, err := t.show(ctx, id)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if told == 0 && !t.json {
			t.story.head(e)
		}
		for _, event := range e.History[told:] {
			if err := t.event(e, event); err != nil {
				return err
			}
		}
		told = len(e.History)
		if !e.Finished.IsZero() || !again(ctx) {
			return nil
		}
	}
}

// event is one step, as text or as a line of JSON.
func (t tracing) event(e *queue.Entry, event queue.Event) error {
	if t.json {
		return json.NewEncoder(t.std.out).Encode(eventView{event.At.UTC(), event.What, event})
	}
	t.story.event(e, event)
	return nil
}

// watched is how many messages that have not ended are looked at each time.
const watched = 1000

// following is the live tail of all messages that match.
type following struct {
	tracing
	filter queue.Filter
	last   string            // the newest message seen
	open   map[string]string // where those stand that have not ended, by id
}

// followAll tells of each recipient whose state has changed, until ctx ends.
func (t tracing) followAll(ctx context.Context, f queue.Filter) error {
	follow := following{tracing: t, filter: f, open: map[string]string{}}
	err := follow.begin(ctx)
	for err == nil && again(ctx) {
		if err = follow.changes(ctx); err == nil {
			err = follow.news(ctx)
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// begin notes what is there.
func (f *following) begin(ctx context.Context) error {
	waiting, err := f.store.List(ctx, queue.Filter{Newest: true, Limit: watched})
	if err != nil {
		return err
	}
	for i := range waiting {
		f.open[waiting[i].ID] = standing(&waiting[i])
	}
	newest, err := f.store.Search(ctx, queue.Filter{All: true, Newest: true, Limit: 1})
	if len(newest.Entries) > 0 {
		f.last = newest.Entries[0].ID
	}
	return err
}

// changes tells of those that were there.
func (f *following) changes(ctx context.Context) error {
	for _, id := range slices.Sorted(maps.Keys(f.open)) {
		found, err := f.store.Search(ctx, queue.Filter{All: true, ID: id})
		if err != nil {
			return err
		}
		if len(found.Entries) == 0 {
			delete(f.open, id)
			continue
		}
		if err := f.tell(ctx, &found.Entries[0]); err != nil {
			return err
		}
	}
	return nil
}

// news tells of those that have come.
func (f *following) news(ctx context.Context) error {
	for {
		page, err := f.store.Search(ctx, queue.Filter{All: true, After: f.last, Limit: watched})
		if err != nil || len(page.Entries) == 0 {
			return err
		}
		for i := range page.Entries {
			if f.last = page.Entries[i].ID; len(f.open) < watched {
				f.open[f.last] = ""
			}
			if err := f.tell(ctx, &page.Entries[i]); err != nil {
				return err
			}
		}
	}
}

// tell is a line if a message stands elsewhere than before, and matches.
func (f *following) tell(ctx context.Context, e *queue.Entry) error {
	before, known := f.open[e.ID]
	now := standing(e)
	if known {
		f.open[e.ID] = now
	}
	if !e.Finished.IsZero() {
		delete(f.open, e.ID)
	}
	if now == before {
		return nil
	}
	one := f.filter
	one.ID = e.ID
	found, err := f.store.Search(ctx, one)
	if err != nil || len(found.Entries) == 0 {
		return err
	}
	return f.line(*e)
}

// standing is how far a message is.
func standing(e *queue.Entry) (s string) {
	for _, d := range e.Deliveries {
		s += fmt.Sprint(d.State, d.Attempts, " ")
	}
	return s
}

// line is where a message stands now.
func (t tracing) line(e queue.Entry) error {
	if t.json {
		return json.NewEncoder(t.std.out).Encode(view(&e))
	}
	for _, d := range e.Deliveries {
		fmt.Fprintf(t.std.out, "%s  %s  %-9s  %s -> %s", time.Now().Format(time.TimeOnly), e.ID, d.State, path(e.From.String()), path(d.Recipient.Address.String()))
		if said := clean(d.Reply.String()); said != "" {
			fmt.Fprintf(t.std.out, "; %s: %s", d.Upstream, short(said))
		}
		fmt.Fprintln(t.std.out)
	}
	return nil
}
