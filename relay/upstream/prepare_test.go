package upstream_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/relay/message"
	"postern/relay/upstream"
	"postern/relay/upstream/transport"
)

func TestAMessageIsPreparedForWhatIsOffered(t *testing.T) {
	s := newServer(t)
	s.ext = []string{"PIPELINING", "SIZE 5000", "8BITMIME", "AUTH PLAIN"}
	o, _ := options(t)
	set := newSet(t, route(smarthost(t, s.listen(t))), o)
	var told []transport.Offer
	plain := letter("plain\r\n", "a@example.net")
	slot := set.TrySlot("default")
	defer slot.Release()
	m := letter("gr\xc3\xbc\xc3\x9fe\r\n", "a@example.net")
	results, err := slot.Send(t.Context(), m, func(o transport.Offer) (*message.Message, error) {
		told = append(told, o)
		return plain, nil
	})
	if err != nil || outcomes(results) != "delivered" {
		t.Fatal(results, err)
	}
	if len(told) != 1 || told[0] != (transport.Offer{Size: 5000, EightBit: true}) {
		t.Errorf("told %+v", told)
	}
	if got := s.got(); len(got) != 1 || !strings.HasSuffix(string(got[0].content), "plain\r\n") {
		t.Errorf("sent %v", got)
	}
}

func TestAMessageThatCannotBePreparedCostsNoConnection(t *testing.T) {
	s := newServer(t)
	o, log := options(t)
	set := newSet(t, route(smarthost(t, s.listen(t))), o)
	slot := set.TrySlot("default")
	defer slot.Release()
	reason := message.Refuse(550, "5.7.1", "not under that name")
	for range 2 {
		_, err := slot.Send(t.Context(), letter("x\r\n", "a@example.net"), func(transport.Offer) (*message.Message, error) { return nil, reason })
		if !errors.Is(err, reason) {
			t.Fatalf("got %v", err)
		}
	}
	if results, err := slot.Send(t.Context(), letter("y\r\n", "a@example.net"), nil); err != nil || outcomes(results) != "delivered" {
		t.Fatal(results, err)
	}
	if s.count() != 1 || len(s.got()) != 1 || strings.Contains(log.String(), "down") {
		t.Errorf("%d sessions, %d mails\n%s", s.count(), len(s.got()), log)
	}
}

func TestAMessageIsPreparedAgainForANewSession(t *testing.T) {
	s := newServer(t)
	o, _ := options(t)
	set := newSet(t, route(smarthost(t, s.listen(t))), o)
	if _, err := send(t, set, letter("first\r\n", "a@example.net")); err != nil {
		t.Fatal(err)
	}
	s.cut() // the kept session is over, which shows when MAIL is said
	slot := set.TrySlot("default")
	defer slot.Release()
	times := 0
	m := letter("second\r\n", "a@example.net")
	results, err := slot.Send(t.Context(), m, func(transport.Offer) (*message.Message, error) { times++; return m, nil })
	if err != nil || outcomes(results) != "delivered" || times != 2 {
		t.Errorf("%v, %v, prepared %d times", results, err, times)
	}
}

func TestASlotIsWaitedForAmongThoseThatFit(t *testing.T) {
	o, _ := options(t)
	busy, other := smarthost(t, newServer(t).listen(t)), smarthost(t, newServer(t).listen(t))
	busy.Name, busy.Limits.Connections, other.Name = "busy", 1, "other"
	set := newSet(t, route(other, busy), o)
	onlyBusy := func(name string, _ transport.Offer) bool { return name == "busy" }
	first := set.SlotFor(t.Context(), "default", onlyBusy)
	if first.Upstream() != "busy" {
		t.Fatalf("a slot of %q", first.Upstream())
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if slot := set.SlotFor(ended, "default", onlyBusy); slot != nil {
		t.Errorf("a slot of %q that is taken", slot.Upstream())
	}
	if slot := set.SlotFor(t.Context(), "default", func(string, transport.Offer) bool { return false }); slot != nil {
		t.Errorf("a slot of %q, which does not fit", slot.Upstream())
	}
	got := make(chan *upstream.Slot)
	go func() { got <- set.SlotFor(t.Context(), "default", onlyBusy) }()
	first.Release()
	if second := <-got; second.Upstream() != "busy" {
		t.Errorf("a slot of %q", second.Upstream())
	} else {
		second.Release()
	}
}

func TestNobodyWaitsForAnUpstreamThatIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, upstream.Limits{})
		p.dead["one"].Store(true)
		p.expect(t, "one unreachable")
		began := time.Now()
		if slot := p.set.SlotFor(t.Context(), "upstream:one", all); slot != nil || time.Since(began) > 0 {
			t.Errorf("a slot of %q after %s", slot.Upstream(), time.Since(began))
		}
		time.Sleep(time.Second) // its pause is over
		probe := p.set.SlotFor(t.Context(), "upstream:one", all)
		if probe.Upstream() != "one" {
			t.Error("after its pause it is not tried again")
		}
		probe.Release()
	})
}
