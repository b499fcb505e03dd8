//go:build linux

package main_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
)

// A story has the provider's words and what they mean, its queue id and how long
// each hop took; and every criterion finds it.
func TestTheStoryOfAMessage(t *testing.T) {
	host := needSmarthost(t)
	r := startRelay(t, host.address, nil)
	l := newLetter("Where is it?\r\n")
	d := r.session()
	id, _, err := d.send(l)
	if err != nil {
		t.Fatal(err)
	}
	var line string
	await(t, "the delivery", func() bool {
		for text := range strings.Lines(r.log.String()) {
			if strings.Contains(text, `"delivered"`) && strings.Contains(text, id) {
				line = text
			}
		}
		return line != ""
	})
	var logged struct {
		Delays   string
		RemoteID string `json:"remote_id"`
	}
	if err := json.Unmarshal([]byte(line), &logged); err != nil || strings.Count(logged.Delays, "/") != 3 || logged.RemoteID == "" {
		t.Errorf("the log has neither delays nor the upstream's id: %s", line)
	}
	story := r.trace(0, id)
	for _, want := range []string{"accepted in ", "tried through postfix: waited ", "ended after ", "connected in ", "TLS ", "login ", "envelope ", "content ", " said: 250 ", "queue id there: " + logged.RemoteID} {
		if !strings.Contains(strings.Join(strings.Fields(story), " "), strings.TrimSpace(want)) {
			t.Errorf("the story does not tell %q:\n%s", want, story)
		}
	}
	if strings.Contains(story, "\x1b") {
		t.Errorf("colours, and no terminal:\n%q", story)
	}
	for _, line := range strings.Split(story, "\n") {
		if len([]rune(line)) > 80 && len(strings.Fields(line)) > 4 {
			t.Errorf("wider than a terminal: %q", line)
		}
	}
	if followed := r.trace(0, id, "--follow"); !strings.HasPrefix(story, strings.TrimSuffix(followed, "\n")) {
		t.Errorf("followed to its end, it is another story:\n%s", followed)
	}
	for _, by := range [][]string{{"--account", user}, {"--sender", strings.ToUpper(sender)}, {"--recipient", recipient}, {"--remote-id", logged.RemoteID},
		{"--since", "1h"}, {"--state", "delivered"}, {"--reply", logged.RemoteID}} {
		if out := r.trace(0, append(by, "--json")...); !strings.Contains(out, id) || !strings.Contains(out, `"phase": "queue"`) {
			t.Errorf("%q does not find it: %s", by, out)
		}
	}
	for _, by := range [][]string{{"--account", "nobody"}, {"--reply", `%' OR 1=1`}, {"--recipient", `%' OR 1=1`}, {"--until", "1h"}, {"--state", "failed"}} {
		r.trace(1, by...)
		if out := r.trace(0, append(by, "--json")...); out != "[]\n" {
			t.Errorf("%q finds as JSON %s", by, out)
		}
	}
	r.trace(2, "--since", "soon")
	d.close()
	r.complaints(id)
}

// complaints gives the commands that docs/operating.md has against complaints.
func (r *relay) complaints(id string) {
	r.t.Helper()
	page, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		r.t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "## Complaints")
	table, _, _ = strings.Cut(table, "### ")
	commands := regexp.MustCompile("`postern ([^`]+ [^`]+)`").FindAllStringSubmatch(table, -1)
	if len(commands) < 6 {
		r.t.Errorf("%d commands in docs/operating.md", len(commands))
	}
	for _, command := range commands {
		line := strings.NewReplacer("ID", id, "you@example.com", recipient, "scan@example.com", sender, "printer-3f", user, " --follow", "").Replace(command[1])
		await(r.t, "an answer of postern "+line, func() bool { // a device is known once its session has ended
			out, _, code := postern(r.t, append(strings.Fields(line), "--config", r.config)...)
			return code == 0 && (strings.Contains(out, id) || strings.HasPrefix(line, "devices"))
		})
	}
}

// trace is what "postern trace" prints.
func (r *relay) trace(want int, args ...string) string {
	r.t.Helper()
	out, errs, code := postern(r.t, append([]string{"trace", "--config", r.config}, args...)...)
	if code != want {
		r.t.Errorf("trace %q: exit code %d, want %d: %s", args, code, want, errs)
	}
	return out
}

