package queue_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"postern/metrics"
	"postern/relay/message"
	"postern/relay/queue"
	"postern/relay/queue/queuetest"
)

// Whatever becomes of messages, and whenever the index is filled or the process
// ends, a search finds what a look at each of them finds.
func TestASearchFindsWhatIsThere(t *testing.T) {
	h := &historian{t: t, dir: t.TempDir()}
	h.open()
	defer func() { h.s.Close() }()
	rapid.Check(t, func(rt *rapid.T) {
		h.T, h.ids = rt, nil
		for _, table := range []string{"messages", "contents", "deliveries", "history", "search"} {
			if err := h.s.Exec("DELETE FROM " + table); err != nil {
				rt.Fatal(err)
			}
		}
		for range rapid.IntRange(1, 15).Draw(rt, "steps") {
			h.step()
		}
		for range 10 {
			h.compare()
		}
	})
}

// historian makes a history.
type historian struct {
	*rapid.T
	t   *testing.T
	dir string
	s   *queue.SQLite
	ids []string
}

func (h *historian) of(what ...string) string { return rapid.SampledFrom(what).Draw(h.T, "one") }

func (h *historian) account() string { return h.of("erp", "Printer 3", "ümlaut") }
func (h *historian) address() string {
	return h.of("a@example.com", "A.B@example.org", "c_d@example.com")
}
func (h *historian) said() message.Reply {
	return message.Reply{Code: 450, Enhanced: "4.2.0", Text: h.of("Mailbox full", "Try\nagain LATER", "Grüße von mx1.example.net", "<a@example.com>: who?", "full")}
}

func (h *historian) step() {
	switch rapid.IntRange(0, 9).Draw(h.T, "step") {
	case 0, 1, 2:
		h.put()
	case 3, 4, 5:
		h.settle()
	case 6:
		h.order()
	case 7:
		h.reopen()
	default:
		if err := h.s.Fill(h.t.Context()); err != nil {
			h.Fatal(err)
		}
	}
}

func (h *historian) put() {
	to := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a@example.com", "A.B@example.org", "c_d@example.com"}), 1, 3, rapid.ID).Draw(h.T, "to")
	m := queuetest.NewMessage(h.account(), 10, to...)
	if err := m.From.UnmarshalText([]byte(h.of("", "a@example.com", "x y@example.com"))); err != nil {
		m.From = message.Address{}
	}
	if _, err := queuetest.Put(h.t.Context(), h.s, m, "office", h.of("", "m365")); err != nil {
		h.Fatal(err)
	}
	h.ids = append(h.ids, m.ID)
}

// settle ends a claim in some way, or leaves it to whoever opens the store next.
func (h *historian) settle() {
	claims, err := h.s.Claim(h.t.Context(), "office", "m365", 1, 0)
	if err != nil {
		h.Fatal(err)
	}
	for _, c := range claims {
		switch h.of("settle", "settle", "settle", "return", "leave") {
		case "return":
			err = h.s.Return(h.t.Context(), c, h.of("", "no connection"))
		case "settle":
			outcomes := make([]queue.Outcome, len(c.Message.To))
			for i := range outcomes {
				o := message.Result{Outcome: rapid.SampledFrom([]message.Outcome{message.Delivered, message.Failed, message.Deferred, message.Uncertain}).Draw(h.T, "outcome"), Reply: h.said()}
				if o.Outcome == message.Delivered {
					o.RemoteID = h.of("9F3A2", "<x y@z>", "")
				}
				outcomes[i] = queue.Outcome{Result: o}
			}
			_, err = h.s.Settle(h.t.Context(), c, outcomes, nil)
		}
		if err != nil {
			h.Fatal(err)
		}
	}
}

func (h *historian) order() {
	if len(h.ids) == 0 {
		return
	}
	ids := []string{rapid.SampledFrom(h.ids).Draw(h.T, "id")}
	var err error
	switch do := h.of("retry", "hold", "release", "drop", "arrived", "lost", "begin", "cancel", "end"); do {
	case "begin":
		_, err = h.s.BeginMove(h.t.Context(), ids, "me", "there")
	case "cancel":
		_, err = h.s.CancelMove(h.t.Context(), ids, "me", "why")
	case "end":
		_, err = h.s.EndMove(h.t.Context(), ids, "me", "there")
	default:
		_, err = h.s.Act(h.t.Context(), queue.Order{Do: queue.Do(do), IDs: ids, By: "me", Reason: "because"}, func(w queue.Waiting) []string {
			return slices.Repeat([]string{"office"}, len(w.To))
		})
	}
	if err != nil {
		h.Fatal(err)
	}
}

func (h *historian) open() {
	var err error
	if h.s, err = queue.Open(queuetest.Config(), h.dir, metrics.New("test", ""), quiet()); err != nil {
		h.t.Fatal(err)
	}
	h.s.StopFilling()
	if err := h.s.Unsynced(); err != nil {
		h.t.Fatal(err)
	}
}

func (h *historian) reopen() {
	if err := h.s.Close(); err != nil {
		h.Fatal(err)
	}
	h.open()
}

// compare holds a search against a look at each message.
func (h *historian) compare() {
	f := queue.Filter{All: true, Newest: rapid.Bool().Draw(h.T, "newest"), Account: h.of("", "", "ERP", "printer 3", "ümlaut"), Recipient: h.of("", "", strings.ToUpper(h.address())),
		Sender: h.of("", "", "<>", "A@example.com"), RemoteID: h.of("", "", "9f3a2", "<X y@z>"),
		Reply: h.of("", "", "FULL", "again later", "grüße", "example.net", "a@example.com", "4.2.0 mailbox", "because", "process ended")}
	f.States = rapid.SliceOfNDistinct(rapid.SampledFrom([]queue.State{queue.Queued, queue.Sending, queue.Deferred, queue.Held, queue.Uncertain, queue.Delivered, queue.Failed, queue.Dropped}), 0, 2, rapid.ID).Draw(h.T, "states")
	found, err := h.s.Search(h.t.Context(), f)
	if err != nil {
		h.Fatal(err)
	}
	var got, want []string
	for _, e := range found.Entries {
		got = append(got, e.ID)
	}
	for _, id := range h.ids {
		e, err := h.s.Show(h.t.Context(), id)
		if err != nil {
			h.Fatal(err)
		}
		if matches(f, e) {
			want = append(want, id)
		}
	}
	if f.Newest {
		slices.Reverse(got)
	}
	if !slices.Equal(got, want) {
		h.Fatalf("%+v: found %v, there are %v", f, got, want)
	}
}

// matches is what a search means.
func matches(f queue.Filter, e *queue.Entry) bool {
	if f.Account != "" && !strings.EqualFold(e.Client.Account, f.Account) || f.Sender != "" && !strings.EqualFold(e.From.String(), strings.Trim(f.Sender, "<>")) {
		return false
	}
	var said string
	for _, event := range e.History {
		for _, r := range event.Results {
			said += " " + strings.ToLower(r.Reply.String())
		}
	}
	for _, word := range strings.Fields(strings.ToLower(f.Reply)) {
		if !strings.Contains(said, word) {
			return false
		}
	}
	return slices.ContainsFunc(e.Deliveries, func(d queue.Delivery) bool {
		return (f.Recipient == "" || strings.EqualFold(d.Recipient.Address.String(), f.Recipient)) && (f.RemoteID == "" || strings.EqualFold(d.RemoteID, f.RemoteID)) &&
			(len(f.States) == 0 || slices.Contains(f.States, d.State))
	})
}
