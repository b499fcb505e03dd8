package webapi

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"postern/relay/message"
	"postern/relay/upstream/transport"
)

// done are the statuses over 499 that say for certain that nothing was done. Any
// other may follow a message that was sent.
var done = []int{http.StatusNotImplemented, http.StatusServiceUnavailable, http.StatusHTTPVersionNotSupported,
	http.StatusInsufficientStorage, http.StatusNetworkAuthenticationRequired}

// Sent is the outcome of the request that asks to send, and of nothing before
// it. accepted tells whether the answer is the one that says so, and the id it
// gives. An error means that nothing was handed over.
func (c *Client) Sent(a Answer, err error, accepted func(Answer) (id string, ok bool)) (transport.Result, error) {
	if result, err := c.unanswered(err); err != nil || result != nil {
		if result == nil {
			return transport.Result{}, err
		}
		return *result, nil
	}
	if id, ok := accepted(a); ok {
		return c.slowed(transport.Result{Result: message.Result{Outcome: message.Delivered, RemoteID: id,
			Reply: message.Reply{Code: a.Status, Text: http.StatusText(a.Status)}}}, a.After), nil
	}
	if a.Status/100 == 2 || a.Status/100 == 1 || a.Status >= 500 && !slices.Contains(done, a.Status) {
		return transport.Result{Result: message.Result{Outcome: message.Uncertain, Reply: a.Reply()}}, nil
	}
	return c.Refused(a)
}

// Unsent is the outcome of a request that sends nothing and was not answered as
// hoped for.
func (c *Client) Unsent(a Answer, err error) (transport.Result, error) {
	result, err := c.unanswered(err)
	switch {
	case err != nil:
		return transport.Result{}, err
	case result != nil && result.Outcome == message.Uncertain:
		result.Outcome = message.Deferred
		return *result, nil
	case result != nil:
		return *result, nil
	case a.Status/100 == 2 || a.Status >= 500 && !slices.Contains(done, a.Status):
		return transport.Result{Result: message.Result{Outcome: message.Deferred, Reply: a.Reply()}}, nil
	}
	return c.Refused(a)
}

// unanswered is what a request without an answer means; nil if there is one. An
// error means that nothing was handed over.
func (c *Client) unanswered(err error) (*transport.Result, error) {
	var broken *Broken
	switch {
	case err == nil:
		return nil, nil
	case !errors.As(err, &broken):
		return nil, err
	}
	result := transport.Own(message.Deferred, "4.4.2", "the request broke off before the mail was sent: %v", broken.Err)
	switch {
	case errors.As(err, new(unreadable)):
		result = transport.Own(message.Deferred, "4.3.0", "%v", broken.Err)
	case broken.Whole:
		result = transport.Own(message.Uncertain, "4.4.2", "no answer to the request, the mail may have been sent: %v", broken.Err)
	}
	return &result, nil
}

// Refused is what an answer means that carries out nothing. A redirect is an
// *[transport.Unreachable]: what answers there is not the API.
func (c *Client) Refused(a Answer) (transport.Result, error) {
	if a.Status/100 == 3 {
		return transport.Result{}, &transport.Unreachable{Upstream: c.cfg.Name, Phase: transport.PhaseGreeting,
			Err:  fmt.Errorf("%d redirects to %.100q, and neither mail nor token was sent there", a.Status, a.host),
			Hint: "set address to the API itself, and look for a proxy in between"}
	}
	result := c.cfg.Judge(transport.AtRequest, a.Reply())
	if result.Outcome == message.Failed && result.Reply.Enhanced == "" {
		result.Reply.Enhanced = "5.0.0"
	}
	return c.slowed(result, a.After), nil
}

// holdFrom is how long a wait is that is a quota rather than a pace.
const holdFrom = 10 * time.Minute

// slowed is the result with the wait that the API asks for.
func (c *Client) slowed(r transport.Result, after time.Duration) transport.Result {
	if after == 0 {
		return r
	}
	switch r.Advice.Action {
	case transport.Nothing:
		r.Advice.Action = transport.Slow
	case transport.Slow, transport.Hold:
	default:
		return r
	}
	if r.Advice.Action == transport.Slow && after >= holdFrom {
		r.Advice.Action = transport.Hold
	}
	if r.Advice.For == 0 {
		r.Advice.For = after
	}
	return r
}
