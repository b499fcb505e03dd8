package webapi_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"postern/relay/message"
	"postern/relay/upstream/transport"
	"postern/relay/upstream/webapi"
)

func TestATokenThatIsRefusedIsReplacedOnce(t *testing.T) {
	for _, c := range []struct {
		name     string
		good     string
		rejected []string
	}{
		{"the first is good", "canary-first", nil},
		{"the second is good", "canary-second", []string{"canary-first"}},
		{"neither is", "canary-third", []string{"canary-first", "canary-second"}},
	} {
		var sent atomic.Int32
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer "+c.good {
				w.WriteHeader(401)
				fmt.Fprintf(w, `{"error":{"code":"InvalidAuthenticationToken","message":"Bad %s."}}`, r.Header.Get("Authorization"))
				return
			}
			sent.Add(1)
			accept(w, r)
		})
		b := newBench(t, s.URL)
		result, err := b.send("hello")
		if !slices.Equal(b.tokens.rejected, c.rejected) {
			t.Errorf("%s: rejected %q", c.name, b.tokens.rejected)
		}
		if len(c.rejected) < 2 {
			if err != nil || result.Outcome != message.Delivered || sent.Load() != 1 {
				t.Errorf("%s: %v, %v", c.name, result, err)
			}
			continue
		}
		var fault *transport.Unreachable
		var lasting transport.Lasting
		if !errors.As(err, &fault) || fault.Phase != transport.PhaseAuth || !errors.As(err, &lasting) || !lasting.Lasting() || lasting.Hint() == "" {
			t.Errorf("%s: %v", c.name, err)
		}
		if strings.Contains(err.Error(), "canary") {
			t.Errorf("the token is told: %v", err)
		}
	}
}

// lasting is an error that only a person can end.
type lasting struct{ error }

func (lasting) Lasting() bool { return true }
func (lasting) Hint() string  { return "run postern login api" }

func TestWithoutATokenNothingIsSent(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { t.Error("a request was made") })
	for _, c := range []struct {
		err  error
		want string
	}{{errors.New("no route to host"), "token endpoint"}, {lasting{errors.New("consent is gone")}, "run postern login api"}} {
		b := newBench(t, s.URL)
		b.tokens.err = c.err
		_, err := b.send("hello")
		var fault *transport.Unreachable
		if !errors.As(err, &fault) || fault.Phase != transport.PhaseAuth || !strings.Contains(fault.Hint, c.want) {
			t.Errorf("%v", err)
		}
	}
}

func TestNoRedirectIsFollowed(t *testing.T) {
	other := serve(t, func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("%s %s was sent elsewhere", r.Method, r.Header.Get("Authorization"))
	})
	for _, status := range []int{301, 302, 303, 307, 308} {
		s := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL+"/send", status) })
		_, err := newBench(t, s.URL).send("hello")
		var fault *transport.Unreachable
		if !errors.As(err, &fault) || !strings.Contains(err.Error(), strings.TrimPrefix(other.URL, "http://")) {
			t.Errorf("%d: %v", status, err)
		}
	}
}

// TestCutAnywhere cuts the connection behind every octet of the request that a
// server has read, and of its answer.
func TestCutAnywhere(t *testing.T) {
	var length atomic.Int64
	whole := serve(t, accept)
	b := newBench(t, whole.URL)
	b.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		nc, err := new(net.Dialer).DialContext(ctx, network, address)
		return &counting{nc, &length}, err
	}
	if r, err := b.send("hello"); err != nil || r.Outcome != message.Delivered {
		t.Fatal(r, err)
	}
	const answer = "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
	for n := range length.Load() {
		base := script(t, func(nc net.Conn, r *bufio.Reader) { io.CopyN(io.Discard, r, n) })
		b := newBench(t, base)
		r, err := b.send("hello")
		// The server may have had all of it from the moment the last octet left, even
		// if it says that it read less.
		if err != nil || r.Outcome != message.Deferred && r.Outcome != message.Uncertain {
			t.Errorf("cut after %d octets: %v, %v", n, r, err)
		}
	}
	for n := range len(answer) {
		base := script(t, func(nc net.Conn, r *bufio.Reader) {
			readAll(r)
			say(nc, "%s", answer[:n])
		})
		if r, err := newBench(t, base).send("hello"); err != nil || r.Outcome != message.Uncertain {
			t.Errorf("cut after %d octets of the answer: %v, %v", n, r, err)
		}
	}
}

