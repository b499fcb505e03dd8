package upstream_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/relay/message"
	"postern/relay/upstream"
	"postern/relay/upstream/transport"
)

// unlike is a pair whose upstreams offer other things: the first takes small
// mail in plain ASCII.
type unlike struct {
	pair
	first, second *server
}

func newUnlike(t *testing.T, second ...string) unlike {
	u := unlike{pair: newPair(t, upstream.Limits{}), second: newServer(t)}
	u.first = u.s
	u.first.ext = []string{"PIPELINING", "SIZE 1000", "8BITMIME"}
	u.second.ext = second
	u.set.Dial("two", func(context.Context) (net.Conn, error) {
		if u.dead["two"].Load() {
			return nil, errors.New("connection refused")
		}
		ours, theirs := net.Pipe()
		u.second.serve(theirs)
		return ours, nil
	})
	return u
}

// hear has the relay connect to an upstream.
func (u unlike) hear(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		slot := u.set.TrySlot("upstream:" + name)
		if _, err := slot.Send(t.Context(), letter("x\r\n", "a@example.net"), nil); err != nil {
			t.Fatal(err)
		}
		slot.Release()
	}
}

var large = transport.Load{Size: 3000}

func TestWhatIsCarriedIsWhatWasOffered(t *testing.T) {
	for _, c := range []struct {
		name   string
		second []string // what the second upstream offers
		heard  string   // the upstreams connected to
		load   transport.Load
		want   string
	}{
		{"nothing is known", nil, "", large, ""},
		{"one of two is not known", nil, "one", large, ""},
		{"within the limit", nil, "one two", transport.Load{Size: 1000}, ""},
		{"over every limit", []string{"SIZE 2000"}, "one two", large, "552 5.3.4 the message has 3000 octets, and the mail server it goes through takes at most 2000"},
		{"over one limit", []string{"SIZE 3000"}, "one two", large, ""},
		{"no limit is named", []string{"SIZE"}, "one two", large, ""},
		{"SMTPUTF8 from neither", nil, "one two", transport.Load{UTF8: true}, "550 5.6.7 an address or the header is not plain ASCII"},
		{"SMTPUTF8 from one", []string{"SMTPUTF8"}, "one two", transport.Load{UTF8: true}, ""},
		{"8BITMIME from one", nil, "one two", transport.Load{EightBit: true}, ""},
		{"all of it from nobody alone", nil, "one two", transport.Load{Size: 3000, EightBit: true}, "554 5.3.3 the message asks for more than any one"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := newUnlike(t, c.second...)
				u.hear(t, strings.Fields(c.heard)...)
				got := ""
				if reply := u.set.Carries("default", c.load); reply != nil {
					got = reply.String()
				}
				if got != c.want && (c.want == "" || !strings.HasPrefix(got, c.want)) {
					t.Errorf("%q", got)
				}
			})
		})
	}
}

func TestEightBitMailIsRefusedWhereNobodyTakesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUnlike(t)
		u.hear(t, "two")
		reply := u.set.Carries("upstream:two", transport.Load{EightBit: true})
		if reply == nil || !strings.HasPrefix(reply.String(), "554 5.6.3") {
			t.Error(reply)
		}
	})
}

func TestTheCaptureCarriesEverything(t *testing.T) {
	o, _ := options(t)
	set := newSet(t, route(upstream.Upstream{Name: "c", Preset: "capture"}), o)
	if reply := set.Carries("default", transport.Load{Size: 1 << 40, EightBit: true, UTF8: true}); reply != nil {
		t.Error(reply)
	}
}

func TestTheLastOfferCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUnlike(t)
		u.hear(t, "one")
		u.first.ext = []string{"SIZE 5000", "8BITMIME"}
		if u.set.Carries("upstream:one", large) == nil {
			t.Error("carried before the new offer was heard")
		}
		u.first.cut() // the next message needs a new connection
		u.hear(t, "one")
		if reply := u.set.Carries("upstream:one", large); reply != nil {
			t.Error(reply)
		}
	})
}

