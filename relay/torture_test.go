package relay_test

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	netsmtp "net/smtp"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"postern/relay"
	"postern/relay/admin"
	"postern/relay/queue"
)

var tortureSeed = flag.Uint64("torture.seed", 0, "what TestNothingIsLostOrDoubledInSilence draws from; 0: a new one")

// What a host of the torture does, beside taking mail: to a recipient, and to a
// message. Those for good stay; of the others each happens as often as it was drawn.
var (
	tortureForGood = []string{"denied", "unknown"}
	tortureAsked   = []string{"denied", "denied", "unknown", "later", "slow", "split", "", "", "", "", "", ""}
	tortureSent    = []string{"lost", "lost", "cut", "cut", "quota", "later", "later", "slow", "", "", "", ""}
)

// tortureReplies are what the rarer of their replies mean.
const tortureReplies = `, replies: [{code: 554, text: SendAsDenied, action: failover, outcome: failed},
	{code: 550, text: quota, action: hold, for: 1s}, {code: 432, action: slow, for: 1s}]`

// torture is three hosts, a relay, and whatever can come between them.
type torture struct {
	t     *testing.T
	r     *running
	hosts map[string]*smarthost

	mu   sync.Mutex // guards rand too
	rand *rand.Rand
	ways map[string][]string // by host and recipient or subject, what happens, in order
	over bool                // only what is for good happens from now on

	kept    map[string]bool   // recipients of mail that was answered with 250
	reports map[string]string // the content of each that arrived, by its Message-ID
}

// TestNothingIsLostOrDoubledInSilence draws mail, faults of upstreams, orders of a
// person, reloads and restarts, all at once. In the end each recipient of mail that was
// acknowledged was delivered once, or more often by as much as was recorded as
// uncertain; or failed, with one report; or ended by order.
func TestNothingIsLostOrDoubledInSilence(t *testing.T) {
	t.Parallel()
	seed := *tortureSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("repeat it with -torture.seed=%d", seed)
	w := &torture{t: t, rand: rand.New(rand.NewPCG(seed, 1)), hosts: map[string]*smarthost{}, ways: map[string][]string{},
		kept: map[string]bool{}, reports: map[string]string{}}
	for _, name := range worldHosts {
		h := newSmarthost(t, "127.0.0.1:0")
		h.got = make(chan string, 100_000)
		h.rcpt = func(before []string, to string) error { return w.asked(name, before, to) }
		h.fault = func(content string, c *smtp.Conn) error { return w.sent(name, content, c) }
		w.hosts[name] = h
	}
	w.r = (&running{t: t, queue: "{retry: [1s], min_free: 1MiB, warn_after: 2s}"}).start(w.config())
	var submitting sync.WaitGroup
	for i := range 3 {
		submitting.Go(func() { w.submitSome(i, 10) })
	}
	submitted := make(chan struct{})
	go func() { submitting.Wait(); close(submitted) }()
	for running := true; running; {
		select {
		case <-submitted:
			running = false
		case <-time.After(time.Duration(w.draw(50)) * time.Millisecond):
		}
		w.meddle()
	}
	w.calm()
	w.judge(w.await())
}

func (w *torture) draw(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rand.IntN(n)
}

func (w *torture) one(from ...string) string { return from[w.draw(len(from))] }

// config has the hosts in one order or another, one of them throttled, one that
// takes few recipients.
func (w *torture) config() string {
	order := func() string {
		w.mu.Lock()
		p := w.rand.Perm(len(worldHosts))
		w.mu.Unlock()
		form := w.one("[%s, %s, %s]", "[[%s, %s], %s]", "[[%s, %s, %s]]", "[%s, [%s, %s]]")
		return fmt.Sprintf(form, worldHosts[p[0]], worldHosts[p[1]], worldHosts[p[2]])
	}
	var entries []string
	for _, name := range worldHosts {
		limits := w.one("{}", "{connections: 2}", "{messages: 10/s}", "{recipients_per_message: 2}", "{recipients_per_message: 1, connections: 3}")
		entries = append(entries, named(name, w.hosts[name], tortureReplies+", weight: "+w.one("1", "3")+", limits: "+limits))
	}
	routes := fmt.Sprintf(`{name: left, recipients: ["@left.example"], upstreams: %s}, {name: rest, upstreams: %s}`, order(), order())
	if w.draw(3) == 0 {
		routes = fmt.Sprintf(`{name: rest, upstreams: %s}`, order())
	}
	return hosts(routes, entries...) + "\npostmaster: it@example.com\n"
}

