package relay

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"postern/relay/admin"
	"postern/relay/archive"
	"postern/relay/config"
	"postern/relay/message"
	"postern/relay/queue"
)

// Moving is a step of a move, in the words of the control socket.
type Moving struct {
	IDs []string `json:"ids"`
	// Archive names where they go, Why what went wrong with that.
	Archive string `json:"archive,omitempty"`
	Why     string `json:"why,omitempty"`
}

// Movable is what may be exported.
type Movable struct {
	Hostname string   `json:"hostname"`
	IDs      []string `json:"ids"`
}

// Imported is what became of a message that was to be imported.
type Imported struct {
	// Taken is unset when a message of that id was here already.
	Taken bool `json:"taken"`
	// Held counts the recipients that wait for a person, though they did not before.
	Held int `json:"held"`
}

// moveCommands export and import messages. A message goes over the socket as its
// record on one line, then its octets.
func (r *Relay) moveCommands(c *admin.Control) {
	c.Handle("GET /queue/parcels", func(q *http.Request) (any, error) {
		r.log.Info("exporting", "user", cmp.Or(admin.Peer(q.Context()), "somebody"))
		ids, err := r.meant(q.Context(), Order{All: true})
		return Movable{r.stations.Load().config.Hostname, ids}, err
	})
	c.Handle("POST /queue/moves", r.moving("moving", r.queue.BeginMove, func(m Moving) string { return m.Archive }))
	c.Handle("POST /queue/moves/end", r.moving("moved", r.queue.EndMove, func(m Moving) string { return m.Archive }))
	c.Handle("POST /queue/moves/cancel", r.moving("not moved", r.queue.CancelMove, func(m Moving) string { return m.Why }))
	c.HandleLarge("GET /queue/parcels/{id}", func(q *http.Request) (admin.Content, error) { return r.pack(q.Context(), q.PathValue("id")) })
	c.HandleLarge("POST /queue/parcels", func(q *http.Request) (admin.Content, error) {
		done, err := r.unpack(q.Context(), q.FormValue("from"), q.Body)
		if err != nil {
			return admin.Content{}, err
		}
		b, err := json.Marshal(done)
		return admin.Content{ReadCloser: io.NopCloser(bytes.NewReader(b)), Size: int64(len(b))}, err
	})
}

// moving does a step of a move, and logs each message by that word.
func (r *Relay) moving(word string, step func(ctx context.Context, ids []string, by, text string) ([]queue.Acted, error), text func(Moving) string) func(*http.Request) (any, error) {
	return func(q *http.Request) (any, error) {
		var m Moving
		if err := json.NewDecoder(q.Body).Decode(&m); err != nil {
			return nil, err
		}
		by := cmp.Or(admin.Peer(q.Context()), "somebody")
		acted, err := step(q.Context(), m.IDs, by, text(m))
		for _, a := range acted {
			if a.Deliveries > 0 {
				r.log.Info(word, "id", a.ID, "recipients", a.Deliveries, "user", by, "text", text(m))
			}
		}
		return acted, err
	}
}

// pack is a message as it goes over the socket.
func (r *Relay) pack(ctx context.Context, id string) (admin.Content, error) {
	p, err := r.queue.Pack(ctx, id)
	if err != nil {
		return admin.Content{}, err
	}
	record, err := p.Record()
	if err != nil {
		return admin.Content{}, err
	}
	content, err := p.Message.Open()
	if err != nil {
		return admin.Content{}, err
	}
	line := append(record, '\n')
	whole := struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(line), content), content}
	return admin.Content{ReadCloser: whole, Size: int64(len(line)) + p.Message.Size()}, nil
}

// unpack takes a message in that comes over the socket, from the relay of that
// hostname. Where it waits is for the routes here to say.
func (r *Relay) unpack(ctx context.Context, from string, in io.Reader) (Imported, error) {
	p, err := readRecord(in)
	if err != nil {
		return Imported{}, err
	}
	spool := r.queue.Spool()
	defer spool.Discard()
	if err := readContent(p, spool); err != nil {
		return Imported{}, fmt.Errorf("%s: %w", p.Message.ID, err)
	}
	s := r.stations.Load()
	held := s.settle(p)
	taken, err := r.queue.Unpack(ctx, &p.Parcel, from)
	if err != nil {
		return Imported{}, fmt.Errorf("%s: %w", p.Message.ID, err)
	}
	if taken {
		m := p.Message
		r.log.Info("imported", "id", m.ID, "account", m.Client.Account, "from", m.From.String(), "to", addresses(m.To), "relay", from, "held", held, "user", cmp.Or(admin.Peer(ctx), "somebody"))
		for _, d := range p.Deliveries {
			r.lanes.serve(r, d.Lane)
		}
		r.catchUp(s)
	}
	return Imported{taken, held}, nil
}

// incoming is a parcel whose content is still to be read.
type incoming struct {
	queue.Parcel
	rest *bufio.Reader
}

func readRecord(in io.Reader) (*incoming, error) {
	b := bufio.NewReader(in)
	var line []byte
	for {
		part, err := b.ReadSlice('\n')
		if line = append(line, part...); len(line) > archive.MaxRecord {
			return nil, errors.New("the record of a message is too large")
		}
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, fmt.Errorf("the record of a message: %w", err)
		}
	}
	p, err := queue.ParseRecord(line)
	if err != nil {
		return nil, fmt.Errorf("the record of a message: %w", err)
	}
	return &incoming{*p, b}, nil
}

// readContent reads header and body.
func readContent(p *incoming, spool queue.Spool) error {
	var err error
	if p.Message.Header, err = message.ReadHeader(p.rest); err != nil {
		return err
	}
	if _, err := io.Copy(spool, p.rest); err != nil {
		return err
	}
	p.Message.Body, err = spool.Body()
	return err
}

// settle finds where what was imported waits, and holds what has no place here: it
// may have left by an upstream that is not known here, or no route takes it. It
// returns how many recipients that are.
func (s *stations) settle(p *incoming) (held int) {
	homes := s.homes(p.Message)
	for i := range p.Deliveries {
		d := &p.Deliveries[i]
		_, pinned := message.PinnedTo(d.Lane)
		switch {
		case pinned && s.upstreams.Serves(d.Lane):
			continue
		case !pinned && homes[i] != "":
			d.Lane = homes[i]
			continue
		case d.State != queue.Held:
			held++
		}
		d.State, d.NextAt = queue.Held, time.Time{}
	}
	return held
}

// Maintain takes the commands that export and import messages of a relay that is
// stopped, until do returns. It takes no mail and sends none.
func Maintain(cfg *config.Config, do func() error) error {
	r, err := New(cfg, Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer r.closeIdle()
	c := admin.NewControl(r.log)
	r.moveCommands(c)
	if err := c.Start(cfg.DataDir); err != nil {
		return err
	}
	defer c.Close()
	return do()
}

// closeIdle ends a relay that has not run.
func (r *Relay) closeIdle() {
	r.stopAll()
	s := r.stations.Load()
	s.upstreams.Close()
	s.oauth.Close()
	s.accounts.Close()
	r.control.Close()
	r.admin.Close()
	r.queue.Close()
}
