// Package gmail is the way through the Gmail API: one media upload of the whole
// message (users.messages.send), streamed, for all its recipients.
//
// The API knows no envelope: it sends to whom To, Cc and Bcc name, takes Bcc
// out, and puts the account's address in place of a From that is not one of its
// own. Only 200 with the id of a message says that it was sent.
package gmail

import (
	"context"
	"encoding/json"
	"net/http"

	"postern/relay/upstream/transport"
	"postern/relay/upstream/webapi"
)

// The most the API takes: octets of a message, and recipients of one.
const (
	maxSize       = 36_700_160
	maxRecipients = 100
)

// Client is the way through the mailbox whose token it is. It is a
// [transport.Transport].
type Client struct{ api *webapi.Client }

// New connects to nothing yet.
func New(cfg webapi.Config) *Client { return &Client{webapi.New(cfg)} }

// Offer is what the API takes. It is not known to carry addresses in UTF-8.
func (*Client) Offer() transport.Offer {
	return transport.Offer{Size: maxSize, EightBit: true, Recipients: maxRecipients, NoEnvelope: true}
}

// Send makes one upload.
func (c *Client) Send(ctx context.Context, l transport.Letter) ([]transport.Result, error) {
	p, err := c.api.Prepare(l, c.Offer())
	if err != nil {
		return nil, err
	}
	if p.Message == nil {
		return p.Results(transport.Result{}), nil
	}
	answer, err := c.api.Begin(ctx).Do(webapi.Request{
		Method: http.MethodPost, URL: c.api.Base() + "/upload/gmail/v1/users/me/messages/send?uploadType=media",
		Header:  map[string]string{"Content-Type": "message/rfc822"},
		Content: &webapi.Content{Size: p.Message.Size(), Open: p.Message.Open},
	})
	result, err := c.api.Sent(answer, err, accepted)
	if err != nil {
		return nil, err
	}
	return p.Results(result), nil
}

// accepted reads the id of the message that was sent.
func accepted(a webapi.Answer) (id string, ok bool) {
	var sent struct {
		ID string `json:"id"`
	}
	err := json.Unmarshal(a.Body, &sent)
	return sent.ID, a.Status == http.StatusOK && err == nil && sent.ID != ""
}

// Close drops the connections that are kept.
func (c *Client) Close() { c.api.Close() }
