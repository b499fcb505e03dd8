package upstream

import (
	"context"
	"fmt"
	"strings"

	"postern/relay/message"
	"postern/relay/upstream/transport"
)

// Probe goes the way to the upstream of that name step by step and sends nothing.
// It asks whether mail of from is taken; "" is that of its mailbox, or of who it
// logs in as.
func (s *Set) Probe(ctx context.Context, name, from string, see func(transport.Step)) error {
	u := s.upstreams[name]
	if u == nil {
		return fmt.Errorf("there is no upstream %q", name)
	}
	p, ok := u.transport.(transport.Prober)
	if !ok {
		see(transport.Step{Name: "capture", Facts: []string{"mail is kept in the data directory, nobody is asked"}})
		return nil
	}
	p.Probe(ctx, from, see)
	return nil
}

// Sender is whose mail the upstream certainly takes, as far as can be known
// without asking.
func (u Upstream) Sender() string {
	if !u.Mailbox.IsNull() {
		return u.Mailbox.String()
	}
	if a, err := message.ParseAddress(u.Username); err == nil && strings.Contains(u.Username, "@") {
		return a.String()
	}
	return ""
}
