package upstream_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"postern/relay/message"
	"postern/relay/setting"
	"postern/relay/upstream"
	"postern/relay/upstream/cuttest"
	"postern/relay/upstream/transport"
)

// TestCutAtEveryOctetOfATransaction cuts the connection after each octet, in
// either direction, from the greeting to QUIT. What is told of each message must
// be what became of it.
func TestCutAtEveryOctetOfATransaction(t *testing.T) {
	for _, c := range []struct {
		name      string
		offers    string
		lookahead bool
		messages  int
	}{
		{"one command at a time", "AUTH PLAIN", false, 1},
		{"pipelined", "PIPELINING\r\n250-AUTH PLAIN", false, 1},
		{"with look-ahead", "PIPELINING\r\n250-AUTH PLAIN", true, 2},
		{"with look-ahead and tokens", "PIPELINING\r\n250-AUTH XOAUTH2", true, 2},
	} {
		for _, read := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, what the server reads %v", c.name, read), func(t *testing.T) {
				t.Parallel()
				var mu sync.Mutex
				took := map[string]int{}
				h := &cuttest.Host{Offers: []string{c.offers}, Took: func(subject string) {
					mu.Lock()
					defer mu.Unlock()
					took[subject]++
				}}
				h.Start(t, authority().leaf)
				u := smarthost(t, h.Address)
				u.LookAhead, u.Limits = c.lookahead, upstream.Limits{Connections: 1, MessagesPerConnection: c.messages}
				o, _ := options(t)
				if strings.Contains(c.offers, "XOAUTH2") {
					u.Password, o.Tokens = setting.Secret{}, map[string]transport.Tokens{"smart": &tokens{left: []string{goodToken}}}
				}
				for after := 0; ; after++ {
					cut := h.Cut(read, after)
					results := sendAtOnce(t, newSet(t, route(u), o), c.messages, after)
					mu.Lock()
					for i, got := range results {
						n := took[fmt.Sprintf("m%d-%d", after, i)]
						if n > 1 || got == "delivered" && n != 1 || got != "delivered" && got != "uncertain" && n != 0 {
							t.Errorf("cut after %d octets: message %d is %q, the server has it %d times", after, i, got, n)
						}
					}
					mu.Unlock()
					select {
					case <-cut.Hit:
						continue
					default:
					}
					if !slices.Equal(results, slices.Repeat([]string{"delivered"}, c.messages)) {
						t.Errorf("not cut after %d octets: %q", after, results)
					}
					if c.lookahead && h.Ahead() == 0 {
						t.Error("nothing was said ahead")
					}
					return
				}
			})
		}
	}
}

// sendAtOnce sends that many messages through the set, and closes it.
func sendAtOnce(t *testing.T, set *upstream.Set, messages, after int) []string {
	defer set.Close()
	slots, err := set.Slots(t.Context(), "default", messages)
	if err != nil || len(slots) != messages {
		t.Fatal(len(slots), err)
	}
	results := make([]string, messages)
	var sending sync.WaitGroup
	for i, slot := range slots {
		m := letter(".x\r\n", "a@example.net")
		m.Header = message.Header{message.NewField("Subject", fmt.Sprintf("m%d-%d", after, i))}
		sending.Go(func() {
			defer slot.Release()
			got, err := slot.Send(t.Context(), m, nil)
			if results[i] = outcomes(got); err != nil {
				results[i] = "not sent"
				if !errors.As(err, new(*transport.Unreachable)) {
					t.Error(err)
				}
			}
		})
	}
	sending.Wait()
	return results
}
