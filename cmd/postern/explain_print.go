package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/diff"

	"postern/relay"
)

// width is how wide our own words are at most. What is the message's is not
// broken.
const width = 80

// printExplanation tells the story from MAIL to the last upstream of the route.
func printExplanation(w io.Writer, sub relay.Submission, e *relay.Explanation) {
	who := sub.Account
	if sub.User != "" {
		who = fmt.Sprintf("%s, by account %s", clean(sub.User), who)
	}
	printFact(w, "account", fmt.Sprintf("%s, from %s", who, sub.Address))
	printFact(w, "sender", becomes(path(sub.From.String()), path(e.From)))
	for _, to := range e.To {
		if to.Refused != nil {
			printFact(w, "to", path(to.Given)+" refused: "+clean(to.Refused.String()))
		} else {
			who := becomes(path(to.Given), path(to.Becomes))
			if len(e.Routes) > 1 {
				who += ", by route " + to.Route
			}
			printFact(w, "to", who)
		}
	}
	if e.Refused != nil {
		printFact(w, "refused", fmt.Sprintf("at %s: %s", e.At, clean(e.Refused.String())))
	} else {
		printFact(w, "accepted", "for route "+strings.Join(e.Routes, ", "))
	}
	for _, key := range slices.Sorted(maps.Keys(e.Limits)) {
		printFact(w, "limit", fmt.Sprintf("%s (%s)", e.Limits[key], key))
	}
	if e.Refused == nil || len(e.Changes) > 0 {
		fmt.Fprintln(w, "\nUntil it is", map[bool]string{true: "accepted", false: "refused"}[e.Refused == nil])
		printChanges(w, e.Changes)
		printDiff(w, e.Given, cmp.Or(e.Kept, e.Given))
	}
	for _, u := range e.Upstreams {
		printThrough(w, e, u)
	}
}

// becomes is before, and after if that is another.
func becomes(before, after string) string {
	if before == after {
		return before
	}
	return before + " -> " + after
}

// printFact writes text behind its name, in lines of a terminal's width.
func printFact(w io.Writer, name, text string) {
	const indent = 10
	line := fmt.Sprintf("%-*s", indent-1, name)
	for word := range strings.FieldsSeq(text) {
		if utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width && strings.TrimSpace(line) != "" {
			fmt.Fprintln(w, line)
			line = strings.Repeat(" ", indent-1)
		}
		line += " " + word
	}
	fmt.Fprintln(w, line)
}

// printThrough tells what one upstream would be given.
func printThrough(w io.Writer, e *relay.Explanation, u relay.Through) {
	fmt.Fprintf(w, "\nThrough %s%s\n", u.Upstream, rank(e, u))
	if u.Refused != "" {
		printFact(w, "  not sent", clean(u.Refused))
		return
	}
	if u.From != e.From {
		printFact(w, "  sender", path(u.From))
	}
	printChanges(w, u.Changes)
	printDiff(w, e.Kept, withoutSignatures(u.Header))
}

// rank says when an upstream serves, where there is more than one.
func rank(e *relay.Explanation, u relay.Through) string {
	var parts []string
	if len(e.Routes) > 1 {
		parts = append(parts, "route "+u.Route)
	}
	var beside, before []string
	for _, other := range e.Upstreams {
		switch {
		case other.Route != u.Route || other.Refused != "" || other.Upstream == u.Upstream:
		case other.Choice == u.Choice:
			beside = append(beside, other.Upstream)
		case other.Choice < u.Choice:
			before = append(before, other.Upstream)
		}
	}
	if len(beside) > 0 {
		parts = append(parts, "in turns with "+strings.Join(beside, ", "))
	}
	if len(before) > 0 && u.Refused == "" {
		parts = append(parts, "while "+strings.Join(before, ", ")+" cannot")
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, "; ") + ")"
}

// withoutSignatures is a header without the DKIM signatures on top of it, which
// are told of among the changes and are no good for any other message.
func withoutSignatures(header string) string {
	for strings.HasPrefix(header, "DKIM-Signature:") {
		_, rest, more := strings.Cut(header, "\r\n")
		for more && (strings.HasPrefix(rest, " ") || strings.HasPrefix(rest, "\t")) {
			_, rest, more = strings.Cut(rest, "\r\n")
		}
		header = rest
	}
	return header
}

// printChanges is a line for each: where the configuration asks for it, the
// rule, and what it does.
func printChanges(w io.Writer, changes []relay.Change) {
	if len(changes) == 0 {
		fmt.Fprintln(w, "  nothing is changed")
	}
	for _, c := range changes {
		where := ""
		if c.Line > 0 {
			where = fmt.Sprintf(" (line %d)", c.Line)
		}
		what := "= " + c.After
		switch {
		case c.After == "":
			what = "removed: " + c.Before
		case c.Before != "":
			what = c.Before + " -> " + c.After
		}
		fmt.Fprintln(w, clipped(fmt.Sprintf("  %s%s: %s %s", c.Rule, where, c.Field, clean(what))))
	}
}

// clipped is a line cut to the width of a terminal. --json has all of it.
func clipped(line string) string {
	if r := []rune(line); len(r) > width {
		return string(r[:width-3]) + "..."
	}
	return line
}

// printDiff shows how a header changes, nothing if it does not.
func printDiff(w io.Writer, before, after string) {
	text := func(s string) []byte { return []byte(strings.ReplaceAll(s, "\r\n", "\n")) }
	changed := string(diff.Diff("", text(before), "", text(after)))
	if _, hunks, ok := strings.Cut(changed, "\n@@"); ok {
		fmt.Fprintln(w)
		for line := range strings.Lines("@@" + hunks) {
			if !strings.HasPrefix(line, "@@") {
				fmt.Fprintf(w, "  %s\n", clean(strings.ReplaceAll(strings.TrimSuffix(line, "\n"), "\t", "    ")))
			}
		}
	}
}