// next is what happens now; "" is that it is taken.
func (w *torture) next(key string) string {
	ways := w.ways[key]
	if len(ways) == 0 {
		return ""
	}
	if !slices.Contains(tortureForGood, ways[0]) {
		w.ways[key] = ways[1:]
		if w.over {
			return w.next(key)
		}
	}
	return ways[0]
}

var tortureReply = map[string]error{
	"denied":  &smtp.SMTPError{Code: 554, Message: "SendAsDenied"},
	"unknown": &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user"},
	"later":   &smtp.SMTPError{Code: 451, Message: "not now"},
	"slow":    &smtp.SMTPError{Code: 432, Message: "too fast"},
	"split":   &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 5, 3}, Message: "too many recipients"},
	"quota":   &smtp.SMTPError{Code: 550, Message: "quota exceeded"},
}

// asked is the reply to RCPT.
func (w *torture) asked(host string, before []string, to string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(before) >= 3 {
		return tortureReply["split"]
	}
	return tortureReply[w.next(wayOf(host, to))]
}

// wayOf is the key of what a host does to a recipient, however often that was tried.
func wayOf(host, to string) string {
	local, domain, _ := strings.Cut(to, "@")
	local, _, _ = strings.Cut(local, "+")
	return host + " " + local + "@" + domain
}

// sent is what becomes of a message after its dot.
func (w *torture) sent(host, content string, c *smtp.Conn) error {
	_, subject, _ := strings.Cut(content, "Subject: ")
	subject, _, _ = strings.Cut(subject, "\r\n")
	w.mu.Lock()
	defer w.mu.Unlock()
	switch what := w.next(host + " " + subject); what {
	case "lost":
		w.arrived(content)
		return errLost
	case "cut":
		c.Conn().Close()
		return errors.New("cut")
	case "":
		w.arrived(content)
		return nil
	default:
		return tortureReply[what]
	}
}

var messageID = regexp.MustCompile(`(?mi)^Message-ID: (.*)$`)

// arrived keeps reports.
func (w *torture) arrived(content string) {
	if id := messageID.FindString(content); isReport(content) {
		w.reports[id] = content
	}
}

// submitSome submits so many messages, over and over again until each is taken.
func (w *torture) submitSome(by, n int) {
	var c *netsmtp.Client
	for i := range n {
		subject := fmt.Sprintf("letter %d-%d.", by, i)
		var to []string
		for k := range 1 + w.draw(8) {
			to = append(to, fmt.Sprintf("r%d-%d-%d@%s", by, i, k, w.one("left.example", "right.example")))
		}
		w.drawWays(subject, to)
		<-time.After(time.Duration(w.draw(100)) * time.Millisecond)
		for try := 0; ; try++ {
			// A message that was not acknowledged may have been kept: the next is another one.
			some := slices.Clone(to)
			for k := range some {
				some[k] = strings.Replace(some[k], "@", fmt.Sprintf("+%d@", try), 1)
			}
			err := w.submit(&c, fmt.Sprintf(scan, subject), some)
			if err == nil {
				w.mu.Lock()
				for _, a := range some {
					w.kept[a] = true
				}
				w.mu.Unlock()
				break
			}
			if try > 200 {
				w.t.Errorf("%s is not taken: %v", subject, err)
				return
			}
			<-time.After(50 * time.Millisecond) // the relay is being restarted
		}
	}
	if c != nil {
		c.Close()
	}
}

// drawWays draws what the hosts do.
func (w *torture) drawWays(subject string, to []string) {
	for _, host := range worldHosts {
		for range w.draw(3) {
			w.add(host+" "+subject, w.one(tortureSent...))
		}
		for _, a := range to {
			for range w.draw(3) {
				w.add(host+" "+a, w.one(tortureAsked...))
			}
		}
	}
}