type counting struct {
	net.Conn
	n *atomic.Int64
}

func (c *counting) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.n.Add(int64(n))
	return n, err
}

func TestAMessageCutBeforeItsEndWasNotSent(t *testing.T) {
	base := script(t, func(nc net.Conn, r *bufio.Reader) { io.CopyN(io.Discard, r, 1000) })
	r, err := newBench(t, base).send(strings.Repeat("x", 16<<20))
	if err != nil || r.Outcome != message.Deferred {
		t.Errorf("%v, %v", r, err)
	}
}

func TestSilence(t *testing.T) {
	for _, c := range []struct {
		name   string
		handle func(nc net.Conn, r *bufio.Reader)
		want   message.Outcome
		size   int
	}{
		{"after the request", func(nc net.Conn, r *bufio.Reader) {
			readAll(r)
			io.Copy(io.Discard, r)
		}, message.Uncertain, 5},
		{"within the status line", func(nc net.Conn, r *bufio.Reader) {
			readAll(r)
			say(nc, "HTTP/1.1 20")
			io.Copy(io.Discard, r)
		}, message.Uncertain, 5},
		{"within the fields", func(nc net.Conn, r *bufio.Reader) {
			readAll(r)
			say(nc, "HTTP/1.1 202 Accepted\r\nX: ")
			io.Copy(io.Discard, r)
		}, message.Uncertain, 5},
		{"before the message was taken", func(nc net.Conn, r *bufio.Reader) {
			io.Copy(io.Discard, io.LimitReader(r, 100))
			r2 := make(chan struct{})
			defer close(r2)
			buf := make([]byte, 1)
			for { // it reads on, so slowly that it never ends
				if _, err := nc.Read(buf); err != nil {
					return
				}
				<-time.After(20 * time.Millisecond)
			}
		}, message.Deferred, 32 << 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := newBench(t, script(t, c.handle), impatient).send(strings.Repeat("x", c.size))
			if err != nil || r.Outcome != c.want {
				t.Errorf("%v, %v", r, err)
			}
		})
	}
}

