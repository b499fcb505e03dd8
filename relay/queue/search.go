package queue

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"
)

// freshReach is how many of the messages that the index does not know a search
// looks at, the newest. After a busy minute there are a few thousand; more while
// a store of an earlier version is filled in, or where mail comes for long faster
// than the index follows.
const freshReach = 3000

// maxWords bounds how many words of a reply are looked for at once.
const maxWords = 50

// wordsWrong says why a reply cannot be looked for; nil when it can.
func (f Filter) wordsWrong() error {
	switch n := len(words(f.Reply)); {
	case f.Reply != "" && n == 0:
		return errors.New("there is no word to look for in that reply; words consist of letters and digits")
	case n > maxWords:
		return fmt.Errorf("at most %d words of a reply can be looked for; leave out the common ones", maxWords)
	}
	return nil
}

// Search implements Reader. What the index knows is found by its terms; the rest is
// looked at one by one.
func (r *reader) Search(ctx context.Context, f Filter) (found Found, err error) {
	if err := f.wordsWrong(); err != nil {
		return found, err
	}
	var all []row
	for _, w := range r.walks(f) {
		some, err := r.walk(ctx, f, w)
		if err != nil {
			return found, err
		}
		all = append(all, some...)
	}
	if found.Entries, err = r.withDeliveries(ctx, f.page(all), nil); err != nil || f.ID != "" {
		return found, err
	}
	found.Reach, err = r.horizon(ctx)
	return found, err
}

// page is the first of what several walks found, each once.
func (f Filter) page(rows []row) []row {
	slices.SortFunc(rows, func(a, b row) int {
		if f.Newest {
			a, b = b, a
		}
		return cmp.Compare(a.key, b.key)
	})
	rows = slices.CompactFunc(rows, func(a, b row) bool { return a.key == b.key })
	return rows[:min(len(rows), f.limit())]
}

// walks are those that together find all that matches.
func (r *reader) walks(f Filter) []walk {
	match := f.terms()
	switch {
	case f.ID != "":
		return []walk{newWalk("messages m", "m.n").check(f.Reply)}
	case r.unindexed:
		return []walk{newWalk("messages m", "m.n").and("m.n > (SELECT max(n) FROM messages) - ?", freshReach).check(f.Reply)}
	case match == "" && len(f.States) == 0:
		return []walk{newWalk("messages m", "m.n")}
	}
	all := []walk{newWalk("messages m INDEXED BY messages_unsought", "m.n").
		and("m.sought = 0 AND m.n > coalesce(" + boundary + ", -1)").check(f.Reply)}
	if !slices.Equal(f.States, []State{Sending}) {
		all = append(all, newWalk("search CROSS JOIN messages m ON m.n = search.rowid", "search.rowid").
			and("search MATCH ?", match).and("m.sought = 1"))
	}
	if slices.Contains(f.States, Sending) { // for which no term stands, and which are few
		all = append(all, newWalk("messages m", "m.n").check(f.Reply).
			and("m.n IN (SELECT message FROM deliveries INDEXED BY deliveries_rest WHERE state = 'sending' AND state IN ('sending','held'))"))
	}
	return all
}

// boundary is the newest message that is not looked at; NULL when all are.
var boundary = "(SELECT n FROM messages INDEXED BY messages_unsought WHERE sought = 0 ORDER BY n DESC LIMIT 1 OFFSET " + encode(freshReach) + ")"

// horizon is Found.Reach.
func (r *reader) horizon(ctx context.Context) (time.Time, error) {
	query := "SELECT received FROM messages WHERE n = " + boundary
	if r.unindexed {
		query = "SELECT received FROM messages WHERE n = (SELECT max(n) FROM messages) - " + encode(freshReach)
	}
	var received int64
	err := r.db.QueryRowContext(ctx, query).Scan(&received)
	if errors.Is(err, sql.ErrNoRows) {
		return time.Time{}, nil
	}
	return fromMillis(received), err
}