func (w *torture) add(key, way string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if way != "" {
		w.ways[key] = append(w.ways[key], way)
	}
}

// submit sends one message by the session c, which it opens if there is none, and
// gives up after an error.
func (w *torture) submit(c **netsmtp.Client, text string, to []string) (err error) {
	defer func() {
		if err != nil && *c != nil {
			(*c).Close()
			*c = nil
		}
	}()
	if *c == nil {
		if *c, err = netsmtp.Dial(w.r.address); err != nil {
			return err
		}
		err = errors.Join((*c).StartTLS(&tls.Config{InsecureSkipVerify: true}), (*c).Auth(netsmtp.PlainAuth("", "printer", "paper", "127.0.0.1")))
		if err != nil {
			return err
		}
	}
	if err := (*c).Mail("scan@example.com"); err != nil {
		return err
	}
	for _, a := range to {
		if err := (*c).Rcpt(a); err != nil {
			return err
		}
	}
	return write(*c, text)
}

// meddle does something from outside: what a person orders, a reload, a restart.
func (w *torture) meddle() {
	name := w.one(worldHosts...)
	switch w.draw(20) {
	case 0:
		w.restart()
	case 1, 2, 3:
		w.r.configure(w.config())
		if err := w.r.Reload(w.r.configFile()); err != nil {
			w.t.Error(err)
		}
	case 4:
		w.command("/upstreams/"+name+"/hold?for="+w.one("300ms", "1s"), nil, nil)
	case 5, 6:
		w.command("/upstreams/"+name+"/resume", nil, nil)
	case 7:
		w.order(queue.Drop)
	case 8:
		w.order(queue.Arrived)
	case 9:
		w.order(queue.Lost)
	case 10, 11:
		w.order(queue.Hold)
	case 12, 13:
		w.command("/queue?do=release", relay.Order{All: true}, nil)
	case 14, 15:
		w.command("/queue?do=retry", relay.Order{All: true}, nil)
	}
}

func (w *torture) restart() {
	w.r.stop()
	if err := w.r.end(); err != nil {
		w.t.Error(err)
	}
	w.r.run()
}

// order has something done with one recipient of what waits, or with a whole message.
func (w *torture) order(do queue.Do) {
	waiting := w.entries(queue.Filter{Limit: 50})
	waiting = slices.DeleteFunc(waiting, func(e queue.Entry) bool { return e.About != "" && do != queue.Hold })
	if len(waiting) == 0 {
		return
	}
	e := waiting[w.draw(len(waiting))]
	o := relay.Order{IDs: []string{e.ID}}
	if w.draw(2) == 0 {
		o.Recipient = e.Deliveries[w.draw(len(e.Deliveries))].Recipient.Address.String()
	}
	w.command("/queue?do="+string(do)+"&reason=for+a+try", o, nil)
}

// command is one of a person. Refusals are theirs to mend.
func (w *torture) command(path string, body, answer any) {
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	method := "POST"
	if answer != nil {
		method = "GET"
	}
	admin.Command(ctx, filepath.Join(w.r.dir, "data"), method, path, body, answer)
	if ctx.Err() != nil {
		w.t.Error(path, " is not answered")
	}
}

