package relay_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/emersion/go-smtp"

	"postern/relay/queue"
)

// hosts are upstreams by name, with what else stands in their entry, and routes.
func hosts(routes string, upstreams ...string) string {
	return "upstreams: [" + strings.Join(upstreams, ", ") + "]\nroutes: [" + routes + "]"
}

// named is one entry of upstreams.
func named(name string, h *smarthost, more string) string {
	return fmt.Sprintf("{name: %s, address: %q, tls: none%s}", name, h.address, more)
}

// failover is what two of our replies mean.
const failover = `, replies: [{code: 554, text: SendAsDenied, action: failover, outcome: failed}, {code: 550, text: quota, action: hold, for: 1h},
	{code: 432, action: slow, for: 1s}]`

// says is a host that answers each message so.
func says(t *testing.T, code int, text string) *smarthost {
	h := newSmarthost(t, "127.0.0.1:0")
	h.fault = func(string, *smtp.Conn) error { return &smtp.SMTPError{Code: code, Message: text} }
	return h
}

// got is the recipients that a host took, whatever the transaction, sorted.
func (h *smarthost) recipients() []string {
	all := slices.Concat(h.transactions()...)
	slices.Sort(all)
	return all
}

func (r *running) delivered(n int) {
	r.t.Helper()
	for range n {
		r.log.await(r.t, `"msg":"delivered"`)
	}
}

func expect(t *testing.T, what string, h *smarthost, want ...string) {
	t.Helper()
	if got := h.recipients(); !slices.Equal(got, want) {
		t.Errorf("%s got %q, want %q", what, got, want)
	}
}

func TestEachRecipientTakesItsRoute(t *testing.T) {
	one, two, large := newSmarthost(t, "127.0.0.1:0"), newSmarthost(t, "127.0.0.1:0"), newSmarthost(t, "127.0.0.1:0")
	r := start(t, hosts(`{name: large, larger: 3KiB, recipients: ["@partner.example"], upstreams: [large]},
		{name: partner, recipients: ["@partner.example", "@*.partner.example"], listeners: [submission], accounts: [printer], upstreams: [two]},
		{name: default, upstreams: [one]}`, named("one", one, ""), named("two", two, ""), named("large", large, "")))
	to := []string{"a@example.org", "b@partner.example", "c@eu.PARTNER.example", "d@example.org"}
	if err := r.submitTo(fmt.Sprintf(scan, "small"), to...); err != nil {
		t.Fatal(err)
	}
	r.delivered(4)
	expect(t, "the default", one, "a@example.org", "d@example.org")
	expect(t, "the partner's", two, "b@partner.example", "c@eu.PARTNER.example")
	if err := r.submitTo(heavy("large"), to...); err != nil {
		t.Fatal(err)
	}
	r.delivered(4)
	expect(t, "the large", large, "b@partner.example")
	if n := len(one.transactions()); n != 2 {
		t.Errorf("the default took %d transactions for two messages", n)
	}
}

func TestWhatMayYetFindARouteIsNotRefusedBefore(t *testing.T) {
	one := newSmarthost(t, "127.0.0.1:0")
	r := start(t, hosts(`{name: partner, recipients: ["@partner.example"], smaller: 3KiB, upstreams: [one]}`, named("one", one, "")))
	if err := r.submitTo(fmt.Sprintf(scan, "partner"), "a@partner.example"); err != nil {
		t.Fatal(err)
	}
	mustRefuse(t, "a stranger", r.submitTo(fmt.Sprintf(scan, "stranger"), "a@example.org"), 550, "5.7.1 no route takes this mail from <scan@example.com> to <a@example.org>")
	mustRefuse(t, "a heavy message", r.submitTo(heavy("heavy"), "a@partner.example"), 550, "no route takes this mail")
}

func TestAReloadReroutesEachRecipient(t *testing.T) {
	slow, two := says(t, 451, "not now"), newSmarthost(t, "127.0.0.1:0")
	config := hosts(`{name: default, upstreams: [one]}`, named("one", slow, ""), named("two", two, ", senders: [boss@example.com], otherwise: next"))
	r := start(t, config)
	if err := r.submitTo(fmt.Sprintf(scan, "waits"), "a@example.org", "b@partner.example"); err != nil {
		t.Fatal(err)
	}
	r.log.await(t, `"msg":"deferred"`, "a@example.org")
	r.configure(hosts(`{name: partner, recipients: ["@partner.example"], upstreams: [two, three]}, {name: default, upstreams: [one]}`,
		named("one", slow, ""), named("two", slow, ", senders: [boss@example.com], otherwise: next"), named("three", two, "")))
	if err := r.Reload(r.configFile()); err != nil {
		t.Fatal(err)
	}
	r.log.await(t, `"msg":"delivered"`, "b@partner.example", `"upstream":"three"`)
	expect(t, "the partner's", two, "b@partner.example")
}

