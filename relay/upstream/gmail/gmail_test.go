package gmail_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postern/metrics"
	"postern/relay/message"
	"postern/relay/upstream/gmail"
	"postern/relay/upstream/transport"
	"postern/relay/upstream/webapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type token struct{}

func (token) Token(context.Context) (string, error) { return "canary-t0ken", nil }
func (token) Reject(string)                         {}

// server is the Gmail API of one account.
type server struct {
	*httptest.Server
	fault func(w http.ResponseWriter, r *http.Request) bool
	to    [][]string
	body  []string
	tries int
}

func newServer(t *testing.T) *server {
	s := &server{fault: func(http.ResponseWriter, *http.Request) bool { return false }}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func fail(w http.ResponseWriter, status int, reason, text string) {
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": status, "message": text,
		"errors": []any{map[string]string{"message": text, "domain": "global", "reason": reason}}}})
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	s.tries++
	switch {
	case s.fault(w, r):
		return
	case r.Method != "POST" || r.URL.Path != "/upload/gmail/v1/users/me/messages/send" || r.URL.Query().Get("uploadType") != "media" || r.Header.Get("Content-Type") != "message/rfc822":
		fail(w, 404, "notFound", "Not Found")
		return
	case r.Header.Get("Authorization") != "Bearer canary-t0ken":
		fail(w, 401, "authError", "Invalid Credentials")
		return
	case r.ContentLength > 36_700_160:
		fail(w, 413, "uploadTooLarge", "Media upload too large")
		return
	}
	content, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	m, err := mail.ReadMessage(bytes.NewReader(content))
	if err != nil {
		fail(w, 400, "invalidArgument", err.Error())
		return
	}
	var to []string
	for _, name := range []string{"To", "Cc", "Bcc"} {
		if list, err := m.Header.AddressList(name); err == nil {
			for _, a := range list {
				to = append(to, a.Address)
			}
		}
	}
	if len(to) == 0 {
		fail(w, 400, "invalidArgument", "Recipient address required")
		return
	}
	body, _ := io.ReadAll(m.Body)
	s.to, s.body = append(s.to, to), append(s.body, string(body))
	fmt.Fprint(w, `{"id":"18c0ffee","threadId":"18c0ffee","labelIds":["SENT"]}`)
}

func (s *server) send(t *testing.T, m *message.Message) ([]transport.Result, error) {
	c := gmail.New(webapi.Config{Name: "gmail", Base: s.URL, Connections: 4, Idle: time.Minute, Tokens: token{}, Connecting: context.Background(), Metrics: metrics.New("test", "test")})
	defer c.Close()
	return c.Send(t.Context(), transport.Letter{Prepare: func(transport.Offer) (*message.Message, error) { return m, nil },
		Elsewhere: func(transport.Load) bool { return false }})
}

func letter(body message.Body, to ...string) *message.Message {
	m := &message.Message{Body: body}
	m.Header = message.Header{message.NewField("From", "scan@example.com"), message.NewField("To", to[0])}
	for _, a := range to[1:] {
		m.Header = m.Header.Append(message.NewField("Bcc", a))
	}
	for _, a := range to {
		local, domain, _ := strings.Cut(a, "@")
		m.To = append(m.To, message.Recipient{Address: message.Address{Local: local, Domain: domain}})
	}
	return m
}

func TestOneUploadForAll(t *testing.T) {
	s := newServer(t)
	results, err := s.send(t, letter(message.Bytes("hello\r\n"), "a@example.org", "b@example.org"))
	if err != nil || len(results) != 2 {
		t.Fatal(results, err)
	}
	for _, r := range results {
		if r.Outcome != message.Delivered || r.RemoteID != "18c0ffee" || r.Reply.String() != "200 OK" {
			t.Errorf("%v", r)
		}
	}
	if len(s.to) != 1 || !slices.Equal(s.to[0], []string{"a@example.org", "b@example.org"}) || s.body[0] != "hello\r\n" {
		t.Errorf("%q %q", s.to, s.body)
	}
}

func TestWhatAnswersMean(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		body   string
		want   message.Outcome
		advice transport.Action
	}{
		{"200 without an id may have been sent", 200, `{}`, message.Uncertain, ""},
		{"200 of something in between", 200, `<html>please log in`, message.Uncertain, ""},
		{"202 is not what it says", 202, `{"id":"x"}`, message.Uncertain, ""},
		{"500", 500, ``, message.Uncertain, ""},
		{"502", 502, `<html>`, message.Uncertain, ""},
		{"504", 504, ``, message.Uncertain, ""},
		{"503", 503, `{"error":{"code":503,"errors":[{"reason":"backendError"}]}}`, message.Deferred, transport.Slow},
		{"429 with a time", 429, `{"error":{"code":429,"message":"User-rate limit exceeded.  Retry after 2999-01-01T00:00:00.000Z","errors":[{"reason":"userRateLimitExceeded"}]}}`, message.Deferred, transport.Hold},
		{"403", 403, `{"error":{"code":403,"message":"No.","errors":[{"reason":"insufficientPermissions"}]}}`, message.Deferred, transport.Configure},
		{"400", 400, `{"error":{"code":400,"message":"Invalid To header","errors":[{"reason":"invalidArgument"}]}}`, message.Failed, ""},
		{"413", 413, ``, message.Failed, transport.Failover},
	} {
		s := newServer(t)
		s.fault = func(w http.ResponseWriter, r *http.Request) bool {
			io.Copy(io.Discard, r.Body)
			w.WriteHeader(c.status)
			fmt.Fprint(w, c.body)
			return true
		}
		results, err := s.send(t, letter(message.Bytes("hello\r\n"), "a@example.org"))
		if err != nil || results[0].Outcome != c.want || results[0].Advice.Action != c.advice || s.tries != 1 {
			t.Errorf("%s: %v, %v, tried %d times", c.name, results, err, s.tries)
		}
	}
}

func TestTooLarge(t *testing.T) {
	s := newServer(t)
	results, err := s.send(t, letter(zeros(36_700_160), "a@example.org"))
	if err != nil || results[0].Outcome != message.Failed || results[0].Reply.Enhanced != "5.3.4" || s.tries != 0 {
		t.Errorf("%v, %v", results, err)
	}
}

// zeros is a body that is nowhere in memory.
type zeros int64

func (z zeros) Size() int64                  { return int64(z) }
func (z zeros) EightBit() bool               { return false }
func (z zeros) Open() (io.ReadCloser, error) { return io.NopCloser(io.LimitReader(x{}, int64(z))), nil }

type x struct{}

func (x) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func TestThirtyMegabytesAreStreamed(t *testing.T) {
	s := newServer(t)
	var before, now runtime.MemStats
	s.fault = func(w http.ResponseWriter, r *http.Request) bool {
		io.CopyN(io.Discard, r.Body, 20<<20)
		runtime.GC()
		runtime.ReadMemStats(&now)
		io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, `{"id":"x"}`)
		return true
	}
	runtime.GC()
	runtime.ReadMemStats(&before)
	results, err := s.send(t, letter(zeros(30<<20), "a@example.org"))
	if err != nil || results[0].Outcome != message.Delivered {
		t.Fatal(results, err)
	}
	if grown := int64(now.HeapAlloc) - int64(before.HeapAlloc); grown > 2<<20 {
		t.Errorf("%d KiB are held", grown>>10)
	}
}
