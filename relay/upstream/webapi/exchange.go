package webapi

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"postern/relay/upstream/transport"
)

// Request is one request to the API.
type Request struct {
	Method, URL string
	// Header holds fields beside Authorization and Content-Length.
	Header map[string]string
	// Content is what it carries; nil: nothing.
	Content *Content
	// Foreign is a URL that the API gave us. It carries its own authorization, so
	// it is given no token.
	Foreign bool
}

// Content is what a request carries. It is opened anew for each attempt.
type Content struct {
	// Size is in octets.
	Size int64
	Open func() (io.ReadCloser, error)
}

// Broken is a request without an answer.
type Broken struct {
	// Whole: the server may have had all of it, and done what it asks for.
	Whole bool
	Err   error
}

func (b *Broken) Error() string { return b.Err.Error() }
func (b *Broken) Unwrap() error { return b.Err }

// Causes of a request that we break off.
var (
	errStalled = errors.New("the server does not take what is sent")
	errSilent  = errors.New("the server does not answer")
	errTooLong = errors.New("the request took too long")
	errEarly   = errors.New("the server answered before it had the message")
)

// exchange is one request on its way.
type exchange struct {
	*Delivery
	phase atomic.Value // of connecting, as a string; "" once there is a connection
	whole atomic.Bool  // the last octet of the request may have left
	bare  bool         // it has no content, so its first octet is as good as its last
	// sending waits for the content to be left alone.
	sending sync.WaitGroup
	end     context.CancelCauseFunc
	// timer ends the exchange when neither side moves.
	timer *time.Timer
	// ready is when there was a connection, in Unix nanoseconds.
	ready atomic.Int64
}

// exchange makes one attempt at r.
func (d *Delivery) exchange(r Request, token string) (Answer, error) {
	ctx, end := d.starting()
	defer end(nil)
	ctx, stop := context.WithTimeoutCause(ctx, d.c.cfg.Patience.Whole, errTooLong)
	defer stop()
	e := &exchange{Delivery: d, end: end, bare: r.Content == nil}
	e.phase.Store(transport.PhaseConnect)
	e.timer = time.AfterFunc(d.c.cfg.Patience.Whole, e.stalled)
	defer e.timer.Stop()
	q, err := e.request(httptrace.WithClientTrace(ctx, e.trace()), r, token)
	if err != nil {
		return Answer{}, &Broken{Err: err}
	}
	response, err := d.c.http.RoundTrip(q)
	if err != nil {
		return Answer{}, e.broken(ctx, err)
	}
	if response.StatusCode/100 == 2 && !e.whole.Load() {
		return Answer{}, e.early(response)
	}
	defer response.Body.Close()
	e.timer.Reset(d.c.cfg.Patience.Answer)
	defer func() { e.c.took(e.ctx, transport.PhaseData, time.Unix(0, e.ready.Load())) }()
	return readAnswer(response, token), nil
}

// early is the end of a request that was answered before all of it was sent. What
// follows could still make it whole, so that is told only once nothing does.
func (e *exchange) early(response *http.Response) error {
	e.end(errEarly)
	response.Body.Close()
	e.sending.Wait()
	return &Broken{Whole: e.whole.Load(), Err: errEarly}
}

// request is r as net/http knows it.
func (e *exchange) request(ctx context.Context, r Request, token string) (*http.Request, error) {
	q, err := http.NewRequestWithContext(ctx, r.Method, r.URL, nil)
	if err != nil {
		return nil, errors.New("the URL of the API cannot be read") // it may hold a secret
	}
	for name, value := range r.Header {
		q.Header.Set(name, value)
	}
	q.Header.Set("User-Agent", "postern")
	if token != "" {
		q.Header.Set("Authorization", "Bearer "+token)
	}
	if r.Content == nil {
		return q, nil
	}
	q.ContentLength = r.Content.Size
	q.GetBody = func() (io.ReadCloser, error) { return e.open(r.Content) }
	q.Body, err = q.GetBody()
	return q, err
}

// open begins to send the content. It is asked anew when nothing of it was
// taken.
func (e *exchange) open(c *Content) (io.ReadCloser, error) {
	e.whole.Store(false)
	source, err := c.Open()
	if err != nil {
		return nil, unreadable{err}
	}
	e.sending.Add(1)
	return &outgoing{source: source, size: c.Size, closed: sync.OnceFunc(e.sending.Done), moved: func(whole bool) {
		e.whole.Store(whole)
		e.moved()
	}}, nil
}

// moved gives the server its time for the next step.
func (e *exchange) moved() {
	if e.whole.Load() {
		e.timer.Reset(e.c.cfg.Patience.Answer)
	} else {
		e.timer.Reset(e.c.cfg.Patience.Block)
	}
}

func (e *exchange) stalled() {
	if e.whole.Load() {
		e.end(errSilent)
	} else {
		e.end(errStalled)
	}
}

// trace notes how far connecting has come.
func (e *exchange) trace() *httptrace.ClientTrace {
	var began atomic.Int64
	return &httptrace.ClientTrace{
		GetConn: func(string) { // the first, or another as nothing went through that one
			e.phase.Store(transport.PhaseConnect)
			e.whole.Store(false)
		},
		TLSHandshakeStart: func() {
			began.Store(time.Now().UnixNano())
			e.phase.Store(transport.PhaseTLS)
		},
		TLSHandshakeDone: func(_ tls.ConnectionState, err error) {
			if err == nil {
				e.c.took(e.ctx, transport.PhaseTLS, time.Unix(0, began.Load()))
			}
		},
		GotConn: func(httptrace.GotConnInfo) {
			e.phase.Store("")
			e.ready.Store(time.Now().UnixNano())
			e.whole.Store(e.bare)
			e.begun.Store(true)
			e.moved()
		},
	}
}

// broken is a request without an answer, or that none was made.
func (e *exchange) broken(ctx context.Context, err error) error {
	phase, _ := e.phase.Load().(string)
	switch {
	case phase != "":
		return e.blame(ctx, phase, err)
	case errors.Is(context.Cause(ctx), transport.ErrStopping) && !e.whole.Load():
		return fmt.Errorf("request: %w", transport.ErrStopping)
	case e.ctx.Err() != nil:
		err = fmt.Errorf("cut off by our side: %w", context.Cause(e.ctx))
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.Is(err, io.EOF), strings.Contains(err.Error(), "server closed idle connection"):
		err = errors.New("the server closed the connection")
	}
	return &Broken{Whole: e.whole.Load(), Err: err}
}
