package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/diff"

	"postern/relay"
)

// printExplanation tells the story from MAIL to the last upstream of the route.
func printExplanation(w io.Writer, e *relay.Explanation) {
	for _, to := range e.To {
		switch {
		case to.Refused != nil:
			fmt.Fprintf(w, "to %s: refused: %s\n", path(to.Given), clean(to.Refused.String()))
		case to.Becomes != to.Given:
			fmt.Fprintf(w, "to %s: goes to %s\n", path(to.Given), path(to.Becomes))
		default:
			fmt.Fprintf(w, "to %s: allowed\n", path(to.Given))
		}
	}
	if e.Refused != nil {
		fmt.Fprintf(w, "refused at %s: %s\n", e.At, clean(e.Refused.String()))
		return
	}
	fmt.Fprintf(w, "from %s: accepted for %s\n", path(e.From), e.Route)
	for _, key := range slices.Sorted(maps.Keys(e.Limits)) {
		fmt.Fprintf(w, "limit: %s (%s)\n", e.Limits[key], key)
	}
	fmt.Fprintln(w, "\nwhen it is accepted")
	printChanges(w, e.Changes)
	printDiff(w, "given", e.Given, "accepted", e.Kept)
	for _, u := range e.Upstreams {
		printThrough(w, e, u)
	}
}

// printThrough tells what one upstream would be given.
func printThrough(w io.Writer, e *relay.Explanation, u relay.Through) {
	fmt.Fprintf(w, "\nthrough %s\n", u.Upstream)
	if u.Refused != "" {
		fmt.Fprintf(w, "  not sent: %s\n", clean(u.Refused))
		return
	}
	fmt.Fprintf(w, "  from %s\n", path(u.From))
	for _, to := range u.To {
		fmt.Fprintf(w, "  to %s\n", path(to))
	}
	printChanges(w, u.Changes)
	printDiff(w, "accepted", e.Kept, u.Upstream, u.Header)
}

func printChanges(w io.Writer, changes []relay.Change) {
	if len(changes) == 0 {
		fmt.Fprintln(w, "  nothing is changed")
	}
	for _, c := range changes {
		fmt.Fprintf(w, "  %s", c.Rule)
		if c.Line > 0 {
			fmt.Fprintf(w, " (line %d)", c.Line)
		}
		fmt.Fprintf(w, ": %s %q -> %q\n", c.Field, c.Before, c.After)
	}
}

// printDiff shows how a header changes, nothing if it does not.
func printDiff(w io.Writer, before, old, after, new string) {
	lines := func(s string) []byte { return []byte(strings.ReplaceAll(s, "\r\n", "\n")) }
	for line := range strings.Lines(string(diff.Diff(before, lines(old), after, lines(new)))) {
		if !strings.HasPrefix(line, "diff ") {
			fmt.Fprintf(w, "  %s\n", clean(strings.TrimSuffix(line, "\n")))
		}
	}
}
