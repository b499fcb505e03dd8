package bounce

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"postern/relay/message"
)

// Failure is one recipient's, as a digest names it.
type Failure struct {
	At          time.Time
	ID, Account string
	From        message.Address
	Case
}

// Bounds of a digest: causes told of by themselves, and examples of each.
const (
	maxCauses   = 30
	maxExamples = 5
)

// cause is what several deliveries failed by.
type cause struct {
	meaning
	upstream string
	count    int
	examples []Failure
}

// Digest writes to the postmaster, whom there is, about failures, grouped by
// their cause: the upstream, and what its reply means.
func (a Author) Digest(id string, failures iter.Seq[Failure], at time.Time) *message.Message {
	causes, total, since := a.causes(failures, at)
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	say("%s", wrap(fmt.Sprintf("Since %s, %s failed for good at %s. The causes, the most frequent first:",
		clock(since), count(total, "delivery", "deliveries"), a.Hostname), ""))
	for _, c := range causes {
		c.tell(say)
	}
	say("\n%s", wrap("\"postern queue show ID\" tells the whole story of a message. These accounts have \"bounce: digest\" "+
		"in the configuration, or by default; or it was a report to the sender that could not be delivered. Nobody else was told.", ""))
	m := a.mail(id, a.Postmaster, count(total, "message", "messages")+" could not be delivered", at)
	m.About = Digest
	media, encoding, body := text(strings.ReplaceAll(b.String(), "\n", "\r\n"))
	m.Header = m.Header.Append(
		message.NewField("Auto-Submitted", "auto-generated"), // RFC 3834, section 5
		message.NewField("MIME-Version", "1.0"),
		message.NewField("Content-Type", media),
		message.NewField("Content-Transfer-Encoding", encoding))
	m.Body = body
	return m
}

// causes groups failures. The first maxCauses met stand for themselves, the others
// together.
func (a Author) causes(failures iter.Seq[Failure], at time.Time) (causes []*cause, total int, since time.Time) {
	type key struct {
		upstream string
		meaning
	}
	known := map[key]*cause{}
	since = at
	for f := range failures {
		total++
		if f.At.Before(since) {
			since = f.At
		}
		k := key{f.Upstream, a.meaning(f.Case)}
		if known[k] == nil && len(known) >= maxCauses {
			k = key{meaning: meaning{what: "Other causes."}}
		}
		c := known[k]
		if c == nil {
			c = &cause{meaning: k.meaning, upstream: k.upstream}
			known[k], causes = c, append(causes, c)
		}
		c.count++
		if len(c.examples) < maxExamples {
			c.examples = append(c.examples, f)
		}
	}
	slices.SortStableFunc(causes, func(a, b *cause) int { return cmp.Compare(b.count, a.count) })
	return causes, total, since
}

// tell is a cause for the postmaster.
func (c *cause) tell(say func(string, ...any)) {
	by := ""
	if c.upstream != "" {
		by = " (upstream " + readable(c.upstream, 100) + ")"
	}
	say("\n%s", wrap(fmt.Sprintf("%d x %s%s", c.count, c.what, by), ""))
	if said := readable(c.examples[0].Reply.String(), maxReply); said != "" {
		say("%s", wrap("for example: "+said, "    "))
	}
	if c.hint != "" {
		say("%s", wrap("what helps: "+c.hint, "    "))
	}
	for _, f := range c.examples {
		from := "a report"
		if !f.From.IsNull() {
			from = "<" + readable(f.From.String(), maxLine) + ">"
		}
		say("    %s  %s  %s: %s to <%s>", f.ID, f.At.Format("02 Jan 15:04"), readable(f.Account, 100), from, readable(f.Address.String(), maxLine))
	}
	if more := c.count - len(c.examples); more > 0 {
		say("    and %d more", more)
	}
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