func TestWhatOneUpstreamRefusesForItselfGoesOnByTheNext(t *testing.T) {
	picky, other := newSmarthost(t, "127.0.0.1:0"), newSmarthost(t, "127.0.0.1:0")
	picky.rcpt = func(_ []string, to string) error {
		switch {
		case strings.HasPrefix(to, "denied"):
			return &smtp.SMTPError{Code: 554, Message: "SendAsDenied"}
		case strings.HasPrefix(to, "nobody"):
			return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user"}
		}
		return nil
	}
	unreported := fmt.Sprintf(`{name: printer, password_hash: "%s", senders: ["@example.com"], bounce: none}`, paperHash)
	r := startWith(t, unreported, hosts(`{name: default, upstreams: [one, two]}`, named("one", picky, failover), named("two", other, failover)))
	if err := r.submitTo(fmt.Sprintf(scan, "mixed"), "a@example.org", "denied@example.org", "nobody@example.org"); err != nil {
		t.Fatal(err)
	}
	r.log.await(t, `"msg":"delivered"`, "a@example.org", `"upstream":"one"`)
	r.log.await(t, `"msg":"passed on"`, "denied@example.org", "SendAsDenied", `"lane":"default/two"`)
	r.log.await(t, `"msg":"failed"`, "nobody@example.org")
	r.log.await(t, `"msg":"delivered"`, "denied@example.org", `"upstream":"two"`, `"attempts":1`)
	expect(t, "the first", picky, "a@example.org")
	expect(t, "the second", other, "denied@example.org")
}

func TestWhatAllUpstreamsRefuseForThemselvesFails(t *testing.T) {
	r := start(t, hosts(`{name: default, upstreams: [one, two]}`, named("one", says(t, 554, "SendAsDenied here"), failover), named("two", says(t, 554, "SendAsDenied there"), failover)))
	if err := r.submit(fmt.Sprintf(scan, "denied")); err != nil {
		t.Fatal(err)
	}
	r.log.await(t, `"msg":"passed on"`, "SendAsDenied here")
	r.log.await(t, `"msg":"failed"`, "SendAsDenied there", `"upstream":"two"`)
}

// The first upstream could take the mail later, so what the second refuses for
// itself does not fail.
func TestTroubleOfAnUpstreamDoesNotFailMail(t *testing.T) {
	for name, trouble := range map[string]*smarthost{"slow": says(t, 432, "too many"), "held": says(t, 550, "quota exceeded")} {
		t.Run(name, func(t *testing.T) {
			denies := says(t, 554, "SendAsDenied")
			r := start(t, hosts(`{name: default, upstreams: [one, two]}`, named("one", trouble, failover), named("two", denies, failover)))
			if err := r.submit(fmt.Sprintf(scan, "patient")); err != nil {
				t.Fatal(err)
			}
			r.log.await(t, `"msg":"passed on"`, `"upstream":"one"`, `"lane":"default/two+"`)
			r.log.await(t, `"msg":"deferred"`, `"upstream":"two"`, "SendAsDenied")
		})
	}
}

// A quota that some of a message's recipients are too many for leaves it to the next.
func TestWhatAQuotaHasNoRoomForGoesOn(t *testing.T) {
	first, second := newSmarthost(t, "127.0.0.1:0"), newSmarthost(t, "127.0.0.1:0")
	r := start(t, hosts(`{name: default, upstreams: [one, two]}`, named("one", first, ", limits: {recipients: 4/d}"), named("two", second, "")))
	for _, to := range [][]string{{"a@example.org", "b@example.org", "c@example.org"}, {"d@example.org", "e@example.org"}, {"f@example.org"}} {
		if err := r.submitTo(fmt.Sprintf(scan, "many"), to...); err != nil {
			t.Fatal(err)
		}
		r.delivered(len(to))
	}
	expect(t, "the first", first, "a@example.org", "b@example.org", "c@example.org", "f@example.org")
	expect(t, "the second", second, "d@example.org", "e@example.org")
}

