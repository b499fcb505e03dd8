package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"postern/relay/message"
	"postern/relay/queue"
)

// story tells what became of a message, for people.
type story struct {
	w       io.Writer
	colour  bool
	meaning func(upstream string, reply message.Reply) (meaning, hint string)
}

// tell is all of it: who, each step, what happens next.
func (s story) tell(e *queue.Entry, up upstreamsWait, now time.Time) {
	s.head(e)
	for _, event := range e.History {
		s.event(e, event)
	}
	for _, line := range next(e, up, now) {
		fmt.Fprint(s.w, wrap("next      ", line))
	}
}

func (s story) head(e *queue.Entry) {
	fmt.Fprintf(s.w, "id        %s\nreceived  %s\nfrom      %s\n", e.ID, e.Received.Local().Format(time.DateTime), path(e.From.String()))
	for _, d := range e.Deliveries {
		fmt.Fprintf(s.w, "to        %s: %s\n", path(d.Recipient.Address.String()), s.state(d.State))
	}
	if e.Damaged != "" {
		fmt.Fprint(s.w, wrap("damaged   ", short(clean(e.Damaged))))
	}
	fmt.Fprintln(s.w)
}

// Colours of a terminal.
const (
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	plain  = "\x1b[0m"
)

func (s story) in(colour, text string) string {
	if !s.colour {
		return text
	}
	return colour + text + plain
}

func (s story) state(state queue.State) string {
	switch state {
	case queue.Delivered:
		return s.in(green, string(state))
	case queue.Failed, queue.Dropped:
		return s.in(red, string(state))
	}
	return s.in(yellow, string(state))
}

// indent is that of what a step consists of.
const indent = "              "

// event is one step, with all that is known of it.
func (s story) event(e *queue.Entry, event queue.Event) {
	at := event.At.Local().Format("15:04:05.000")
	if !sameDay(event.At, e.Received) {
		at = event.At.Local().Format("Jan _2 15:04") // as wide
	}
	fmt.Fprint(s.w, wrap(at+"  ", happened(e, event)))
	for _, c := range event.Changes {
		s.change(c)
	}
	for _, group := range alike(event.Results) {
		s.result(event, group)
	}
}

func sameDay(a, b time.Time) bool {
	return a.Local().Format(time.DateOnly) == b.Local().Format(time.DateOnly)
}

// alike are results in groups of those that say the same of their recipients.
func alike(all []queue.EventResult) (groups [][]queue.EventResult) {
	for _, r := range all {
		i := slices.IndexFunc(groups, func(g []queue.EventResult) bool {
			return g[0].State == r.State && g[0].Reply == r.Reply && g[0].RemoteID == r.RemoteID && slices.Equal(g[0].By, r.By)
		})
		if i < 0 {
			i, groups = len(groups), append(groups, nil)
		}
		groups[i] = append(groups[i], r)
	}
	return groups
}

// happened is a step in one sentence.
func happened(e *queue.Entry, event queue.Event) string {
	text := deed(e, event)
	if len(event.Phases) > 0 {
		text += ": " + phases(event.Phases)
	}
	switch said := short(clean(event.Text)); {
	case strings.HasPrefix(said, "by "): // a person
		text += " " + said
	case said != "":
		text += ": " + said
	}
	return text
}

// deed is what happened in few words, with how long it took.
func deed(e *queue.Entry, event queue.Event) string {
	since := took(event.At.Sub(e.Received))
	switch event.What {
	case "accepted":
		text := fmt.Sprintf("accepted in %s: %d bytes %s", since, e.Size, short(origin(e)))
		if e.Client.TLSVersion != "" {
			text += ", " + e.Client.TLSVersion
		}
		return text
	case "attempted":
		return "tried through " + event.Upstream
	case "returned":
		return "not tried through " + event.Upstream
	case "interrupted":
		return "the relay ended while it was being sent through " + event.Upstream
	case "expired":
		return "given up after " + since
	case "ended":
		return "ended after " + since
	}
	return event.What
}

// phaseWords are those that are not told by their name.
var phaseWords = map[string]string{"queue": "waited", "connect": "connected in", "tls": "TLS", "auth": "login", "data": "content"}

// phases is how long each part of an attempt took.
func phases(all []message.Phase) string {
	var parts []string
	for _, p := range all {
		parts = append(parts, cmp.Or(phaseWords[p.Phase], p.Phase)+" "+took(time.Duration(p.Seconds*float64(time.Second))))
	}
	return strings.Join(parts, ", ")
}