func (w *torture) entries(f queue.Filter) []queue.Entry {
	w.t.Helper()
	store, err := queue.OpenReadOnly(filepath.Join(w.r.dir, "data"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer store.Close()
	list, err := store.List(w.t.Context(), f)
	if err != nil {
		w.t.Fatal(err)
	}
	if f.All {
		for i := range list {
			e, err := store.Show(w.t.Context(), list[i].ID)
			if err != nil {
				w.t.Fatal(err)
			}
			list[i] = *e
		}
	}
	return list
}

// calm ends what would go on for ever, or for long: a restart forgets how slow the
// hosts were found to be.
func (w *torture) calm() {
	w.mu.Lock()
	w.over = true
	w.mu.Unlock()
	w.restart()
	for _, name := range worldHosts {
		w.command("/upstreams/"+name+"/resume", nil, nil)
	}
	w.command("/queue?do=release", relay.Order{All: true}, nil)
}

// await waits until all has ended, and returns it.
func (w *torture) await() []queue.Entry {
	w.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		waiting := w.entries(queue.Filter{})
		if len(waiting) == 0 {
			return w.entries(queue.Filter{All: true, Limit: 100_000})
		}
		if time.Now().After(deadline) {
			var upstreams relay.Upstreams
			w.command("/upstreams", nil, &upstreams)
			w.t.Fatalf("%d messages wait, such as %s with %+v; %+v", len(waiting), waiting[0].ID, waiting[0].Deliveries, upstreams)
		}
		<-time.After(100 * time.Millisecond)
	}
}

// judge looks at each recipient.
func (w *torture) judge(all []queue.Entry) {
	arrived, reported := map[string][]string{}, map[string]int{}
	for _, name := range worldHosts {
		for _, to := range w.hosts[name].recipients() {
			arrived[to] = append(arrived[to], name)
		}
	}
	w.mu.Lock()
	for _, content := range w.reports {
		for _, m := range failedRecipient.FindAllStringSubmatch(content, -1) {
			reported[m[1]]++
		}
	}
	w.mu.Unlock()
	count := map[string]int{}
	for _, e := range all {
		for _, d := range e.Deliveries {
			to := d.Recipient.Address.String()
			unsure, byOrder := pastOf(e, to)
			count[string(d.State)]++
			if unsure > 0 {
				count["uncertain meanwhile"]++
			}
			tell := func(what string) {
				w.t.Errorf("%s of %s %s: it is %s, arrived through %q, was uncertain %d times, %d reports\n%+v", to, e.ID, what, d.State, arrived[to], unsure, reported[to], e.History)
			}
			if e.About != "" {
				if d.State != queue.Delivered {
					tell("is a report and was not delivered")
				}
				continue
			}
			delete(w.kept, to)
			switch n := len(arrived[to]); {
			case n > 1+unsure:
				tell("is doubled in silence")
			case n > 1 && !byOrder && len(slices.Compact(slices.Sorted(slices.Values(arrived[to])))) > 1:
				tell("may have arrived through one upstream and was given to another")
			case d.State == queue.Delivered && n == 0 && !byOrder:
				tell("is lost")
			case d.State == queue.Delivered && reported[to] > 0, d.State == queue.Dropped && reported[to] > 0:
				tell("is reported though it did not fail")
			case d.State == queue.Failed && n > 0 && unsure == 0:
				tell("failed and arrived")
			case d.State == queue.Failed && reported[to] != 1:
				tell("failed and is not reported once")
			case d.State == queue.Failed && !w.mayFail(to):
				tell("failed for no reason of its own")
			}
		}
	}
	for to := range w.kept {
		w.t.Errorf("%s was acknowledged and is not in the queue", to)
	}
	w.t.Logf("%v, %d reports", count, len(w.reports))
}

// failedRecipient is a group of a report that tells of a failure (RFC 3464, section 2.3).
var failedRecipient = regexp.MustCompile(`Final-Recipient: rfc822; (\S+)\r?\nAction: failed`)

// mayFail tells whether any host has something for good against a recipient.
func (w *torture) mayFail(to string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(worldHosts, func(host string) bool {
		return slices.ContainsFunc(w.ways[wayOf(host, to)], func(way string) bool { return slices.Contains(tortureForGood, way) })
	})
}

// pastOf is how often it was recorded that a recipient may have been sent the
// message, and whether a person said what became of it.
func pastOf(e queue.Entry, to string) (unsure int, byOrder bool) {
	for _, h := range e.History {
		for _, r := range h.Results {
			if r.Recipient != to {
				continue
			}
			if r.State == queue.Uncertain && r.Reply.Code == 0 && (h.What == "attempted" || h.What == "interrupted") {
				unsure++
			}
			byOrder = byOrder || h.What == "settled"
		}
	}
	return unsure, byOrder
}
