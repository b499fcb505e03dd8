package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"postern/relay/devices"
)

// columns is how wide a terminal is taken to be.
const columns = 80

// printDevices is a line per device, and for those that fail why, and what to
// change.
func printDevices(w io.Writer, all []devices.Device, now time.Time) {
	if len(all) == 0 {
		fmt.Fprintln(w, "No device is known.")
		return
	}
	fmt.Fprintf(w, "%-16s %-15s %5s  %-4s %6s  %s\n", "ACCOUNT", "ADDRESS", "SEEN", "TLS", "MAIL", "EHLO")
	for _, d := range all {
		row := fmt.Sprintf("%-16s %-15s %5s  %-4s %6d  ", cmp.Or(clean(d.Account), "-"), d.Address, age(now.Sub(d.Seen)), d.Version(), d.Messages)
		fmt.Fprintln(w, strings.TrimRight(row+cut(clean(d.Hello), columns-len([]rune(row))), " "))
		if d.Failing() {
			fmt.Fprint(w, wrap("    "+age(now.Sub(d.Failed))+" ago: ", clean(d.Trouble)))
			fmt.Fprint(w, wrap("    try: ", clean(d.Hint)))
		}
	}
}

// printDevice is all that is known of one.
func printDevice(w io.Writer, d devices.Device, now time.Time) {
	fmt.Fprintf(w, "%s at %s\n", cmp.Or(clean(d.Account), "nobody who logged in"), d.Address)
	line := func(name, text string) {
		fmt.Fprint(w, wrap(fmt.Sprintf("  %-10s", name), text))
	}
	when := func(t time.Time) string {
		if t.IsZero() {
			return "never"
		}
		return fmt.Sprintf("%s (%s ago)", t.Local().Format(time.DateTime), age(now.Sub(t)))
	}
	line("person", clean(d.User))
	line("seen", when(d.Seen)+" by listener "+clean(d.Listener))
	line("last mail", when(d.Mailed))
	line("messages", fmt.Sprint(d.Messages))
	line("TLS", cmp.Or(strings.TrimSpace(d.TLS+" "+d.Cipher), "none"))
	line("mechanism", cmp.Or(d.Mechanism, "none"))
	line("EHLO", clean(d.Hello))
	if d.Trouble != "" {
		line("trouble", when(d.Failed)+": "+clean(d.Trouble))
		line("try", clean(d.Hint))
	}
}

// printTranscript shows who came and what was said, line by line.
func printTranscript(w io.Writer, r devices.Recording) {
	fmt.Fprintf(w, "# %s, account %s, ended %s\n", r.Address, cmp.Or(clean(r.Account), "none"), r.Ended.Local().Format(time.DateTime))
	for line := range strings.Lines(r.Transcript) {
		fmt.Fprintln(w, clean(strings.TrimRight(line, "\r\n")))
	}
}

// cut is s, or as much of it as fits into so many columns.
func cut(s string, room int) string {
	runes := []rune(s)
	if len(runes) <= room {
		return s
	}
	return string(runes[:max(0, room-3)]) + "..."
}

// wrap is text behind label, on as many lines as it needs; nothing for no text.
func wrap(label, text string) string {
	var b strings.Builder
	line := label
	for word := range strings.FieldsSeq(text) {
		if len([]rune(line))+len([]rune(word)) > columns && strings.TrimSpace(line) != "" && line != label {
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			line = strings.Repeat(" ", len(label))
		}
		line += word + " "
	}
	if line != label {
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return b.String()
}
