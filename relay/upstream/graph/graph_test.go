package graph_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postern/metrics"
	"postern/relay/message"
	"postern/relay/upstream/graph"
	"postern/relay/upstream/transport"
	"postern/relay/upstream/webapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tokens hands out what it has, one after the other.
type tokens struct {
	mu       sync.Mutex
	next     []string
	err      error
	rejected []string
}

func (t *tokens) Token(ctx context.Context) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return "", t.err
	}
	return t.next[0], nil
}

func (t *tokens) Reject(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rejected = append(t.rejected, token)
	if len(t.next) > 1 {
		t.next = t.next[1:]
	}
}

func (s *server) client(t *testing.T, change ...func(*graph.Config)) *graph.Client {
	cfg := graph.Config{Mailbox: mailbox, Config: webapi.Config{Name: "m365", Base: s.URL, Connections: 4, Idle: time.Minute,
		Tokens: &tokens{next: []string{token}}, Connecting: context.Background(), Metrics: metrics.New("test", "test")}}
	for _, c := range change {
		c(&cfg)
	}
	c := graph.New(cfg)
	t.Cleanup(c.Close)
	return c
}

// letter is a message whose header names its recipients, as dressing makes it.
func letter(text string, to ...string) *message.Message {
	head, body, _ := strings.Cut(strings.ReplaceAll(text, "\n", "\r\n"), "\r\n\r\n")
	header, err := message.ParseHeader([]byte(head + "\r\n"))
	if err != nil {
		panic(err)
	}
	m := &message.Message{ID: "0123456789abcdef", Header: header, Body: message.Bytes(body)}
	m.From = message.Address{Local: "scan", Domain: "example.com"}
	for _, a := range to {
		address, err := message.ParseAddress(a)
		if err != nil {
			panic(err)
		}
		m.To = append(m.To, message.Recipient{Address: address})
	}
	return m
}

// as is a letter of m, which another upstream may or may not take.
func as(m *message.Message, elsewhere bool) transport.Letter {
	return transport.Letter{Prepare: func(transport.Offer) (*message.Message, error) { return m, nil },
		Elsewhere: func(transport.Load) bool { return elsewhere }}
}

func send(t *testing.T, c *graph.Client, m *message.Message) []transport.Result {
	t.Helper()
	results, err := c.Send(t.Context(), as(m, false))
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != len(m.To) {
		t.Fatalf("%d results for %d recipients", len(results), len(m.To))
	}
	return results
}

const small = "From: scan@example.com\nTo: a@example.org\nBcc: b@example.org\nSubject: hello\n\nOne line.\n"

func TestMIMEIsSentAsItIs(t *testing.T) {
	s := newServer(t)
	results := send(t, s.client(t), letter(small, "a@example.org", "b@example.org"))
	for _, r := range results {
		if r.Outcome != message.Delivered || r.Reply.String() != "202 Accepted" {
			t.Errorf("%v %v", r.Outcome, r.Reply)
		}
	}
	got := s.got()
	if len(got) != 1 || !slices.Equal(got[0].to, []string{"a@example.org", "b@example.org"}) || string(got[0].body) != "One line.\r\n" {
		t.Errorf("%+v", got)
	}
}

func TestTheLargestInOnePiece(t *testing.T) {
	for _, c := range []struct {
		over int
		want string
	}{{0, "sendMail"}, {1, "draft session chunk send"}} {
		s := newServer(t)
		m := letter("From: scan@example.com\nTo: a@example.org\nContent-Type: application/pdf\n\n", "a@example.org")
		m.Body = message.Bytes(strings.Repeat("x", 3_145_728+c.over-int(m.Size())))
		if r := send(t, s.client(t), m)[0]; r.Outcome != message.Delivered {
			t.Errorf("%d: %v %v", c.over, r.Outcome, r.Reply)
		}
		if heard := strings.Join(s.heard(), " "); heard != c.want || len(s.got()) != 1 {
			t.Errorf("%d: %s", c.over, heard)
		}
	}
}

