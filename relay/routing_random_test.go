package relay_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-smtp"
)

// world is three upstreams that treat each recipient in a way of their own, drawn
// by chance.
type world struct {
	t     *testing.T
	rand  *rand.Rand
	hosts map[string]*smarthost

	mu   sync.Mutex
	ways map[string]string // by host and recipient, what happens
}

var worldHosts = []string{"a", "b", "c"}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, rand: rand.New(rand.NewPCG(seed, 0)), hosts: map[string]*smarthost{}, ways: map[string]string{}}
	for _, name := range worldHosts {
		h := newSmarthost(t, "127.0.0.1:0")
		h.got = make(chan string, 10_000)
		h.rcpt = func(before []string, to string) error { return w.asked(name, before, to) }
		h.fault = func(content string, _ *smtp.Conn) error { return w.sent(name, content) }
		w.hosts[name] = h
	}
	return w
}

// asked is the reply to RCPT.
func (w *world) asked(host string, before []string, to string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	way := w.ways[host+" "+to]
	switch {
	case way == "denied":
		return &smtp.SMTPError{Code: 554, Message: "SendAsDenied"}
	case way == "unknown":
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user"}
	case way == "slow once":
		w.ways[host+" "+to] = ""
		return &smtp.SMTPError{Code: 432, Message: "too fast"}
	case len(before) >= 3:
		return &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 5, 3}, Message: "too many recipients"}
	}
	return nil
}

// sent loses the answer to some messages, once.
func (w *world) sent(host, content string) error {
	_, subject, _ := strings.Cut(content, "Subject: ")
	subject, _, _ = strings.Cut(subject, "\r\n")
	w.mu.Lock()
	defer w.mu.Unlock()
	if key := host + " " + subject; w.ways[key] == "lost" {
		w.ways[key] = ""
		return errLost
	}
	return nil
}

func (w *world) one(from ...string) string { return from[w.rand.IntN(len(from))] }

// upstreams is a random order of them, some in groups.
func (w *world) upstreams() (text string, names []string) {
	for _, i := range w.rand.Perm(len(worldHosts))[:1+w.rand.IntN(3)] {
		names = append(names, worldHosts[i])
	}
	if len(names) == 3 && w.rand.IntN(2) == 0 {
		return fmt.Sprintf("[[%s, %s], %s]", names[0], names[1], names[2]), names
	}
	return "[" + strings.Join(names, ", ") + "]", names
}

// letter is one message of the test.
type worldLetter struct {
	subject string
	heavy   bool
	to      []string
}

func (w *world) letter(n int) worldLetter {
	l := worldLetter{subject: fmt.Sprintf("letter %d.", n), heavy: w.rand.IntN(3) == 0}
	for i := range 1 + w.rand.IntN(8) {
		to := fmt.Sprintf("r%d-%d@%s", n, i, w.one("left.example", "right.example"))
		l.to = append(l.to, to)
		for _, host := range worldHosts {
			w.ways[host+" "+to] = w.one("", "", "", "", "denied", "denied", "unknown", "slow once")
		}
	}
	w.ways[w.one(worldHosts...)+" "+l.subject] = w.one("", "", "lost")
	return l
}

// TestEveryRecipientIsServedOnceByOneThatMay draws routes, messages and faults. Each
// recipient is delivered once, by an upstream of its route that may have it, or
// has failed for a reason; twice only if that was noted as uncertain, and then by
// the same upstream.
func TestEveryRecipientIsServedOnceByOneThatMay(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	w := newWorld(t, seed)
	r := start(t, through(away))
	n := 0
	for range 4 {
		left, leftNames := w.upstreams()
		rest, restNames := w.upstreams()
		small := w.one(worldHosts...)
		var entries []string
		for _, name := range worldHosts {
			more := failover
			if name == small {
				more += ", limits: {size: 4KiB, recipients_per_message: 2}"
			}
			entries = append(entries, named(name, w.hosts[name], more))
		}
		r.configure(hosts(fmt.Sprintf(`{name: left, recipients: ["@left.example"], upstreams: %s}, {name: rest, upstreams: %s}`, left, rest), entries...))
		if err := r.Reload(r.configFile()); err != nil {
			t.Fatal(err)
		}
		may := func(l worldLetter, to string) []string {
			names := restNames
			if strings.HasSuffix(to, "@left.example") {
				names = leftNames
			}
			return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return l.heavy && name == small })
		}
		for range 5 {
			n++
			w.try(r, n, may)
		}
	}
}

// try submits one message and sees what becomes of it.
func (w *world) try(r *running, n int, may func(l worldLetter, to string) []string) {
	w.mu.Lock()
	l := w.letter(n)
	ways := map[string]string{}
	for k, v := range w.ways {
		ways[k] = v
	}
	w.mu.Unlock()
	text := fmt.Sprintf(scan, l.subject)
	if l.heavy {
		text = heavy(l.subject)
	}
	refused := slices.ContainsFunc(l.to, func(to string) bool { return len(may(l, to)) == 0 })
	if err := r.submitTo(text, l.to...); err != nil {
		if !refused {
			w.t.Fatal(err)
		}
		return
	}
	if refused {
		w.t.Errorf("%s was accepted though no upstream may have it", l.subject)
	}
	ended, unsure := w.ended(r, len(l.to))
	for _, to := range l.to {
		takers := w.takers(to)
		allowed := may(l, to)
		if slices.ContainsFunc(takers, func(name string) bool { return !slices.Contains(allowed, name) }) {
			w.t.Errorf("%s was sent through %q, of which only %q may have it", to, takers, allowed)
		}
		distinct := slices.Compact(slices.Sorted(slices.Values(takers)))
		switch {
		case ended[to] == "delivered" && len(takers) == 1:
		case ended[to] == "delivered" && len(takers) == 0:
			w.t.Errorf("%s is delivered and has not arrived", to)
		case ended[to] == "delivered" && len(takers) != 1 && (!unsure[to] || len(distinct) != 1):
			w.t.Errorf("%s arrived by %q, uncertain: %v", to, takers, unsure[to])
		case ended[to] == "failed" && !slices.ContainsFunc(allowed, func(name string) bool { return ways[name+" "+to] == "unknown" }) &&
			slices.ContainsFunc(allowed, func(name string) bool { return ways[name+" "+to] != "denied" }):
			w.t.Errorf("%s failed though one of %q would have had it", to, allowed)
		}
	}
}

// takers are the hosts that took a message for a recipient, once for each time.
func (w *world) takers(to string) (names []string) {
	for _, name := range worldHosts {
		for _, got := range w.hosts[name].recipients() {
			if got == to {
				names = append(names, name)
			}
		}
	}
	return names
}

// ended waits until that many recipients have ended, and tells how, and who was
// uncertain meanwhile.
func (w *world) ended(r *running, n int) (how map[string]string, unsure map[string]bool) {
	how, unsure = map[string]string{}, map[string]bool{}
	for len(how) < n {
		var line struct{ Msg, To string }
		if err := json.Unmarshal([]byte(r.log.await(w.t, `"upstream":`, `"attempts":`)), &line); err != nil {
			w.t.Fatal(err)
		}
		switch line.Msg {
		case "delivered", "failed":
			how[line.To] = line.Msg
		case "uncertain":
			unsure[line.To] = true
		}
	}
	return how, unsure
}