// What clients and upstreams say cannot move the cursor of who reads it, nor make
// lines of its own, whatever is in it and however long it is.
func TestNothingSaidReachesATerminal(t *testing.T) {
	const evil = "\x1b]0;owned\x07\x1b[2J\x1b[31m\u009b31m\u202egnp.exe\r2026-11-22 delivered\x00\x7f"
	long := strings.Repeat("5", 1000)
	for name, refusal := range map[string]string{
		"escapes":        "550 5.7.1 " + evil + " no\r\n",
		"a long line":    "550 5.7.1 " + evil + long + "\r\n",
		"many lines":     strings.Repeat("550-5.7.1 "+evil+"\r\n", 50) + "550 5.7.1 end\r\n",
		"a MiB":          strings.Repeat("550-5.7.1 "+long+evil+"\r\n", 1050) + "550 5.7.1 end\r\n",
		"a MiB, no line": "550 5.7.1 " + strings.Repeat(long, 1050) + evil,
	} {
		t.Run(name, func(t *testing.T) {
			r := startRelay(t, "", sections{"upstreams": fmt.Sprintf(`[{name: postfix, address: %q, tls: none}]`, scripted(t, refusal))})
			d := r.session()
			defer d.close()
			if _, err := d.say("EHLO %s", strings.ReplaceAll(evil, "\r", "")); err != nil {
				t.Fatal(err)
			}
			l := newLetter("Hello.\r\n")
			l.data = []byte(strings.Replace(string(l.data), "Subject: a letter", "Subject: "+strings.NewReplacer("\r", "", "\x00", "").Replace(evil), 1))
			for _, author := range []string{"\"\x1b[2J\"", "=?utf-8?q?=1b[2J=0d=0aowned?="} {
				bare := l
				bare.data = []byte(strings.Replace(string(l.data), "Scanner 3F", author, 1))
				if _, _, err := d.send(bare); code(err) != 550 {
					t.Errorf("a From of %q: %v", author, err)
				}
			}
			id, _, err := d.send(l)
			if err != nil {
				t.Fatal(err)
			}
			await(t, "an outcome", func() bool {
				return r.log.contains(`"failed"`) || r.log.contains(`"deferred"`) || r.log.contains(`"upstream down"`)
			})
			show, _, _ := postern(t, "queue", "show", id, "--config", r.config)
			list, _, _ := postern(t, "queue", "list", "--all", "--config", r.config)
			metrics, _ := r.get("/metrics")
			for what, text := range map[string]string{"trace": r.trace(0, id), "trace --json": r.trace(0, id, "--json"),
				"queue show": show, "queue list": list, "metrics": metrics, "log": r.log.String()} {
				if i := strings.IndexFunc(text, func(c rune) bool { return c != '\n' && !unicode.IsPrint(c) }); i >= 0 && what != "trace --json" && what != "log" {
					t.Errorf("%s: %q", what, text[max(0, i-30):min(len(text), i+30)])
				}
				if strings.ContainsAny(text, "\x1b\x07\x00\r") {
					t.Errorf("%s holds control characters", what)
				}
				if strings.Contains(text, "\n2026-11-22 delivered") || len(text) > 600<<10 {
					t.Errorf("%s has a line that others made, or is %d long", what, len(text))
				}
			}
		})
	}
}

// scripted is the address of a server that refuses each recipient in the same
// words.
func scripted(t testing.TB, refusal string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				fmt.Fprint(c, "220 \x1b[2J scripted\r\n")
				for lines := bufio.NewScanner(c); lines.Scan(); {
					switch verb, _, _ := strings.Cut(lines.Text(), " "); verb {
					case "RCPT":
						fmt.Fprint(c, refusal)
					case "DATA":
						fmt.Fprint(c, "503 nobody\r\n")
					default:
						fmt.Fprint(c, "250 \x1b[31mfine\r\n")
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// The live tail tells of what comes and what becomes of it, of those asked for
// alone, until Ctrl-C.
func TestTheLiveTail(t *testing.T) {
	host := needSmarthost(t)
	r := startRelay(t, host.address, nil)
	tail, others := r.follow("--sender", sender, "--state", "delivered"), r.follow("--account", "nobody")
	d := r.session()
	defer d.close()
	var ids []string
	var sent time.Time
	await(t, "a line of the tail", func() bool {
		if time.Since(sent) > time.Second { // one that came before the tail began is not in it
			id, _, err := d.send(newLetter("Where is it?\r\n"))
			if err != nil {
				t.Fatal(err)
			}
			ids, sent = append(ids, id), time.Now()
		}
		return slices.ContainsFunc(ids, func(id string) bool { return tail.contains(id + "  delivered") })
	})
	if line := tail.String(); !strings.Contains(line, "<"+sender+"> -> <"+recipient+">; postfix: 250 ") || strings.Contains(line, "queued  ") {
		t.Errorf("the tail is %q", line)
	}
	if line := others.String(); line != "" {
		t.Errorf("the tail of others is %q", line)
	}
}

// follow begins a live tail, which must end well by Ctrl-C. It returns what is
// printed.
func (r *relay) follow(args ...string) *logbook {
	r.t.Helper()
	book := &logbook{}
	cmd := exec.Command(stage.postern, append([]string{"trace", "--follow", "--config", r.config}, args...)...)
	cmd.Stdout, cmd.Stderr = book, book
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if err := errors.Join(cmd.Process.Signal(os.Interrupt), cmd.Wait()); err != nil {
			r.t.Errorf("the tail ended by %v: %s", err, book)
		}
	})
	return book
}