// Where all mail is refused no connection is made on which a better offer could
// be heard.
func TestAnOfferIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUnlike(t)
		u.hear(t, "one")
		time.Sleep(time.Hour - 1)
		if u.set.Carries("upstream:one", large) == nil {
			t.Error("forgotten too soon")
		}
		time.Sleep(time.Nanosecond)
		if reply := u.set.Carries("upstream:one", large); reply != nil {
			t.Error(reply)
		}
	})
}

func TestAReloadKeepsWhatWasOffered(t *testing.T) {
	s := newServer(t)
	s.ext = append(without(s.ext, "SIZE 10485760"), "SIZE 1000")
	cfg := route(smarthost(t, s.listen(t)))
	o, _ := options(t)
	old := newSet(t, cfg, o)
	if _, err := send(t, old, letter("x\r\n", "a@example.net")); err != nil {
		t.Fatal(err)
	}
	next, err := upstream.New(cfg, o, old)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { next.Close() })
	old.Retire(next)
	if next.Carries("default", large) == nil {
		t.Error("forgotten")
	}
}

// heavy is over the limit of the first upstream.
func heavy() *message.Message { return letter(strings.Repeat("x", 3000)+"\r\n", "a@example.net") }

func TestAMessageIsLeftToTheUpstreamThatCanCarryIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUnlike(t)
		for range 2 { // first on hearing the limit, then knowing it
			slot := u.set.TrySlot("default")
			unfit := new(transport.Unfit)
			if _, err := slot.Send(t.Context(), heavy(), nil); !errors.As(err, &unfit) || unfit.Upstream != "one" || unfit.Reply.Enhanced != "5.3.4" {
				t.Fatal(err)
			}
			slot.Release()
			slot = u.set.TrySlot(u.set.Without("default", "one", true))
			if results, err := slot.Send(t.Context(), heavy(), nil); err != nil || outcomes(results) != "delivered" || slot.Upstream() != "two" {
				t.Error(slot.Upstream(), results, err)
			}
			slot.Release()
		}
		if got := u.first.got(); len(got) != 0 || u.first.count() != 1 {
			t.Errorf("the first has %d mails after %d sessions", len(got), u.first.count())
		}
		u.hear(t, "one") // on the connection it could not be sent on
		if u.first.count() != 1 {
			t.Errorf("%d sessions", u.first.count())
		}
	})
}

func TestMailToSomeOnlyIsLeftToTheUpstreamThatServesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUnlike(t, "8BITMIME", "SMTPUTF8")
		m := letter("x\r\n", "jörg@example.net", "a@example.net")
		slot := u.set.TrySlot("default")
		defer slot.Release()
		if _, err := slot.Send(t.Context(), m, nil); !errors.As(err, new(*transport.Unfit)) || len(u.first.got()) != 0 {
			t.Error(err)
		}
		u.second.ext = nil
		u.hear(t, "two")
		if results, err := slot.Send(t.Context(), m, nil); err != nil || outcomes(results) != "failed delivered" {
			t.Error(results, err)
		}
	})
}

func TestAKeptConnectionWithALowerLimitIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUnlike(t)
		u.hear(t, "one")
		u.first.ext = []string{"SIZE 5000"}
		slot := u.set.TrySlot("upstream:one")
		defer slot.Release()
		if results, err := slot.Send(t.Context(), heavy(), nil); err != nil || outcomes(results) != "delivered" || u.first.count() != 2 {
			t.Error(results, err, u.first.count())
		}
	})
}

func TestAnUnfitProbeBringsTheUpstreamUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUnlike(t)
		u.dead["one"].Store(true)
		u.expect(t, "one unreachable")
		time.Sleep(time.Second)
		u.dead["one"].Store(false)
		probe := u.set.TrySlot("default")
		if _, err := probe.Send(t.Context(), heavy(), nil); !errors.As(err, new(*transport.Unfit)) {
			t.Error(err)
		}
		probe.Release()
		if slots, err := u.set.Slots(t.Context(), "default", 2); len(slots) != 2 || slots[0].Upstream() != "one" {
			t.Errorf("%d slots, %v", len(slots), err)
		}
	})
}