// answers makes a fault of a step: a status with fields and a body.
func answers(step string, status int, body string, fields ...string) func(string, int, http.ResponseWriter, *http.Request) bool {
	return func(at string, n int, w http.ResponseWriter, r *http.Request) bool {
		if at != step {
			return false
		}
		for i := 0; i < len(fields); i += 2 {
			w.Header().Set(fields[i], fields[i+1])
		}
		w.WriteHeader(status)
		fmt.Fprint(w, body)
		return true
	}
}

func fault(code string) string {
	return fmt.Sprintf(`{"error":{"code":%q,"message":"Some words."}}`, code)
}

func TestWhatAnswersMean(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		body   string
		after  string
		want   message.Outcome
		advice transport.Action
	}{
		{"202 is accepted", 202, "", "", message.Delivered, ""},
		{"202 that wants time is accepted, and slows", 202, "", "7", message.Delivered, transport.Slow},
		{"200 is not accepted, and may have been sent", 200, "", "", message.Uncertain, ""},
		{"201 neither", 201, "", "", message.Uncertain, ""},
		{"500 may have been sent", 500, fault("ErrorInternalServerError"), "", message.Uncertain, ""},
		{"502 too", 502, "<html>Bad Gateway</html>", "", message.Uncertain, ""},
		{"504 too", 504, fault("UnknownError"), "", message.Uncertain, ""},
		{"429 waits", 429, fault("ApplicationThrottled"), "30", message.Deferred, transport.Slow},
		{"429 for long holds", 429, fault("ErrorExceededMessageLimit"), "3600", message.Deferred, transport.Hold},
		{"503 waits", 503, "", "", message.Deferred, transport.Slow},
		{"413 is too large here", 413, fault("BadRequest"), "", message.Failed, transport.Failover},
		{"403 is for a person", 403, fault("ErrorAccessDenied"), "", message.Deferred, transport.Configure},
		{"404 too", 404, fault("MailboxNotEnabledForRESTAPI"), "", message.Deferred, transport.Configure},
		{"400 that names the message is for good", 400, fault("ErrorInvalidRecipients"), "", message.Failed, ""},
		{"400 of something in between is not", 400, "<html>nginx</html>", "", message.Deferred, ""},
		{"409 is temporary", 409, fault("Conflict"), "", message.Deferred, ""},
		{"an unknown status is uncertain", 599, "", "", message.Uncertain, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			fields := []string{}
			if c.after != "" {
				fields = append(fields, "Retry-After", c.after)
			}
			whole := answers("sendMail", c.status, c.body, fields...)
			s.fault = func(step string, n int, w http.ResponseWriter, r *http.Request) bool {
				http.MaxBytesReader(w, r.Body, 1<<20).Read(make([]byte, 1<<20))
				return whole(step, n, w, r)
			}
			r := send(t, s.client(t), letter(small, "a@example.org"))[0]
			if r.Outcome != c.want || r.Advice.Action != c.advice {
				t.Errorf("%v %q %v", r.Outcome, r.Advice.Action, r.Reply)
			}
			if r.Outcome == message.Failed && !strings.HasPrefix(r.Reply.Enhanced, "5.") {
				t.Errorf("it failed as %v", r.Reply)
			}
			if c.after == "30" && r.Advice.For != 30*time.Second {
				t.Errorf("for %v", r.Advice.For)
			}
			if heard := s.heard(); len(heard) != 1 {
				t.Errorf("it was tried %d times", len(heard))
			}
		})
	}
}

func TestOneRecipientOutsideASCIIFailsAlone(t *testing.T) {
	s := newServer(t)
	m := letter(small, "a@example.org", "b@example.org", "b\u00fcro@example.org")
	results := send(t, s.client(t), m)
	if results[0].Outcome != message.Delivered || results[1].Outcome != message.Delivered || results[2].Outcome != message.Failed || results[2].Reply.Enhanced != "5.6.7" {
		t.Errorf("%v", results)
	}
	if len(s.got()) != 1 {
		t.Error("it was not sent to the others")
	}
	alone := letter(small, "b\u00fcro@example.org")
	if r := send(t, s.client(t), alone)[0]; r.Outcome != message.Failed || len(s.got()) != 1 {
		t.Errorf("%v", r)
	}
	_, err := s.client(t).Send(t.Context(), as(alone, true))
	if !errors.As(err, new(*transport.Unfit)) {
		t.Errorf("another upstream may take it: %v", err)
	}
}
