package graph

import (
	"context"

	"postern/relay/upstream/transport"
	"postern/relay/upstream/webapi"
)

// Probe asks for the mailbox. An application that may only send is refused that,
// which is as good: its token was taken.
func (c *Client) Probe(ctx context.Context, _ string, see func(transport.Step)) {
	c.api.Probe(ctx, webapi.Look{URL: c.user + "?$select=id,mail", Right: "Mail.Send", Hidden: "authorization_requestdenied"}, see)
}
