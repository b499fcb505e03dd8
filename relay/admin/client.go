package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// Command gives a command to the relay that runs on dataDir and reads the answer
// into the value answer points to, unless that is nil. The error is
// ErrNotRunning when there is none, or what the relay has against it.
func Command(ctx context.Context, dataDir, method, path string, body, answer any) error {
	c := NewClient(dataDir)
	defer c.Close()
	return c.Command(ctx, method, path, body, answer)
}

// Client talks to the Control of the relay that runs on a data directory. It is
// safe for concurrent use.
type Client struct{ http http.Client }

// maxIdle is how many connections are kept for the next request.
const maxIdle = 32

// NewClient makes a client, which connects when it is used.
func NewClient(dataDir string) *Client {
	return &Client{http.Client{Transport: &http.Transport{
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return dialControl(ctx, dataDir) },
		MaxIdleConnsPerHost: maxIdle,
	}}}
}

// Close ends connections that are not in use.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Command is the function Command.
func (c *Client) Command(ctx context.Context, method, path string, body, answer any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	got, err := c.Send(ctx, method, path, bytes.NewReader(data))
	if err != nil {
		return err
	}
	defer got.Close()
	text, err := io.ReadAll(io.LimitReader(got, maxAnswer))
	if err != nil || answer == nil {
		return err
	}
	return json.Unmarshal(text, answer)
}

// Send gives a command, or something larger, and returns the answer as it is,
// for the caller to close. Errors are those of Command.
func (c *Client) Send(ctx context.Context, method, path string, body io.Reader) (Content, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://control"+path, body)
	if err != nil {
		return Content{}, err
	}
	response, err := c.http.Do(request)
	var failed *url.Error
	if errors.As(err, &failed) {
		return Content{}, failed.Err // without an address that nobody typed
	}
	if err != nil {
		return Content{}, err
	}
	if response.StatusCode == http.StatusOK {
		return Content{response.Body, response.ContentLength}, nil
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return Content{}, err
	}
	return Content{}, Refusal(strings.TrimSpace(string(text)))
}

// Refusal is what a relay has against a command, of which nothing was done.
type Refusal string

func (r Refusal) Error() string { return string(r) }

// Running is nil when a relay runs on dataDir, else the error of Command.
func Running(ctx context.Context, dataDir string) error {
	conn, err := dialControl(ctx, dataDir)
	if err != nil {
		return err
	}
	return conn.Close()
}
