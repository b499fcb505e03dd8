package upstream_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postern/metrics"
	"postern/relay/message"
	"postern/relay/queue"
	"postern/relay/setting"
	"postern/relay/upstream"
	"postern/relay/upstream/transport"
)

// strict is what a provider allows that does not say so: as many transactions at
// once, and as many messages in any minute.
type strict struct {
	connections, perMinute int

	mu       sync.Mutex
	active   int
	took     []time.Time
	refused  int
	mostOnce int
}

func (p *strict) hear(step, _ string) string {
	switch step {
	case "MAIL":
		return p.mail()
	case "DOT":
		time.Sleep(500 * time.Millisecond)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.active--
	}
	return ""
}

func (p *strict) mail() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, lately := time.Now(), 0
	for i := len(p.took) - 1; i >= 0 && now.Sub(p.took[i]) < time.Minute; i-- {
		lately++
	}
	switch {
	case p.active >= p.connections:
		p.refused++
		return "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded"
	case lately >= p.perMinute:
		p.refused++
		return "451 4.7.1 Too many messages from this mailbox, slow down"
	}
	p.active++
	p.mostOnce = max(p.mostOnce, p.active)
	p.took = append(p.took, now)
	return ""
}

// sender is the sending half of the relay, as far as the queue and the upstreams
// go.
type sender struct {
	t       *testing.T
	store   queue.Store
	set     *upstream.Set
	lane    string
	sending sync.WaitGroup
}

func (s *sender) serve(ctx context.Context) {
	for {
		if s.store.Wait(ctx, s.lane) != nil {
			return
		}
		slots, err := s.set.Slots(ctx, s.lane, 16)
		if err != nil {
			return
		}
		claims, err := s.store.Claim(ctx, s.lane, slots[0].Upstream(), len(slots), 100)
		if err != nil && ctx.Err() == nil {
			s.t.Error(err)
		}
		for i, slot := range slots {
			if i < len(claims) {
				s.sending.Go(func() { s.deliver(slot, claims[i]) })
			} else {
				slot.Release()
			}
		}
	}
}

func (s *sender) deliver(slot *upstream.Slot, c *queue.Claim) {
	defer slot.Release()
	results, err := slot.Send(context.Background(), c.Message, nil)
	if err != nil {
		if err := s.store.Return(context.Background(), c, err.Error()); err != nil {
			s.t.Error(err)
		}
		return
	}
	var outcomes []queue.Outcome
	for _, r := range results {
		o := queue.Outcome{Result: r.Result, Wait: r.Advice.For}
		if r.Advice.Action == transport.Slow {
			o.Wait = max(o.Wait, 5*time.Second)
		}
		outcomes = append(outcomes, o)
	}
	if _, err := s.store.Settle(context.Background(), c, outcomes, nil); err != nil {
		s.t.Error(err)
	}
}

// A thousand messages at once go through a mailbox of which nobody knows that it
// takes 30 a minute over three connections: all
// arrive once, none is refused for good, and the rate that is learned is near.
// Learning costs some 40 refusals, however many wait; who does not learn has each
// message refused that is not among the first 30.
func TestAThousandMessagesThroughANarrowMailbox(t *testing.T) {
	const messages = flood
	synctest.Test(t, func(t *testing.T) {
		provider := &strict{connections: 3, perMinute: 30}
		p := newPair(t, upstream.Limits{})
		p.s.fault, p.s.ext = provider.hear, without(p.s.ext, "PIPELINING") // so that it is asked no more after a refused MAIL
		cfg := queue.DefaultConfig()
		cfg.AllowVolatile, cfg.MinFree, cfg.Retry = true, 0, []setting.Duration{setting.Duration(time.Minute), setting.Duration(10 * time.Minute)}
		store, err := queue.Open(cfg, t.TempDir(), metrics.New("", ""), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		for i := range messages {
			m := letter(fmt.Sprintf("number %d.\r\n", i), "a@example.net")
			m.ID, m.Received, m.Client.Account = message.NewID(time.Now()), time.Now(), fmt.Sprint("account", i%3)
			if _, err := store.Put(t.Context(), m, []queue.Way{{Lane: "default"}}); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		s := &sender{t: t, store: store, set: p.set, lane: "default"}
		var serving sync.WaitGroup
		serving.Go(func() { s.serve(ctx) })
		for waiting := 1; waiting > 0; {
			time.Sleep(time.Minute)
			entries, err := store.List(ctx, queue.Filter{Limit: messages})
			if err != nil {
				t.Fatal(err)
			}
			if waiting = len(entries); waiting < 10 || time.Since(began) < 10*time.Minute {
				continue
			}
			if rate := p.set.Status()[0].Rate; rate < 27 || rate > 33 {
				t.Errorf("after %v it has learned %.1f a minute", time.Since(began), rate)
			}
			if time.Since(began) > 2*time.Hour {
				t.Fatalf("%d still wait", waiting)
			}
		}
		took := time.Since(began)
		cancel()
		serving.Wait()
		s.sending.Wait()
		seen := map[string]int{}
		for _, m := range p.s.got() {
			seen[string(m.content[strings.Index(string(m.content), "number"):])]++
		}
		for text, n := range seen {
			if n != 1 {
				t.Errorf("%d times %q", n, text)
			}
		}
		st := p.set.Status()[0]
		t.Logf("%d in %v; %d refused; at the end %.1f a minute over %d connections", len(seen), took, provider.refused, st.Rate, st.ConnectionLimit)
		if len(seen) != messages || provider.refused > 100 || took > time.Hour {
			t.Errorf("%d arrived in %v, %d were refused", len(seen), took, provider.refused)
		}
	})
}

// While the upstream is back after an outage, and a backlog goes to it over one
// connection more after the other, a message from another account does not wait for
// that.
func TestAfterAnOutageNobodyWaitsForTheBacklogOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		provider := &strict{connections: 1000, perMinute: 1 << 30}
		p := newPair(t, upstream.Limits{})
		p.s.fault = provider.hear
		cfg := queue.DefaultConfig()
		cfg.AllowVolatile, cfg.MinFree = true, 0
		store, err := queue.Open(cfg, t.TempDir(), metrics.New("", ""), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		put := func(account, text string) {
			m := letter(text+"\r\n", "a@example.net")
			m.ID, m.Received, m.Client.Account = message.NewID(time.Now()), time.Now(), account
			if _, err := store.Put(t.Context(), m, []queue.Way{{Lane: "upstream:one"}}); err != nil {
				t.Fatal(err)
			}
		}
		p.dead["one"].Store(true)
		for range flood {
			put("newsletter", "many")
		}
		s := &sender{t: t, store: store, set: p.set, lane: "upstream:one"}
		ctx, cancel := context.WithCancel(t.Context())
		var serving sync.WaitGroup
		serving.Go(func() { s.serve(ctx) })
		time.Sleep(10 * time.Minute)
		p.dead["one"].Store(false)
		for len(p.s.got()) == 0 {
			time.Sleep(time.Second)
		}
		put("printer", "a page")
		time.Sleep(2 * time.Second)
		found := false
		for _, m := range p.s.got() {
			found = found || strings.Contains(string(m.content), "a page")
		}
		if n := len(p.s.got()); !found || n > 100 {
			t.Errorf("two seconds later %d have arrived, that of the other account among them: %v", n, found)
		}
		cancel()
		serving.Wait()
		s.sending.Wait()
	})
}
