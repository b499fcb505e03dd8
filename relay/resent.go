package relay

import (
	"context"
	"fmt"
	"time"

	"postern/policy"
	"postern/relay/message"
)

// acceptOnce accepts m unless the same message was accepted within the window:
// a device that waited too long for its 250 sends again. It is told the id of the
// first then, in whose history this stands.
func (r *Relay) acceptOnce(ctx context.Context, s *stations, m *message.Message, window time.Duration) error {
	mark, err := policy.MarkOf(m)
	if err != nil {
		return err
	}
	first, done, err := r.resent.Begin(ctx, mark, time.Now())
	switch {
	case err != nil:
		return err
	case first == "":
		if err := r.accept(ctx, s, m); err != nil {
			done("", time.Time{})
			return err
		}
		done(m.ID, time.Now().Add(window))
		return nil
	}
	client := m.Client.Address.Addr().String()
	r.log.Info("accepted before", "id", first, "account", m.Client.Account, "client", client, "message_id", m.Header.Get("Message-ID"))
	r.metrics.Resent.Inc()
	if err := r.queue.Note(r.recording, first, "sent again", fmt.Sprintf("by %s, and not kept a second time", client)); err != nil {
		r.log.Warn("not noted in the history", "id", first, "error", err)
	}
	m.ID = first
	return nil
}
