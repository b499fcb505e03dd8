package relay

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"postern/relay/admin"
	"postern/relay/message"
)

// pausing is whether the relay takes new mail. It forgets at a restart, so that
// none stays shut because somebody forgot.
type pausing struct{ since atomic.Pointer[time.Time] }

// refusal is what a client reads while no new mail is taken, by that code: 421
// instead of the greeting, so that it looks elsewhere before it logs in, and 451
// to MAIL in sessions that were there already. Both mean: keep it and come back.
func (p *pausing) refusal(code int) error {
	if p.since.Load() == nil {
		return nil
	}
	return message.Refuse(code, "4.3.2", "This relay takes no new mail for now, because it is being maintained; please try again later")
}

// Draining is how far the relay has come with what it has. Its names are a
// promise to scripts.
type Draining struct {
	// Since is when it stopped to take mail; zero when it takes it.
	Since time.Time `json:"since,omitzero"`
	// Deliveries are those that are left, by state.
	Deliveries map[string]int `json:"deliveries"`
}

// drainCommands have the relay take no new mail, and take it again.
func (r *Relay) drainCommands(c *admin.Control) {
	c.Handle("GET /queue/drain", func(q *http.Request) (any, error) { return r.draining(q.Context()) })
	c.Handle("POST /queue/drain", func(q *http.Request) (any, error) {
		now := time.Now()
		if r.pausing.since.CompareAndSwap(nil, &now) {
			r.metrics.Draining.Set(1)
			r.log.Warn("taking no new mail", "by", admin.By(q), "hint", "postern queue drain --undo, or a restart, takes it again")
		}
		return r.draining(q.Context())
	})
	c.Handle("DELETE /queue/drain", func(q *http.Request) (any, error) {
		if r.pausing.since.Swap(nil) != nil {
			r.metrics.Draining.Set(0)
			r.log.Info("taking new mail again", "by", admin.By(q))
		}
		return r.draining(q.Context())
	})
}

func (r *Relay) draining(ctx context.Context) (Draining, error) {
	n, err := r.queue.Numbers(ctx)
	d := Draining{Deliveries: n.Deliveries}
	if since := r.pausing.since.Load(); since != nil {
		d.Since = *since
	}
	return d, err
}

// ready is nil while new mail is taken.
func (r *Relay) ready() error {
	if r.pausing.since.Load() != nil {
		return errors.New("draining, as \"postern queue drain\" asked for")
	}
	return r.queue.Ready()
}
