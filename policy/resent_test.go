package policy_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/policy"
	"postern/relay/message"
)

func scan(change func(*message.Message)) *message.Message {
	m := &message.Message{Header: message.Header{
		message.NewField("Date", "Sun, 22 Nov 2026 10:00:00 +0000"), message.NewField("Message-ID", "<1@scanner>"), message.NewField("Subject", "scan"),
	}, Body: message.Bytes("page one\r\n")}
	m.Client.Account = "printer"
	m.From = mailbox("scan@example.com")
	m.To = []message.Recipient{{Address: mailbox("a@example.com")}, {Address: mailbox("b@example.com")}}
	if change != nil {
		change(m)
	}
	return m
}

func TestMark(t *testing.T) {
	mark := func(change func(*message.Message)) policy.Mark {
		t.Helper()
		mark, err := policy.MarkOf(scan(change))
		if err != nil {
			t.Fatal(err)
		}
		return mark
	}
	for name, c := range map[string]struct {
		change func(*message.Message)
		same   bool
	}{
		"nothing":              {nil, true},
		"another date":         {func(m *message.Message) { m.Header[0] = message.NewField("date", "later") }, true},
		"another message id":   {func(m *message.Message) { m.Header[1] = message.NewField("Message-Id", "<2@scanner>") }, true},
		"recipients reordered": {func(m *message.Message) { m.To[0], m.To[1] = m.To[1], m.To[0] }, true},
		"another subject":      {func(m *message.Message) { m.Header[2] = message.NewField("Subject", "scan 2") }, false},
		"another page":         {func(m *message.Message) { m.Body = message.Bytes("page two\r\n") }, false},
		"another account":      {func(m *message.Message) { m.Client.Account = "copier" }, false},
		"another person":       {func(m *message.Message) { m.Client.User = "ann" }, false},
		"another sender":       {func(m *message.Message) { m.From = mailbox("b@example.com") }, false},
		"a recipient less":     {func(m *message.Message) { m.To = m.To[:1] }, false},
		"a field moved into the next": {func(m *message.Message) {
			m.Header = append(m.Header, message.NewField("X", ""))
		}, false},
	} {
		if got := mark(c.change) == mark(nil); got != c.same {
			t.Errorf("%s: the same message: %v", name, got)
		}
	}
}

func TestResent(t *testing.T) {
	var r policy.Resent
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	begin := func(mark policy.Mark, at time.Duration) (string, func(string, time.Time)) {
		t.Helper()
		id, done, err := r.Begin(t.Context(), mark, now.Add(at))
		if err != nil {
			t.Fatal(err)
		}
		return id, done
	}
	_, refused := begin(policy.Mark{1}, 0)
	refused("", time.Time{})
	id, done := begin(policy.Mark{1}, time.Second)
	if id != "" {
		t.Fatalf("what was refused counts as %s", id)
	}
	done("first", now.Add(time.Minute))
	if id, _ := begin(policy.Mark{1}, 59*time.Second); id != "first" {
		t.Errorf("within the window: %q", id)
	}
	if id, done := begin(policy.Mark{2}, 59*time.Second); id != "" {
		t.Errorf("another message: %q", id)
	} else {
		done("", time.Time{})
	}
	if id, done := begin(policy.Mark{1}, time.Minute); id != "" {
		t.Errorf("after the window: %q", id)
	} else {
		done("second", now.Add(2*time.Minute))
	}
	if id, _ := begin(policy.Mark{1}, 90*time.Second); id != "second" {
		t.Errorf("within the window of the second: %q", id)
	}
	if n := r.Remembered(now.Add(time.Hour)); n != 0 {
		t.Errorf("%d are remembered after an hour", n)
	}
}

func TestWhoSendsAgainWaitsForTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r policy.Resent
		_, done, _ := r.Begin(t.Context(), policy.Mark{}, time.Now())
		answers := make(chan string, 2)
		for range 2 {
			go func() {
				id, _, err := r.Begin(t.Context(), policy.Mark{}, time.Now())
				if err != nil {
					t.Error(err)
				}
				answers <- id
			}()
		}
		synctest.Wait()
		if len(answers) != 0 {
			t.Fatal("it did not wait")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, err := r.Begin(ctx, policy.Mark{}, time.Now()); !errors.Is(err, context.Canceled) {
			t.Errorf("a client that leaves: %v", err)
		}
		done("first", time.Now().Add(time.Minute))
		if a, b := <-answers, <-answers; a != "first" || b != "first" {
			t.Errorf("answers %q, %q", a, b)
		}
	})
}

func mailbox(s string) message.Address {
	local, domain, _ := strings.Cut(s, "@")
	return message.Address{Local: local, Domain: domain}
}
