package queue

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"postern/relay/message"
)

// A message is found by terms: words that the index keeps as they are.
//
//	a:printer-3f            its account
//	s:scan@example.com      its sender, "s:" the null one
//	r:boss@example.com      each recipient
//	i:9f3a2                 each queue id of an upstream
//	state:failed            each state of its recipients but sending
//	t20:1a2b3               spans of time it was received in
//	550 5.1.1 mailbox       each word of each reply
//
// What a term cannot hold becomes "_" in it. Whoever was found by such a term is
// compared with what was really asked for.

// connectors are what terms consist of beside letters and digits.
const connectors = "@._+-=:"

// maxTerm bounds a term, in octets, and maxTerms how many a message has: what lies
// beyond is not found by its words.
const (
	maxTerm  = 100
	maxTerms = 5000
)

// terms are a set of them.
type terms map[string]bool

func (t terms) add(term string) {
	if len(t) < maxTerms {
		t[term] = true
	}
}

// text is how terms are given to the index.
func (t terms) text() string { return strings.Join(slices.Collect(maps.Keys(t)), " ") }

// message adds what is known of a message from its beginning.
func (t terms) message(account, sender string, received int64) {
	t.add(field("a", account))
	t.add(field("s", sender))
	for _, span := range spans(received) {
		t.add(span)
	}
}

// delivery adds where one stands.
func (t terms) delivery(recipient string, state State, remoteID string) {
	t.add(field("r", recipient))
	if state != Sending { // which begins and ends without a word
		t[field("state", string(state))] = true // of these there are few
	}
	if remoteID != "" {
		t.add(field("i", remoteID))
	}
}

// event adds the words of what was said in an event, given as it is kept.
func (t terms) event(detail string) {
	var e struct {
		Results []struct{ Reply message.Reply }
	}
	if !strings.Contains(detail, `"results"`) || json.Unmarshal([]byte(detail), &e) != nil {
		return
	}
	for _, r := range e.Results {
		for _, word := range words(r.Reply.String()) {
			t.word(word)
		}
	}
}

// word adds one, and what it is connected of: mail.example.com is found by
// example.com and by mail too.
func (t terms) word(word string) {
	t.add(word)
	for i, c := range word {
		if rest := strings.TrimLeft(word[i:], connectors); strings.ContainsRune(connectors, c) && rest != "" {
			t.add(rest)
		}
	}
	for part := range strings.FieldsFuncSeq(word, func(c rune) bool { return strings.ContainsRune(connectors, c) }) {
		t.add(part)
	}
}

// field is the term for a value of that kind.
func field(kind, value string) string {
	return cut(kind + ":" + strings.Map(func(c rune) rune {
		if c == utf8.RuneError || c < utf8.RuneSelf && !isWord(c) && !strings.ContainsRune(connectors, c) {
			return '_'
		}
		return c
	}, lower(value)))
}

// lower is as COLLATE NOCASE compares: other than ASCII stays as it is.
func lower(s string) string {
	return strings.Map(func(c rune) rune {
		if 'A' <= c && c <= 'Z' {
			return c + 'a' - 'A'
		}
		return c
	}, s)
}

func isWord(c rune) bool { return unicode.IsLetter(c) || unicode.IsDigit(c) || unicode.IsMark(c) }

// words are those of a text, in small letters, each once: letters and digits, with
// what connects them.
func words(text string) (all []string) {
	const within = "@._-"
	seen := terms{}
	for word := range strings.FieldsFuncSeq(strings.ToLower(text), func(c rune) bool {
		return c == utf8.RuneError || !isWord(c) && !strings.ContainsRune(within, c)
	}) {
		if word = cut(strings.Trim(word, within)); word != "" && !seen[word] {
			seen[word], all = true, append(all, word)
		}
		if len(all) == maxTerms {
			break
		}
	}
	return all
}

// cut makes a term no longer than it may be.
func cut(term string) string {
	if len(term) <= maxTerm {
		return term
	}
	return strings.ToValidUTF8(term[:maxTerm], "")
}

// Spans of time are of 2^20 ms (17 minutes), of four times that, and so on to
// those of 35 years.
const (
	firstSpan = 20
	lastSpan  = 40
)

// spans are the terms of all spans a time lies in.
func spans(ms int64) (all []string) {
	for size := firstSpan; size <= lastSpan; size += 2 {
		all = append(all, span(size, ms>>size))
	}
	return all
}

func span(size int, n int64) string { return fmt.Sprintf("t%d:%x", size, n) }

// between are the fewest spans that together hold all times since then and before
// until, and at their ends a little more. A zero time is no end.
func between(since, until time.Time) (all []string) {
	from, to := int64(0), int64(1)<<(lastSpan+2)-1 // until 2109
	if !since.IsZero() {
		from = min(max(from, since.UnixMilli()), to)
	}
	if !until.IsZero() {
		to = min(max(from, until.UnixMilli()), to)
	}
	from, to = from>>firstSpan, to>>firstSpan+1
	for size := firstSpan; from < to; size += 2 {
		for ; from < to && (from&3 != 0 || size == lastSpan); from++ {
			all = append(all, span(size, from))
		}
		for ; from < to && to&3 != 0; to-- {
			all = append(all, span(size, to-1))
		}
		from, to = from>>2, to>>2
	}
	return all
}

// terms are those that what matches has, as FTS5 takes them; "" when none are known.
func (f Filter) terms() string {
	var all []string
	one := func(terms ...string) {
		for i := range terms {
			terms[i] = `"` + terms[i] + `"` // they hold none
		}
		all = append(all, "("+strings.Join(terms, " OR ")+")")
	}
	for kind, value := range map[string]string{"a": f.Account, "r": f.Recipient, "i": f.RemoteID} {
		if value != "" {
			one(field(kind, value))
		}
	}
	if f.Sender != "" {
		one(field("s", strings.TrimPrefix(f.Sender, "<>")))
	}
	var states []string
	for _, s := range f.States {
		if s != Sending {
			states = append(states, field("state", string(s)))
		}
	}
	if states != nil {
		one(states...)
	}
	for _, word := range words(f.Reply) {
		one(word)
	}
	if !f.Since.IsZero() || !f.Until.IsZero() {
		one(between(f.Since, f.Until)...)
	}
	return strings.Join(all, " AND ")
}