// What is put off begins again with the upstream that is preferred.
func TestTheNextAttemptBeginsWithTheFirstUpstream(t *testing.T) {
	first, second := newSmarthost(t, "127.0.0.1:0"), newSmarthost(t, "127.0.0.1:0")
	var asked atomic.Int32
	first.fault = func(string, *smtp.Conn) error {
		if asked.Add(1) == 1 {
			return &smtp.SMTPError{Code: 432, Message: "too many"}
		}
		return nil
	}
	second.fault = func(string, *smtp.Conn) error { return &smtp.SMTPError{Code: 451, Message: "not now"} }
	r := start(t, hosts(`{name: default, upstreams: [one, two]}`, named("one", first, failover), named("two", second, "")))
	if err := r.submit(fmt.Sprintf(scan, "again")); err != nil {
		t.Fatal(err)
	}
	r.log.await(t, `"msg":"passed on"`, `"upstream":"one"`)
	r.log.await(t, `"msg":"deferred"`, `"upstream":"two"`, `"attempts":1`)
	r.log.await(t, `"msg":"delivered"`, `"upstream":"one"`, `"attempts":2`)
}

// What may have been taken stays with its upstream, and the rest of the same
// message goes on.
func TestOnlyWhatWasSurelyNotSentGoesOn(t *testing.T) {
	first, second := newSmarthost(t, "127.0.0.1:0"), newSmarthost(t, "127.0.0.1:0")
	first.rcpt = func(_ []string, to string) error {
		if strings.HasPrefix(to, "denied") {
			return &smtp.SMTPError{Code: 554, Message: "SendAsDenied"}
		}
		return nil
	}
	var lost atomic.Bool
	first.fault = func(string, *smtp.Conn) error {
		if lost.CompareAndSwap(false, true) {
			return errLost
		}
		return nil
	}
	r := start(t, hosts(`{name: default, upstreams: [one, two]}`, named("one", first, failover), named("two", second, "")))
	if err := r.submitTo(fmt.Sprintf(scan, "half"), "a@example.org", "denied@example.org"); err != nil {
		t.Fatal(err)
	}
	r.log.await(t, `"msg":"uncertain"`, "a@example.org")
	r.log.await(t, `"msg":"delivered"`)
	r.log.await(t, `"msg":"delivered"`)
	expect(t, "the second", second, "denied@example.org")
}

func TestTooManyRecipientsGoInTheNextTransaction(t *testing.T) {
	tooMany := &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 5, 3}, Message: "too many recipients"}
	limited := func(most int) func([]string, string) error {
		return func(before []string, _ string) error {
			if len(before) >= most {
				return tooMany
			}
			return nil
		}
	}
	for _, c := range []struct {
		name, limits string
		rcpt         func([]string, string) error
		most         int
	}{
		{"a limit of the configuration", ", limits: {recipients_per_message: 3}", nil, 3},
		{"a limit the server tells of", "", limited(4), 4},
		{"both", ", limits: {recipients_per_message: 2}", limited(4), 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			host := newSmarthost(t, "127.0.0.1:0")
			host.rcpt = c.rcpt
			r := start(t, hosts(`{name: default, upstreams: [one]}`, named("one", host, c.limits)))
			var to []string
			for i := range 10 {
				to = append(to, fmt.Sprintf("%d@example.org", i))
			}
			if err := r.submitTo(fmt.Sprintf(scan, "many"), to...); err != nil {
				t.Fatal(err)
			}
			for range to {
				r.log.await(t, `"msg":"delivered"`, `"attempts":1`)
			}
			expect(t, "the host", host, to...)
			for _, part := range host.transactions() {
				if len(part) > c.most {
					t.Errorf("%d recipients in one transaction, %d are allowed", len(part), c.most)
				}
			}
		})
	}
}

// A server that refuses all recipients for their number is asked for fewer.
func TestATransactionThatIsRefusedAsTooLargeIsHalved(t *testing.T) {
	host := newSmarthost(t, "127.0.0.1:0")
	host.fault = nil
	r := start(t, hosts(`{name: default, upstreams: [one]}`, named("one", host, `, replies: [{text: too many at once, action: split}]`)))
	var refused sync.Map
	host.rcpt = func(before []string, to string) error {
		if _, again := refused.LoadOrStore(to, true); !again {
			return &smtp.SMTPError{Code: 550, Message: "too many at once"}
		}
		return nil
	}
	if err := r.submitTo(fmt.Sprintf(scan, "many"), "a@example.org", "b@example.org", "c@example.org", "d@example.org"); err != nil {
		t.Fatal(err)
	}
	r.delivered(4)
	for _, part := range host.transactions() {
		if len(part) > 2 {
			t.Errorf("%d recipients in one transaction", len(part))
		}
	}
}

