package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"postern/relay"
	"postern/relay/setting"
	"postern/relay/upstream"
)

type upstreamsCmd struct {
	List   upstreamsListCmd   `cmd:"" default:"withargs" help:"Tell how each upstream is doing. Exit code 1 if one is held or down."`
	Hold   upstreamsHoldCmd   `cmd:"" help:"Send nothing through an upstream until it is resumed. Mail waits, or takes its route's next one."`
	Resume upstreamsResumeCmd `cmd:"" help:"Try an upstream at once that is held or down."`
}

type upstreamsListCmd struct {
	JSON bool `help:"Print JSON." name:"json"`
}

// Run asks the running relay.
func (u upstreamsListCmd) Run(c *cli, std streams) error {
	var all relay.Upstreams
	if err := c.command("GET", "/upstreams", nil, &all); err != nil {
		return err
	}
	if u.JSON {
		if err := printJSON(std.out, all.Upstreams); err != nil {
			return err
		}
	} else {
		printUpstreams(std.out, all.Upstreams, time.Now())
	}
	for _, s := range all.Upstreams {
		if s.State != "up" {
			return silent{errors.New(s.Upstream + " is " + s.State)}
		}
	}
	return nil
}

type upstreamsHoldCmd struct {
	Name   string           `arg:"" help:"The upstream, as it is listed."`
	For    setting.Duration `help:"Resume it by itself after this time, such as 30m or 4h." placeholder:"TIME"`
	Reason string           `help:"Why. It is told to who asks what mail waits for, and logged."`
}

// Run tells the running relay.
func (u upstreamsHoldCmd) Run(c *cli, std streams) error {
	path := "/upstreams/" + url.PathEscape(u.Name) + "/hold"
	if u.For > 0 {
		path += "?for=" + url.QueryEscape(u.For.Std().String())
	}
	if err := c.command("POST", because(path, u.Reason), nil, nil); err != nil {
		return err
	}
	_, err := fmt.Fprintf(std.out, "%s is held; \"postern upstreams resume %s\" ends it\n", u.Name, u.Name)
	return err
}

type upstreamsResumeCmd struct {
	Name   string `arg:"" help:"The upstream, as it is listed."`
	Reason string `help:"Why, for the log."`
}

// Run tells the running relay.
func (u upstreamsResumeCmd) Run(c *cli, std streams) error {
	if err := c.command("POST", because("/upstreams/"+url.PathEscape(u.Name)+"/resume", u.Reason), nil, nil); err != nil {
		return err
	}
	_, err := fmt.Fprintf(std.out, "%s is tried again with the next message\n", u.Name)
	return err
}

// printUpstreams is a line per upstream, and for those that make mail wait why,
// and what to do.
func printUpstreams(w io.Writer, all []upstream.Status, now time.Time) {
	fmt.Fprintf(w, "%-18s %-8s %-13s %10s %7s %13s\n", "UPSTREAM", "STATE", "REASON", "MAIL/MIN", "CONN", "RECIPIENTS")
	for _, s := range all {
		recipients := fmt.Sprint(s.Recipients)
		if !s.RecipientLimit.IsZero() {
			recipients += "/" + s.RecipientLimit.String()
		}
		row := fmt.Sprintf("%-18s %-8s %-13s %10s %7s %13s", s.Upstream, s.State, s.Reason, of(fmt.Sprint(s.Messages), s.Rate),
			of(fmt.Sprint(s.Connections), float64(s.ConnectionLimit)), recipients)
		fmt.Fprintln(w, strings.TrimRight(row, " "))
		if why := s.Waiting(now); why != "" {
			fmt.Fprint(w, wrap("    ", clean(why)))
		}
		if s.State != "up" || s.Error != "" && now.Sub(s.ErrorAt) < time.Hour {
			fmt.Fprint(w, wrap("    "+heardAt(s, now), clean(s.Error)))
			fmt.Fprint(w, wrap("    try: ", clean(s.Hint)))
		}
	}
}

// heardAt is when the last error was met.
func heardAt(s upstream.Status, now time.Time) string {
	if s.ErrorAt.IsZero() {
		return ""
	}
	return age(now.Sub(s.ErrorAt)) + " ago: "
}

// of is how much of a limit is used; 0 is no limit.
func of(used string, limit float64) string {
	if limit == 0 {
		return used
	}
	return used + "/" + strings.TrimSuffix(fmt.Sprintf("%.1f", limit), ".0")
}
