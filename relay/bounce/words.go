package bounce

import (
	"fmt"
	"io"
	"mime"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html/charset"

	"postern/relay/message"
)

// tell is the part for people, who know nothing of mail servers: to whom, which
// message, why, what to do; and last what the server said, for those who do.
func (a Author) tell(r Report) string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	groups := a.group(r.Cases)
	for i, g := range groups {
		if i > 0 {
			say("")
		}
		say("%s\n", wrap(opening(r.Action, g), ""))
		for _, c := range g.cases {
			say("    %s", readable(c.Address.String(), maxLine))
		}
		a.reasons(say, r, g)
	}
	say("")
	say("%s", wrap("This is about your message "+called(r.Original)+".", ""))
	if r.Action != Relayed {
		say("\n%s", wrap("Other people you may have sent it to are not affected: only those above.", ""))
	}
	a.small(say, r, groups)
	return strings.ReplaceAll(b.String(), "\n", "\r\n")
}

// group is recipients to whom the same has happened.
type group struct {
	meaning
	cases []Case
}

// group brings together what has one meaning, in the order of the first of each.
func (a Author) group(cases []Case) []group {
	var groups []group
	for _, c := range cases {
		m := a.meaning(c)
		i := slices.IndexFunc(groups, func(g group) bool { return g.meaning == m && g.cases[0].Expired == c.Expired })
		if i < 0 {
			i = len(groups)
			groups = append(groups, group{meaning: m})
		}
		groups[i].cases = append(groups[i].cases, c)
	}
	return groups
}

// opening is what has happened.
func opening(action Action, g group) string {
	switch {
	case action == Delayed:
		return "Your message has not been delivered yet to:"
	case action == Relayed:
		return "Your message has been passed on to the mail server that is next on its way to:"
	case g.cases[0].Uncertain:
		return "Your message may not have been delivered to:"
	}
	return "Your message could not be delivered to:"
}

// reasons are why, and what to do.
func (a Author) reasons(say func(string, ...any), r Report, g group) {
	c := g.cases[0]
	switch {
	case r.Action == Relayed:
		say("\n%s", wrap("That server does not tell us when a message arrives, so this is the last that you hear of it unless something goes wrong.", ""))
		return
	case r.Action == Delayed:
		say("\nWhy\n%s", wrap(g.what, "    "))
		todo := "Nothing. Please do not send it again: we keep trying"
		if !c.Until.IsZero() {
			todo += " until " + clock(c.Until)
		}
		say("\nWhat you can do\n%s", wrap(todo+". If it cannot be delivered by then, you will get another message like this.", "    "))
		return
	case c.Expired && !c.Uncertain:
		say("\nWhy\n%s", wrap("We have tried for "+span(r.At.Sub(r.Original.Received))+" and have now given up. "+g.what, "    "))
	default:
		say("\nWhy\n%s", wrap(g.what, "    "))
	}
	if g.todo != "" {
		say("\nWhat you can do\n%s", wrap(g.todo, "    "))
	}
}

// maxSaid is how many different replies are quoted for people. All are in the part
// for programs.
const maxSaid = 5

// small is the small print, for those who are asked for help: it may be technical.
func (a Author) small(say func(string, ...any), r Report, groups []group) {
	say("\n--\nFor whoever helps you:\n")
	said := map[string]bool{}
	for _, g := range groups {
		if g.hint != "" {
			say("%s\n", wrap("What helps: "+g.hint, ""))
		}
		for _, c := range g.cases {
			line := readable(c.Reply.String(), maxReply)
			if line == "" || said[line] || len(said) == maxSaid {
				continue
			}
			said[line] = true
			if c.Reply.Code == 0 || c.Remote == "" {
				say("%s", wrap(line, "    "))
			} else {
				say("%s said:\n%s", c.Remote, wrap(line, "    "))
			}
		}
	}
	say("\n%s", wrap(fmt.Sprintf("Message %s at %s, received %s.", r.Original.ID, a.Hostname, clock(r.Original.Received)), ""))
	if !a.Postmaster.IsNull() {
		say("%s", wrap("Questions go to "+a.Postmaster.String()+".", ""))
	}
}

// called is how a person knows a message: by its subject, and when it was sent.
func called(m *message.Message) string {
	when := "of " + clock(m.Received)
	subject := readable(decoded(m.Header.Get("Subject")), 200)
	if subject == "" {
		return when
	}
	return "\"" + subject + "\" " + when
}

// decoded is an unstructured field as people read it (RFC 2047).
func decoded(value string) string {
	decoder := mime.WordDecoder{CharsetReader: func(name string, r io.Reader) (io.Reader, error) {
		return charset.NewReaderLabel(name, r)
	}}
	text, err := decoder.DecodeHeader(value)
	if err != nil {
		return value
	}
	return text
}

// readable is s in one line that can do no harm on a screen: no control
// characters, and none that turn the direction of what follows.
func readable(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case r == utf8.RuneError || !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit-3], "") + "..."
	}
	return s
}

// clock is a time as a person writes it.
func clock(t time.Time) string { return t.Format("2 January 2006, 15:04 MST") }

// span is a time somebody has waited, in its largest unit.
func span(d time.Duration) string {
	for _, unit := range []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
		if n := int(d / unit.of); n > 1 {
			return fmt.Sprintf("%d %ss", n, unit.name)
		}
	}
	return "a minute"
}

// wrap breaks text into lines of up to 72 characters, each begun by indent.
func wrap(text, indent string) string {
	const width = 72
	var lines []string
	line := indent
	for _, word := range strings.Fields(text) {
		switch {
		case line == indent:
			line += word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width:
			lines = append(lines, line)
			line = indent + word
		default:
			line += " " + word
		}
	}
	return strings.Join(append(lines, line), "\n")
}
