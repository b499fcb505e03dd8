// Package graph is the way through Microsoft Graph.
//
// A message of up to 3 MiB goes as it is: one sendMail with its MIME form in
// base64, for all its recipients. Only 202 says that it was taken.
//
// The API takes requests of 4 MiB at most. A larger message is taken apart and
// built anew as a draft: its text, small attachments with it, each large one by
// an upload session, then send. What a draft cannot hold is an *Unfit, or failed.
// Nothing is sent before the last of these requests, and a draft that was not sent
// is deleted.
//
// Graph knows no envelope. It sends to whom To, Cc and Bcc name, and Exchange
// makes a message of its own from what it was given.
package graph

import (
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"

	"postern/relay/message"
	"postern/relay/upstream/transport"
	"postern/relay/upstream/webapi"
)

// Limits of Graph and of Exchange Online, sizes in octets.
const (
	maxRequest    = 4 << 20
	maxMIME       = maxRequest / 4 * 3
	maxSize       = 150 << 20
	maxRecipients = 500
)

// Config is one mailbox.
type Config struct {
	webapi.Config
	// Mailbox is the address, or the object id, whose mail it is.
	Mailbox string
}

// Client is the way through one mailbox. It is a [transport.Transport].
type Client struct {
	api  *webapi.Client
	user string // the URL of the mailbox
}

// New connects to nothing yet.
func New(cfg Config) *Client {
	return &Client{webapi.New(cfg.Config), cfg.Base + "/v1.0/users/" + url.PathEscape(cfg.Mailbox)}
}

// Offer is what Exchange takes. Graph is not known to carry addresses in UTF-8,
// and some text in quoted-printable comes out damaged.
func (*Client) Offer() transport.Offer {
	return transport.Offer{Size: maxSize, EightBit: true, Recipients: maxRecipients, NoEnvelope: true, NoQuotedPrintable: true}
}

// Send sends the message as it is, or what is too large for that as a draft.
func (c *Client) Send(ctx context.Context, l transport.Letter) ([]transport.Result, error) {
	p, err := c.api.Prepare(l, c.Offer())
	if err != nil {
		return nil, err
	}
	if p.Message == nil {
		return p.Results(transport.Result{}), nil
	}
	var result transport.Result
	if p.Message.Size() <= maxMIME {
		result, err = c.sendMIME(ctx, p.Message)
	} else {
		result, err = c.sendDraft(ctx, l, p.Message)
	}
	if err != nil {
		return nil, err
	}
	return p.Results(result), nil
}

// sendMIME sends m as it is, in base64.
func (c *Client) sendMIME(ctx context.Context, m *message.Message) (transport.Result, error) {
	answer, err := c.api.Begin(ctx).Do(webapi.Request{
		Method: http.MethodPost, URL: c.user + "/sendMail",
		Header: map[string]string{"Content-Type": "text/plain"},
		Content: &webapi.Content{Size: int64(base64.StdEncoding.EncodedLen(int(m.Size()))), Open: func() (io.ReadCloser, error) {
			return inBase64(m.Open())
		}},
	})
	return c.api.Sent(answer, err, accepted)
}

// accepted is 202 alone. A 200 was seen for messages that were never sent.
func accepted(a webapi.Answer) (id string, ok bool) { return "", a.Status == http.StatusAccepted }

// Close drops the connections that are kept.
func (c *Client) Close() { c.api.Close() }