func TestTheConfiguredSizeChoosesTheUpstream(t *testing.T) {
	small, wide := newSmarthost(t, "127.0.0.1:0"), newSmarthost(t, "127.0.0.1:0")
	r := start(t, hosts(`{name: default, upstreams: [one, two]}`, named("one", small, ", limits: {size: 3KiB}"), named("two", wide, ", limits: {size: 20KiB}")))
	if err := r.submit(heavy("heavy")); err != nil {
		t.Fatal(err)
	}
	wide.receive(t, "Subject: heavy")
	r.log.await(t, `"msg":"delivered"`, `"upstream":"two"`, `"attempts":1`)
	mustRefuse(t, "what neither takes", r.submit(heavy("huge")+strings.Repeat("page\n", 4000)), 552, "the mail server it goes through takes at most 20480")
	if n := len(small.transactions()); n != 0 {
		t.Errorf("the small one took %d", n)
	}
}

func TestAGroupSharesTheLoadAndTheNextServesWhileItIsDown(t *testing.T) {
	a, b, c := newSmarthost(t, "127.0.0.1:0"), newSmarthost(t, "127.0.0.1:0"), newSmarthost(t, "127.0.0.1:0")
	r := start(t, hosts(`{name: default, upstreams: [[a, b], c]}`, named("a", a, ", weight: 3"), named("b", b, ""), named("c", c, "")))
	for i := range 20 {
		if err := r.submit(fmt.Sprintf(scan, fmt.Sprintf("page %d", i))); err != nil {
			t.Fatal(err)
		}
		r.delivered(1)
	}
	if n, m := len(a.transactions()), len(b.transactions()); n != 15 || m != 5 {
		t.Errorf("%d and %d, of 20 with weights 3 and 1", n, m)
	}
	a.server.Close()
	b.server.Close()
	if err := r.submit(fmt.Sprintf(scan, "detour")); err != nil {
		t.Fatal(err)
	}
	c.receive(t, "Subject: detour")
}

// Mail of one kind waits; that of another kind in the same route does not.
func TestMailForABusyUpstreamDoesNotKeepOtherMailWaiting(t *testing.T) {
	busy, free := newSmarthost(t, "127.0.0.1:0"), newSmarthost(t, "127.0.0.1:0")
	release := make(chan struct{})
	busy.fault = func(string, *smtp.Conn) error { <-release; return nil }
	r := start(t, hosts(`{name: default, upstreams: [one, two]}`,
		named("one", busy, ", limits: {connections: 1}"), named("two", free, "")))
	defer close(release)
	for i := range 5 {
		if err := r.submit(fmt.Sprintf(scan, fmt.Sprintf("waits %d", i))); err != nil {
			t.Fatal(err)
		}
	}
	r.configure(hosts(`{name: default, upstreams: [one, two]}`,
		named("one", busy, ", limits: {connections: 1, size: 3KiB}"), named("two", free, "")))
	if err := r.Reload(r.configFile()); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if err := r.submit(heavy(fmt.Sprintf("goes %d", i))); err != nil {
			t.Fatal(err)
		}
		free.receive(t, fmt.Sprintf("goes %d", i))
	}
}

// history is what the store tells of its one message.
func (r *running) history() []queue.Event {
	r.t.Helper()
	store, err := queue.OpenReadOnly(filepath.Join(r.dir, "data"))
	if err != nil {
		r.t.Fatal(err)
	}
	defer store.Close()
	list, err := store.List(r.t.Context(), queue.Filter{All: true})
	if err != nil || len(list) != 1 {
		r.t.Fatal(len(list), err)
	}
	e, err := store.Show(r.t.Context(), list[0].ID)
	if err != nil {
		r.t.Fatal(err)
	}
	return e.History
}

func TestTheHistoryTellsWhereMailWentOn(t *testing.T) {
	second := newSmarthost(t, "127.0.0.1:0")
	r := start(t, hosts(`{name: default, upstreams: [one, two]}`, named("one", says(t, 550, "quota exceeded"), failover), named("two", second, "")))
	if err := r.submit(fmt.Sprintf(scan, "told")); err != nil {
		t.Fatal(err)
	}
	r.delivered(1)
	var told []string
	for _, e := range r.history() {
		for _, res := range e.Results {
			told = append(told, fmt.Sprintf("%s by %s: %s %q", e.What, e.Upstream, res.State, res.By))
		}
	}
	want := []string{`attempted by one: queued ["two"]`, `attempted by two: delivered []`}
	if !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}

func TestTheHistoryTellsWhyTheFirstUpstreamWasPassedOver(t *testing.T) {
	second := newSmarthost(t, "127.0.0.1:0")
	r := start(t, through(away, second.address))
	if err := r.submit(fmt.Sprintf(scan, "told")); err != nil {
		t.Fatal(err)
	}
	r.delivered(1)
	history := r.history()
	if e := history[2]; e.What != "attempted" || e.Upstream != "two" || !strings.HasPrefix(e.Text, "one passed over: connect: ") {
		t.Errorf("history %+v", history)
	}
}
