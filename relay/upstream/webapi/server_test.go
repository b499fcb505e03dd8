package webapi_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"postern/metrics"
	"postern/relay/upstream/transport"
	"postern/relay/upstream/webapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tokens are handed out one after the other, each until it is rejected.
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
	return t.next[0], ctx.Err()
}

func (t *tokens) Reject(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rejected = append(t.rejected, token)
	if len(t.next) > 1 {
		t.next = t.next[1:]
	}
}

// bench is a client and what it was made of.
type bench struct {
	*webapi.Client
	t       *testing.T
	cfg     webapi.Config
	tokens  *tokens
	metrics *metrics.Metrics
}

func newBench(t *testing.T, base string, change ...func(*webapi.Config)) *bench {
	b := &bench{t: t, tokens: &tokens{next: []string{"canary-first", "canary-second", "canary-third"}}, metrics: metrics.New("test", "test")}
	b.cfg = webapi.Config{Name: "api", Base: base, Connections: 2, Idle: time.Minute, Tokens: b.tokens,
		Connecting: context.Background(), Metrics: b.metrics}
	for _, c := range change {
		c(&b.cfg)
	}
	b.Client = webapi.New(b.cfg)
	t.Cleanup(func() {
		b.Close()
		b.closed()
	})
	return b
}

// closed waits until no connection is counted any more.
func (b *bench) closed() {
	for range 1000 {
		if testutil.ToFloat64(b.metrics.UpstreamConnections.WithLabelValues("api")) == 0 {
			return
		}
		<-time.After(time.Millisecond)
	}
	b.t.Error("connections are left open")
}

// impatient is a client that gives up soon.
func impatient(c *webapi.Config) {
	c.Patience = webapi.Standard(50*time.Millisecond, 50*time.Millisecond)
}

// post is the request that sends.
func (b *bench) post(content string) webapi.Request {
	return webapi.Request{Method: "POST", URL: b.Base() + "/send", Content: text(content)}
}

func text(s string) *webapi.Content {
	return &webapi.Content{Size: int64(len(s)), Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(s)), nil }}
}

// send makes the request that sends, where 202 is accepted.
func (b *bench) send(content string) (transport.Result, error) {
	a, err := b.Begin(b.t.Context()).Do(b.post(content))
	return b.Sent(a, err, func(a webapi.Answer) (string, bool) { return "", a.Status == 202 })
}

// serve is a server of HTTP.
func serve(t *testing.T, handle http.HandlerFunc) *httptest.Server {
	s := httptest.NewServer(handle)
	t.Cleanup(s.Close)
	return s
}

// script is a server that does with each connection what the test says.
func script(t *testing.T, handle func(nc net.Conn, r *bufio.Reader)) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[nc] = true
			mu.Unlock()
			wg.Go(func() {
				defer nc.Close()
				handle(nc, bufio.NewReader(nc))
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for nc := range open {
			nc.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return "http://" + ln.Addr().String()
}

// readAll reads one request to its end.
func readAll(r *bufio.Reader) {
	q, err := http.ReadRequest(r)
	if err == nil {
		io.Copy(io.Discard, q.Body)
	}
}

func accept(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	w.WriteHeader(202)
}

func say(nc net.Conn, format string, args ...any) { fmt.Fprintf(nc, format, args...) }