// took is a duration as people say it.
func took(d time.Duration) string {
	switch d = max(0, d); {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return age(d)
}

// change is what was done to the message: what was there, and what is now.
func (s story) change(c message.Change) {
	if c.Rule == "dkim" {
		fmt.Fprint(s.w, wrap(indent, "signature: "+short(clean(c.After))))
		return
	}
	fmt.Fprintf(s.w, "%s%s (%s)\n", indent, c.Field, c.Rule)
	if c.Before != "" {
		fmt.Fprintf(s.w, "%s%s\n", indent, s.in(red, "- "+short(clean(c.Before))))
	}
	if c.After != "" {
		fmt.Fprintf(s.w, "%s%s\n", indent, s.in(green, "+ "+short(clean(c.After))))
	}
}

// result is what a step meant for recipients: what was said, and what that means.
func (s story) result(event queue.Event, group []queue.EventResult) {
	r := group[0]
	var to []string
	for _, one := range group {
		to = append(to, path(one.Recipient))
	}
	line := strings.Join(to, ", ") + ": " + s.state(r.State)
	if r.State == queue.Queued && r.By != nil {
		line += ", goes to " + strings.Join(r.By, " or ")
	}
	fmt.Fprint(s.w, wrap(indent, line))
	if said := clean(r.Reply.String()); said != "" && r.Reply.Text != event.Text { // which the first line has
		who := "reason: "
		if r.Reply.Code != 0 && event.Upstream != "" {
			who = event.Upstream + " said: "
		}
		fmt.Fprint(s.w, wrap(indent+"  ", who+short(said)))
	}
	if r.RemoteID != "" {
		fmt.Fprint(s.w, wrap(indent+"  ", "queue id there: "+short(clean(r.RemoteID))))
	}
	if r.State == queue.Delivered {
		return
	}
	if r.State == queue.Uncertain {
		fmt.Fprint(s.w, wrap(indent+"  ", perhaps))
	}
	meaning, hint := s.meaning(event.Upstream, r.Reply)
	if meaning != "" {
		fmt.Fprint(s.w, wrap(indent+"  ", "that means: "+meaning))
	}
	if hint != "" {
		fmt.Fprint(s.w, wrap(indent+"  ", "try: "+hint))
	}
}

// perhaps is what uncertain means.
const perhaps = "uncertain: it may have arrived. It is tried again through the same upstream alone, and if it had arrived, it arrives twice."

// next is what each recipient that has not ended waits for.
func next(e *queue.Entry, up upstreamsWait, now time.Time) (lines []string) {
	for _, d := range e.Deliveries {
		to := path(d.Recipient.Address.String())
		switch why := up.why(d, now); {
		case d.State.Ended():
		case d.State == queue.Held:
			lines = append(lines, to+" is held: \"postern queue release "+e.ID+"\" has it sent")
		case d.State == queue.Sending:
			lines = append(lines, to+" is being sent by "+d.Upstream)
		case d.NextAt.After(now):
			lines = append(lines, fmt.Sprintf("%s is tried again at %s, in %s, %s", to, d.NextAt.Local().Format(time.TimeOnly), age(d.NextAt.Sub(now)), way(d.Lane)))
		case why != "":
			lines = append(lines, to+" is due and waits: "+why+"; \"postern upstreams\" says more")
		default:
			lines = append(lines, to+" is due, "+way(d.Lane))
		}
	}
	return lines
}

// most is how much is shown of what others said, in characters; --json has all.
const most = 500

// short is text cut to what a person reads.
func short(text string) string {
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + fmt.Sprintf("... (%d more)", len(runes)-most)
	}
	return text
}

// traceView is a story as --json tells it: the record, what replies mean, and what
// happens next.
type traceView struct {
	entryView
	Meanings []meaningView `json:"meanings,omitempty"`
	Next     []string      `json:"next,omitempty"`
}

type meaningView struct {
	Upstream string        `json:"upstream"`
	Reply    message.Reply `json:"reply"`
	Meaning  string        `json:"meaning,omitempty"`
	Hint     string        `json:"hint,omitempty"`
}

func (s story) view(e *queue.Entry, up upstreamsWait) traceView {
	v := traceView{entryView: view(e), Next: next(e, up, time.Now())}
	for _, event := range e.History {
		for _, r := range event.Results {
			if meaning, hint := s.meaning(event.Upstream, r.Reply); r.State != queue.Delivered && meaning+hint != "" {
				v.Meanings = append(v.Meanings, meaningView{event.Upstream, r.Reply, meaning, hint})
			}
		}
	}
	return v
}
