package upstream_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/relay/message"
	"postern/relay/upstream"
)

func TestRoutes(t *testing.T) {
	patterns := func(texts ...string) message.Patterns {
		p, err := message.ParsePatterns(texts...)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	by := []upstream.Group{{"a"}}
	o, _ := options(t)
	o.Accounts = map[string]upstream.Account{"erp": {Route: "rest"}}
	set := newSet(t, upstream.Config{
		Upstreams: []upstream.Upstream{{Name: "a", Preset: "capture"}},
		Routes: []upstream.Route{
			{Name: "partner", Recipients: patterns("@partner.example"), Upstreams: by},
			{Name: "large", Larger: 1000, Smaller: 5000, Upstreams: by},
			{Name: "scans", Listeners: []string{"floor3"}, Accounts: []string{"printer"}, Upstreams: by},
			{Name: "rest", Senders: patterns("@example.com"), Upstreams: by},
		}}, o)
	printer := upstream.Mail{Account: "printer", Listener: "submission", From: address("scan@example.com"), To: address("a@example.org"), Size: 10}
	for _, c := range []struct {
		name   string
		change func(m *upstream.Mail)
		want   string
	}{
		{"none but the last fits", func(*upstream.Mail) {}, "rest"},
		{"the recipient chooses", func(m *upstream.Mail) { m.To = address("a@PARTNER.example") }, "partner"},
		{"the size chooses", func(m *upstream.Mail) { m.Size = 1001 }, "large"},
		{"larger means more than that", func(m *upstream.Mail) { m.Size = 1000 }, "rest"},
		{"smaller means not more than that", func(m *upstream.Mail) { m.Size = 5000 }, "large"},
		{"and not more", func(m *upstream.Mail) { m.Size = 5001 }, "rest"},
		{"listener and account choose", func(m *upstream.Mail) { m.Listener = "floor3" }, "scans"},
		{"all conditions must fit", func(m *upstream.Mail) { m.Listener, m.Account = "floor3", "other" }, "rest"},
		{"nothing fits", func(m *upstream.Mail) { m.From = address("a@example.net") }, ""},
		{"the account has a route of its own", func(m *upstream.Mail) { m.Account, m.To = "erp", address("a@partner.example") }, "rest"},
		{"at MAIL any may come", func(m *upstream.Mail) { m.To, m.Size = message.Address{}, 0 }, "partner large rest"},
		{"at RCPT the size is not known", func(m *upstream.Mail) { m.Size = 0 }, "large rest"},
		{"at RCPT a certain one ends the search", func(m *upstream.Mail) { m.To, m.Size = address("a@partner.example"), 0 }, "partner"},
		{"at MAIL a stranger may yet go to a partner", func(m *upstream.Mail) { m.From, m.To, m.Size = message.Address{}, message.Address{}, 0 }, "partner large"},
	} {
		m := printer
		c.change(&m)
		if got := strings.Join(set.Routes(m), " "); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestLanesAreNarrowed(t *testing.T) {
	o, _ := options(t)
	var us []upstream.Upstream
	for _, name := range []string{"a", "b", "c"} {
		us = append(us, upstream.Upstream{Name: name, Preset: "capture"})
	}
	set := newSet(t, upstream.Config{Upstreams: us, Routes: []upstream.Route{{Name: "r", Upstreams: []upstream.Group{{"a", "b"}, {"c"}}}}}, o)
	for _, c := range []struct{ got, want string }{
		{set.Only("r", []string{"a", "b", "c"}), "r"},
		{set.Only("r", []string{"a", "c"}), "r/a,c"},
		{set.Without("r", "a", true), "r/b,c"},
		{set.Without("r", "b", false), "r/a,c+"},
		{set.Without("r/a,c+", "a", true), "r/c+"},
		{set.Without("r/c", "c", true), ""},
		{set.Without("upstream:a", "a", true), ""},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
	for lane, serves := range map[string]bool{"r": true, "r/b+": true, "r/gone,c": true, "r/gone": false, "gone": false, "gone/a": false, "upstream:a": true, "upstream:gone": false} {
		if set.Serves(lane) != serves {
			t.Errorf("lane %q is served: %v", lane, !serves)
		}
	}
	if slot := set.TrySlot("r/c"); slot.Upstream() != "c" {
		t.Errorf("%q serves r/c", slot.Upstream())
	}
}

// turns are the upstreams that get the next n messages, one at a time.
func (p pair) turns(n int) (got string) {
	for range n {
		slot := p.set.TrySlot("default")
		got += slot.Upstream()[:1]
		slot.Send(p.t.Context(), letter("x\r\n", "a@example.net"), nil)
		slot.Release()
	}
	return got
}

// newTurns is a pair whose upstreams share the load 3 to 1.
func newTurns(t *testing.T) pair {
	p := newPair(t, upstream.Limits{})
	p.cfg.Upstreams[0].Weight = 3
	p.cfg.Routes[0].Upstreams = []upstream.Group{{"one", "two"}}
	p.reopen(t)
	return p
}

func TestAGroupTakesTurnsByWeight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTurns(t)
		got := p.turns(40)
		if n := strings.Count(got, "t"); n != 10 {
			t.Errorf("%d of 40 by the second, whose share is a quarter: %s", n, got)
		}
		if strings.Contains(got, "ooooo") || strings.Contains(got, "tt") {
			t.Errorf("not in turns: %s", got)
		}
	})
}

// What a slot was taken for and not used counts as no turn.
func TestUnusedSlotsAreNoTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTurns(t)
		for range 10 {
			slots, err := p.set.Slots(t.Context(), "default", 16)
			if err != nil {
				t.Fatal(err)
			}
			for _, slot := range slots {
				slot.Release()
			}
		}
		if got := p.turns(4); strings.Count(got, "t") != 1 {
			t.Errorf("turns %s", got)
		}
	})
}

// One that comes back does not get all the turns it has missed.
func TestMissedTurnsAreNotMadeUpFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTurns(t)
		p.dead["two"].Store(true)
		p.turns(100)
		p.dead["two"].Store(false)
		time.Sleep(time.Minute)
		if got := p.turns(8); strings.Count(got, "t") > 3 {
			t.Errorf("turns %s", got)
		}
	})
}

func TestAFullMemberOfAGroupLeavesItsTurnToAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, upstream.Limits{Connections: 1})
		p.cfg.Routes[0].Upstreams = []upstream.Group{{"one", "two"}}
		p.reopen(t)
		a, b := p.set.TrySlot("default"), p.set.TrySlot("default")
		if got := []string{a.Upstream(), b.Upstream()}; !slices.Equal(got, []string{"one", "two"}) {
			t.Errorf("slots of %q", got)
		}
		if p.set.TrySlot("default") != nil {
			t.Error("a third slot of two")
		}
		a.Release()
		b.Release()
	})
}

func TestASlotTellsWhyItIsNotOfTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, upstream.Limits{})
		slot := p.set.TrySlot("default")
		if why := slot.Detour(); why != "" {
			t.Errorf("the first tells %q", why)
		}
		slot.Release()
		p.dead["one"].Store(true)
		p.expect(t, "one unreachable")
		slot = p.set.TrySlot("default")
		if why := slot.Detour(); !strings.HasPrefix(why, "one passed over: connect: connection refused") {
			t.Errorf("it tells %q", why)
		}
		slot.Release()
	})
}
