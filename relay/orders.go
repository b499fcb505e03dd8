package relay

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"postern/relay/admin"
	"postern/relay/queue"
)

// Order is what a person wants done with messages that wait. Its names are a
// promise to scripts.
type Order struct {
	// Do and Reason are said in the query, ?do= and ?reason=, as of any command.
	Do     queue.Do `json:"-"`
	Reason string   `json:"-"`
	// IDs are the messages; without any, all that match the rest, of which at
	// least one must be given.
	IDs       []string    `json:"ids,omitempty"`
	All       bool        `json:"all,omitempty"`
	State     queue.State `json:"state,omitempty"`
	Account   string      `json:"account,omitempty"`
	Sender    string      `json:"sender,omitempty"`
	Recipient string      `json:"recipient,omitempty"`
}

// orderCommands are what can be done with messages in the queue.
func (r *Relay) orderCommands(c *admin.Control) {
	c.Handle("POST /queue", func(q *http.Request) (any, error) {
		var o Order
		if err := json.NewDecoder(q.Body).Decode(&o); err != nil {
			return nil, err
		}
		o.Do, o.Reason = queue.Do(q.URL.Query().Get("do")), admin.Reason(q)
		return r.order(q.Context(), o, cmp.Or(admin.Peer(q.Context()), "somebody"))
	})
}

// order carries an Order out, and tells for each message what that meant. Who
// gave it, and what was done, is logged.
func (r *Relay) order(ctx context.Context, o Order, by string) ([]queue.Acted, error) {
	if o.Do == queue.Drop && o.Reason == "" {
		return nil, errors.New("say why with --reason; it stays in the history")
	}
	ids, err := r.meant(ctx, o)
	if err != nil {
		return nil, err
	}
	do := queue.Order{Do: o.Do, IDs: ids, Recipient: o.Recipient, By: by, Reason: o.Reason}
	s := r.stations.Load()
	acted, err := r.queue.Act(ctx, do, s.reroute)
	for _, a := range acted {
		if a.Deliveries > 0 {
			r.log.Info("ordered", "id", a.ID, "do", o.Do, "recipients", a.Deliveries, "user", by, "reason", o.Reason)
		}
	}
	err = errors.Join(err, r.serveWaiting(ctx, nil))
	r.catchUp(s) // if a reload came between, the lanes of what is lost may be gone
	return acted, err
}

// meant is the ids of an order: those it names, or those of all that match, the
// oldest first. It looks for them from the newest on, so that it meets none of those
// that come meanwhile, and ends.
func (r *Relay) meant(ctx context.Context, o Order) ([]string, error) {
	if len(o.IDs) > 0 {
		return o.IDs, nil
	}
	if !o.All && o.State == "" && o.Account == "" && o.Sender == "" && o.Recipient == "" {
		return nil, errors.New("name messages, or say which by --state, --account, --sender or --recipient, or --all")
	}
	f := queue.Filter{Account: o.Account, Sender: o.Sender, Recipient: o.Recipient, Limit: 1000, Newest: true}
	if o.State != "" {
		f.States = []queue.State{o.State}
	}
	var ids []string
	for {
		page, err := r.queue.List(ctx, f)
		if err != nil {
			return nil, err
		}
		if len(page) == 0 {
			slices.Reverse(ids)
			return ids, nil
		}
		for _, e := range page {
			ids = append(ids, e.ID)
		}
		f.After = ids[len(ids)-1]
	}
}
