package gmail

import (
	"context"

	"postern/relay/upstream/transport"
	"postern/relay/upstream/webapi"
)

// Probe asks for the profile. A token that may only send is refused that, which is
// as good: it was taken.
func (c *Client) Probe(ctx context.Context, _ string, see func(transport.Step)) {
	c.api.Probe(ctx, webapi.Look{URL: c.api.Base() + "/gmail/v1/users/me/profile", Hidden: "insufficient"}, see)
}
