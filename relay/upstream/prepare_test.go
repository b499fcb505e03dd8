package upstream_test

import (
	"errors"
	"strings"
	"testing"

	"postern/relay/message"
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