func TestAServerThatDoesNotEndIsLeft(t *testing.T) {
	for _, c := range []struct {
		name, head, more string
		want             message.Outcome
	}{
		{"fields without end", "HTTP/1.1 202 Accepted\r\n", "X: 1234567890\r\n", message.Uncertain},
		{"one field without end", "HTTP/1.1 202 Accepted\r\nX: ", "1234567890", message.Uncertain},
		{"a body without end", "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\n\r\n", "{[[[[[[[[[[", message.Deferred},
		{"early hints without end", "", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", message.Uncertain},
		{"octets that are no HTTP", "220 smtp.example.com ESMTP\r\n", "x", message.Uncertain},
	} {
		t.Run(c.name, func(t *testing.T) {
			var said atomic.Int64
			base := script(t, func(nc net.Conn, r *bufio.Reader) {
				readAll(r)
				say(nc, "%s", c.head)
				more := []byte(strings.Repeat(c.more, 1000))
				for {
					n, err := nc.Write(more)
					if said.Add(int64(n)); err != nil {
						return
					}
				}
			})
			b := newBench(t, base)
			r, err := b.send("hello")
			if err != nil || r.Outcome != c.want {
				t.Errorf("%v, %v", r, err)
			}
			if len(r.Reply.Text) > 1000 {
				t.Errorf("%d octets are kept", len(r.Reply.Text))
			}
		})
	}
}

func TestAnAnswerToNothingIsNone(t *testing.T) {
	for _, early := range []bool{true, false} {
		done := make(chan struct{})
		base := script(t, func(nc net.Conn, r *bufio.Reader) {
			for line := ""; !early && line != "\r\n"; {
				line, _ = r.ReadString('\n')
			}
			say(nc, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
			<-done // and reads nothing of the message
		})
		r, err := newBench(t, base).send(strings.Repeat("x", 16<<20))
		close(done)
		if err != nil || r.Outcome != message.Deferred {
			t.Errorf("%v, %v", r, err)
		}
	}
}

func TestWhatCannotBeReadIsNotSent(t *testing.T) {
	var whole atomic.Int32
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			whole.Add(1)
		}
		w.WriteHeader(202)
	})
	damaged := errors.New("checksum")
	for _, c := range []struct {
		name string
		open func() (io.ReadCloser, error)
	}{
		{"at once", func() (io.ReadCloser, error) { return nil, damaged }},
		{"half-way", func() (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(strings.NewReader("hel"), failing{damaged})), nil
		}},
		{"at its very end", func() (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(strings.NewReader("hello"), failing{damaged})), nil
		}},
		{"too short", func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("hell")), nil }},
		{"too long", func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("hello!")), nil }},
	} {
		b := newBench(t, s.URL)
		q := b.post("")
		q.Content = &webapi.Content{Size: 5, Open: c.open}
		a, err := b.Begin(t.Context()).Do(q)
		r, err := b.Sent(a, err, func(a webapi.Answer) (string, bool) { return "", a.Status == 202 })
		if err != nil || r.Outcome != message.Deferred || r.Reply.Enhanced != "4.3.0" || !strings.Contains(r.Reply.Text, "cannot be read") {
			t.Errorf("%s: %v, %v", c.name, r, err)
		}
	}
	if whole.Load() > 0 {
		t.Errorf("%d requests were whole", whole.Load())
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestWhoCannotBeReached(t *testing.T) {
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	secure := httptest.NewTLSServer(http.HandlerFunc(accept))
	t.Cleanup(secure.Close)
	clear := serve(t, accept)
	for _, c := range []struct{ name, base, phase, hint string }{
		{"nobody listens", "http://" + dead.Addr().String(), transport.PhaseConnect, "firewall"},
		{"a certificate of nobody we know", secure.URL, transport.PhaseTLS, "set ca"},
		{"no TLS at all", strings.Replace(clear.URL, "http:", "https:", 1), transport.PhaseTLS, "its address"},
	} {
		_, err := newBench(t, c.base).send("hello")
		var fault *transport.Unreachable
		if !errors.As(err, &fault) || fault.Phase != c.phase || !strings.Contains(fault.Hint, c.hint) || fault.Upstream != "api" {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestTLSWithAnAuthorityOfOnesOwn(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		var version atomic.Value
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			version.Store(r.Proto)
			accept(w, r)
		}))
		s.EnableHTTP2 = h2
		s.StartTLS()
		t.Cleanup(s.Close)
		root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
		b := newBench(t, s.URL, func(c *webapi.Config) { c.Roots = root })
		for range 3 {
			if r, err := b.send(strings.Repeat("x", 1<<20)); err != nil || r.Outcome != message.Delivered {
				t.Errorf("%v, %v", r, err)
			}
		}
		if want := map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"}[h2]; version.Load() != want {
			t.Errorf("it spoke %v", version.Load())
		}
		if n := testutil.ToFloat64(b.metrics.UpstreamConnections.WithLabelValues("api")); n != 1 {
			t.Errorf("%v connections for three messages", n)
		}
		for _, phase := range []string{"connect", "tls", "auth"} {
			if testutil.CollectAndCount(b.metrics.UpstreamPhase) < 3 {
				t.Errorf("%s is not counted", phase)
			}
		}
	}
	old := httptest.NewUnstartedServer(http.HandlerFunc(accept))
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11}
	old.Config.ErrorLog = discard()
	old.StartTLS()
	t.Cleanup(old.Close)
	if _, err := newBench(t, old.URL).send("hello"); !errors.As(err, new(*transport.Unreachable)) {
		t.Errorf("TLS 1.1: %v", err)
	}
}

