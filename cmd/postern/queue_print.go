package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"postern/relay"
	"postern/relay/message"
	"postern/relay/queue"
)

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// under is below the state of a list.
var under = strings.Repeat(" ", 18)

// printList is a line per recipient, 80 columns wide as long as addresses
// allow.
func printList(w io.Writer, entries []queue.Entry, all bool, up upstreamsWait, now time.Time) {
	if len(entries) == 0 && !all {
		fmt.Fprintln(w, "Nothing is waiting. \"postern queue list --all\" lists what has ended too.")
		return
	}
	fmt.Fprintf(w, "%-16s %6s  %-9s  %s\n", "ID", "AGE", "STATE", "FROM -> TO")
	for _, e := range entries {
		for _, d := range e.Deliveries {
			fmt.Fprintf(w, "%s %6s  %-9s  %s -> %s\n", e.ID, age(now.Sub(e.Received)), d.State, path(e.From.String()), path(d.Recipient.Address.String()))
			if why := up.why(d, now); why != "" {
				fmt.Fprint(w, wrap(under, "waiting: "+why))
			}
			if why := waitingFor(d, now); why != "" {
				fmt.Fprint(w, wrap(under, short(why)))
			}
		}
		if e.About != "" {
			fmt.Fprint(w, wrap(under, about(e.About)))
		}
		if e.Damaged != "" {
			fmt.Fprint(w, wrap(under, "damaged: "+short(clean(e.Damaged))))
		}
	}
}

// upstreamsWait tells, by lane, why the upstreams of a running relay take nothing
// now.
type upstreamsWait map[string]string

// upstreamsOf asks the running relay. Where none runs, mail waits for that.
func upstreamsOf(c *cli) upstreamsWait {
	var all relay.Upstreams
	if c.command("GET", "/upstreams", nil, &all) != nil {
		return nil
	}
	return all.Waiting
}

// why is what a delivery that is due waits for; "" if that is nothing.
func (u upstreamsWait) why(d queue.Delivery, now time.Time) string {
	if d.State != queue.Queued && d.State != queue.Deferred && d.State != queue.Uncertain || d.NextAt.After(now) {
		return ""
	}
	return clean(cmp.Or(u[d.Lane], u[message.RouteOf(d.Lane)]))
}

// waitingFor says why a delivery has not ended, if there is more to say than
// its state.
func waitingFor(d queue.Delivery, now time.Time) string {
	var parts []string
	if !d.State.Ended() && d.NextAt.After(now) {
		parts = append(parts, "next try in "+age(d.NextAt.Sub(now)))
	}
	if said := clean(d.Reply.String()); d.State != queue.Delivered && said != "" {
		if d.Upstream != "" {
			said = d.Upstream + ": " + said
		}
		parts = append(parts, said)
	}
	if _, only, _ := message.SplitLane(d.Lane); only != nil && !d.State.Ended() {
		parts = append(parts, way(d.Lane))
	}
	return strings.Join(parts, "; ")
}

// way is a lane in words: the route, and which of its upstreams may serve now.
func way(lane string) string {
	if upstream, pinned := message.PinnedTo(lane); pinned {
		return "by " + upstream + " alone"
	}
	route, only, _ := message.SplitLane(lane)
	if only == nil {
		return "route " + route
	}
	return "route " + route + " by " + strings.Join(only, " or ")
}

func printEntry(w io.Writer, e *queue.Entry, up upstreamsWait) {
	fmt.Fprintf(w, "id        %s\nreceived  %s %s\nsize      %d bytes\nfrom      %s\n",
		e.ID, e.Received.Local().Format(time.RFC3339), origin(e), e.Size, path(e.From.String()))
	for _, d := range e.Deliveries {
		fmt.Fprintf(w, "to        %s: %s", path(d.Recipient.Address.String()), d.State)
		if d.Upstream != "" {
			fmt.Fprintf(w, " (%s)", d.Upstream)
		}
		if !d.State.Ended() {
			fmt.Fprintf(w, ", %s", way(d.Lane))
		}
		if why := up.why(d, time.Now()); why != "" {
			fmt.Fprintf(w, ", waiting: %s", why)
		}
		fmt.Fprintln(w)
	}
	if e.Damaged != "" {
		fmt.Fprintf(w, "damaged   %s\n", clean(e.Damaged))
	}
	fmt.Fprintln(w, "\nhistory")
	for _, event := range e.History {
		printEvent(w, event)
	}
	if e.Header != nil {
		fmt.Fprintln(w, "\nheader")
		for _, f := range e.Header {
			fmt.Fprintf(w, "  %s: %s\n", f.Name(), clean(f.Value()))
		}
	}
}

// origin is where a message comes from: a client, or ourselves.
func origin(e *queue.Entry) string {
	if e.About != "" {
		return "from here: " + about(e.About)
	}
	return fmt.Sprintf("from %s (account %s, EHLO %s)", e.Client.Address.Addr(), e.Client.Account, clean(e.Client.Hello))
}

// about is what a message of our own is.
func about(id string) string {
	if id == "digest" {
		return "digest of failures"
	}
	return "report about " + id
}

func printEvent(w io.Writer, e queue.Event) {
	fmt.Fprintf(w, "  %s  %s", e.At.Local().Format("2006-01-02 15:04:05.000"), e.What)
	if e.Upstream != "" {
		fmt.Fprintf(w, " by %s", e.Upstream)
	}
	if e.Text != "" {
		fmt.Fprintf(w, ": %s", clean(e.Text))
	}
	fmt.Fprintln(w)
	for _, c := range e.Changes {
		fmt.Fprintf(w, "      %s: %s %q -> %q\n", c.Rule, c.Field, c.Before, c.After)
	}
	for _, r := range e.Results {
		fmt.Fprintf(w, "      %s: %s", path(r.Recipient), r.State)
		if said := clean(r.Reply.String()); said != "" {
			fmt.Fprintf(w, ": %s", said)
		}
		if r.State == queue.Queued && r.By != nil {
			fmt.Fprintf(w, "; goes to %s", strings.Join(r.By, " or "))
		}
		fmt.Fprintln(w)
	}
}

// age is a duration in its largest unit: 5s, 3m, 2h, 4d.
func age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}

// path is an address as SMTP writes it, safe for a terminal.
func path(address string) string { return "<" + clean(address) + ">" }

// clean makes text from the network safe for a terminal: what cannot be printed
// is shown escaped.
func clean(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }) < 0 {
		return s
	}
	quoted := strconv.Quote(s)
	return quoted[1 : len(quoted)-1]
}
