package upstream_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"postern/relay/message"
	"postern/relay/upstream"
	"postern/relay/upstream/transport"
)

// aheadSet sends to s with look-ahead over that many connections.
func aheadSet(t *testing.T, s *server, connections int) *upstream.Set {
	u := smarthost(t, s.listen(t))
	u.LookAhead, u.Limits = true, upstream.Limits{Connections: connections, MessagesPerConnection: 1 << 20}
	o, _ := options(t)
	return newSet(t, route(u), o)
}

// marked is a message to one recipient whose body is a mark of its own.
func marked(i int) *message.Message {
	return letter(fmt.Sprintf("mark-%d.\r\n", i), fmt.Sprintf("r%d@example.net", i))
}

func marks(mails []mail) (all []string) {
	for _, m := range mails {
		_, mark, _ := strings.Cut(string(m.content), "\r\n\r\n")
		all = append(all, strings.TrimSpace(mark))
	}
	return all
}

// holdDot makes the answer to the first final dot wait until the next MAIL is
// there, pipelined behind it: who does not look ahead waits for ever.
func (s *server) holdDot(reply string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dotWaits, s.dotReply = true, reply
}

func TestLookAhead(t *testing.T) {
	for _, c := range []struct {
		name, dot string // the answer to the first
		want      string
		sessions  int
		mails     int
	}{
		{"accepted", "250 2.0.0 ok", "delivered", 1, 2},
		{"refused for good", "554 5.7.1 spam", "failed", 1, 2},
		{"refused for now", "451 4.3.0 later", "deferred", 1, 2},
		{"the server is going down", "421 4.3.2 closing", "deferred", 2, 2},
		{"no answer", drop, "uncertain", 2, 2},
		{"nonsense", "ok", "uncertain", 2, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			set := aheadSet(t, s, 1)
			s.holdDot(c.dot)
			slots, err := set.Slots(t.Context(), "default", 5)
			if err != nil || len(slots) != 2 {
				t.Fatalf("%d slots, %v", len(slots), err)
			}
			var got [2][]transport.Result
			var wg sync.WaitGroup
			for i, slot := range slots {
				wg.Go(func() { got[i], _ = slot.Send(t.Context(), marked(i), nil) })
			}
			wg.Wait()
			outcome := []string{outcomes(got[0]), outcomes(got[1])}
			slices.Sort(outcome)
			want := []string{c.want, "delivered"}
			slices.Sort(want)
			if !slices.Equal(outcome, want) || s.count() != c.sessions || len(s.got()) != c.mails {
				t.Errorf("%q in %d sessions, %d mails: %q", outcome, s.count(), len(s.got()), s.heard())
			}
			if found := marks(s.got()); len(found) != 2 || found[0] == found[1] {
				t.Errorf("the server got %q", found)
			}
			if slices.Contains(s.heard(), "RSET") {
				t.Errorf("said RSET: %q", s.heard())
			}
			for _, slot := range slots {
				slot.Release()
			}
		})
	}
}

func TestManyMessagesWithLookAhead(t *testing.T) {
	for _, offered := range []string{"PIPELINING", ""} {
		s := newServer(t)
		s.ext = append(without(fullExtensions, "PIPELINING"), offered)
		s.ext = without(s.ext, "")
		s.fault = func(step, line string) string { // every seventh recipient is unknown
			if step == "RCPT" && strings.Contains(line, "7@") {
				return "550 5.1.1 unknown"
			}
			return ""
		}
		set := aheadSet(t, s, 3)
		const n = 200
		var wg sync.WaitGroup
		todo := make(chan int)
		for range 6 {
			wg.Go(func() {
				for i := range todo {
					slots, err := set.Slots(t.Context(), "default", 1)
					if err != nil {
						t.Error(err)
						continue
					}
					results, err := slots[0].Send(t.Context(), marked(i), func(transport.Offer) (*message.Message, error) {
						if i%10 == 3 {
							return nil, errors.New("not to be prepared")
						}
						return marked(i), nil
					})
					slots[0].Release()
					want := "delivered"
					switch {
					case i%10 == 7:
						want = "failed"
					case i%10 == 3:
						want = ""
					}
					if got := outcomes(results); got != want || (err != nil) != (want == "") {
						t.Errorf("message %d: %q, %v; want %q", i, got, err, want)
					}
				}
			})
		}
		for i := range n {
			todo <- i
		}
		close(todo)
		wg.Wait()
		found := marks(s.got())
		slices.Sort(found)
		if len(slices.Compact(slices.Clone(found))) != n*8/10 || len(found) != n*8/10 || s.logins() > 3 {
			t.Errorf("%d mails, %d sessions: %q", len(found), s.logins(), s.heard())
		}
	}
}

func TestLookAheadWaitsForNobodyWhenTheServerIsAway(t *testing.T) {
	s := newServer(t)
	s.fault = at("GREETING", "421 4.3.2 not now")
	set := aheadSet(t, s, 2)
	slots, err := set.Slots(t.Context(), "default", 4)
	if err != nil || len(slots) != 4 {
		t.Fatal(len(slots), err)
	}
	var wg sync.WaitGroup
	for i, slot := range slots {
		wg.Go(func() {
			if _, err := slot.Send(t.Context(), marked(i), nil); !errors.As(err, new(*transport.Unreachable)) {
				t.Error(err)
			}
			slot.Release()
		})
	}
	wg.Wait()
}