func TestAConnectionClosedWhileIdleCostsNothing(t *testing.T) {
	var n atomic.Int32
	base := script(t, func(nc net.Conn, r *bufio.Reader) {
		readAll(r)
		n.Add(1)
		say(nc, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
	}) // and closes
	b := newBench(t, base)
	for range 20 {
		r, err := b.send("hello")
		if err != nil || r.Outcome == message.Failed || r.Outcome == message.Uncertain && n.Load() == 0 {
			t.Fatalf("%v, %v", r, err)
		}
	}
}

func TestStopping(t *testing.T) {
	s := serve(t, accept)
	stopping, stop := context.WithCancel(context.Background())
	b := newBench(t, s.URL, func(c *webapi.Config) { c.Connecting = stopping })
	if r, err := b.send("hello"); err != nil || r.Outcome != message.Delivered {
		t.Fatal(r, err)
	}
	d := b.Begin(t.Context())
	if _, err := d.Do(b.post("one")); err != nil {
		t.Fatal(err)
	}
	stop()
	if _, err := b.send("hello"); !errors.Is(err, transport.ErrStopping) {
		t.Errorf("a delivery begins: %v", err)
	}
	if a, err := d.Do(b.post("two")); err != nil || a.Status != 202 {
		t.Errorf("what has begun does not go on: %v %v", a, err)
	}
}

func TestCutByOurSide(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	base := script(t, func(nc net.Conn, r *bufio.Reader) {
		readAll(r)
		cancel(errors.New("time is up"))
		io.Copy(io.Discard, r)
	})
	b := newBench(t, base)
	a, err := b.Begin(ctx).Do(b.post("hello"))
	r, err := b.Sent(a, err, func(webapi.Answer) (string, bool) { return "", true })
	if err != nil || r.Outcome != message.Uncertain || !strings.Contains(r.Reply.Text, "time is up") {
		t.Errorf("%v, %v", r, err)
	}
	if _, err := b.Begin(ctx).Do(b.post("hello")); err == nil || errors.As(err, new(*transport.Unreachable)) {
		t.Errorf("a delivery that is over: %v", err)
	}
}

func TestClosedClientKeepsNothing(t *testing.T) {
	s := serve(t, accept)
	b := newBench(t, s.URL)
	b.Close()
	if r, err := b.send("hello"); err != nil || r.Outcome != message.Delivered {
		t.Errorf("%v, %v", r, err)
	}
	b.closed()
}

// A server that says it took a message before it has it may go on and take it.
func TestAnAnswerTooEarlyLeavesNothingOpen(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		var taken atomic.Int32
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c := http.NewResponseController(w)
			c.EnableFullDuplex()
			w.WriteHeader(202)
			c.Flush()
			if n, err := io.Copy(io.Discard, r.Body); err == nil && n == r.ContentLength {
				taken.Add(1)
			}
		}))
		s.EnableHTTP2 = h2
		s.StartTLS()
		root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
		b := newBench(t, s.URL, func(c *webapi.Config) { c.Roots = root })
		r, err := b.send(strings.Repeat("x", 16<<20))
		b.Close()
		s.Close()
		if err != nil || r.Outcome == message.Failed || r.Outcome == message.Deferred && taken.Load() > 0 {
			t.Errorf("HTTP/2 %t: %v, %v, taken %d times", h2, r, err, taken.Load())
		}
	}
}
