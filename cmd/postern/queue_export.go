package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"time"

	"postern/relay"
	"postern/relay/admin"
	"postern/relay/archive"
	"postern/relay/queue"
)

type queueExportCmd struct {
	File string `arg:"" help:"The archive to make; one that ends in .gz is compressed." type:"path"`
	Move bool   `help:"Take the messages out of this relay: hold them, write them, and drop them once the archive is on the disk."`
	JSON bool   `help:"Print JSON." name:"json"`
}

// Run writes the archive as the user who asks for it. The answer is no when not
// all that waits is in it.
func (k queueExportCmd) Run(c *cli, std streams) error {
	e := exporting{cmd: k, std: std, done: exported{Archive: k.File, Moved: k.Move, Left: []left{}}}
	if abs, err := filepath.Abs(k.File); err == nil {
		e.done.Archive = abs
	}
	if err := c.maintain(e.run); err != nil {
		return err
	}
	if err := e.tell(); err != nil {
		return err
	}
	if n := len(e.done.Left); n > 0 {
		return silent{fmt.Errorf("%d messages were left", n)}
	}
	return nil
}

// exported is what was done, as --json shows it. Its names are a promise to
// scripts.
type exported struct {
	Archive  string `json:"archive"`
	Moved    bool   `json:"moved"`
	Messages int    `json:"messages"`
	Left     []left `json:"left"`
}

// left is a message that is not in the archive, or not only there.
type left struct {
	ID  string `json:"id"`
	Why string `json:"why"`
}

// exporting is one export on its way.
type exporting struct {
	cmd    queueExportCmd
	std    streams
	client *admin.Client
	done   exported

	held    []string // for a move
	written []string
}

// moveBatch is how many messages one command of a move names.
const moveBatch = 500

func (e *exporting) run(ctx context.Context, client *admin.Client) error {
	e.client = client
	var all relay.Movable
	if err := client.Command(ctx, "GET", "/queue/parcels", nil, &all); err != nil {
		return err
	}
	w, err := archive.Create(e.done.Archive, archive.Head{Hostname: all.Hostname, Made: time.Now().UTC().Truncate(time.Second), Moved: e.cmd.Move})
	if err != nil {
		return err
	}
	if err := e.write(ctx, w, all.IDs); err != nil {
		return errors.Join(fmt.Errorf("no archive was made: %w", err), w.Discard(), e.cancel(e.held, err.Error()))
	}
	if err := w.Commit(); err != nil {
		return errors.Join(fmt.Errorf("no archive was made: %w", err), e.cancel(e.held, err.Error()))
	}
	e.done.Messages = len(e.written)
	if !e.cmd.Move {
		return nil
	}
	return e.end()
}

// write holds what is to be moved, and writes all of it.
func (e *exporting) write(ctx context.Context, w *archive.Writer, ids []string) error {
	if e.cmd.Move {
		if err := e.hold(ctx, ids); err != nil {
			return err
		}
		ids = e.held
	}
	p := newProgress(e.std.err, "export", len(ids))
	defer p.end()
	for _, id := range ids {
		err := e.add(ctx, w, id)
		var why admin.Refusal
		switch {
		case err == nil:
			e.written = append(e.written, id)
		case errors.As(err, &why):
			e.done.Left = append(e.done.Left, left{id, string(why)})
		default:
			return err
		}
		p.step()
	}
	return nil
}

// hold has messages wait for the end of the move.
func (e *exporting) hold(ctx context.Context, ids []string) error {
	for batch := range slices.Chunk(ids, moveBatch) {
		e.held = append(e.held, batch...) // also if the answer is lost
		var acted []queue.Acted
		if err := e.client.Command(ctx, "POST", "/queue/moves", relay.Moving{IDs: batch, Archive: e.done.Archive}, &acted); err != nil {
			return err
		}
		e.held = e.held[:len(e.held)-len(batch)]
		for _, a := range acted {
			if a.Deliveries > 0 {
				e.held = append(e.held, a.ID)
			} else {
				e.done.Left = append(e.done.Left, left{a.ID, a.Why})
			}
		}
	}
	return nil
}

// add writes one message.
func (e *exporting) add(ctx context.Context, w *archive.Writer, id string) error {
	got, err := e.client.Send(ctx, "GET", "/queue/parcels/"+url.PathEscape(id), nil)
	if err != nil {
		return err
	}
	defer got.Close()
	r := bufio.NewReader(got)
	record, err := r.ReadBytes('\n')
	if err != nil {
		return err
	}
	return w.Add(id, record, got.Size-int64(len(record)), r)
}

// cancel has messages sent again that were held for a move.
func (e *exporting) cancel(ids []string, why string) error {
	for batch := range slices.Chunk(ids, moveBatch) {
		if err := e.client.Command(context.Background(), "POST", "/queue/moves/cancel", relay.Moving{IDs: batch, Why: why}, nil); err != nil {
			return fmt.Errorf("%d messages are still held for the move: %w; \"postern queue release\" has them sent, or export them again", len(ids), err)
		}
	}
	return nil
}

// end drops what is in the archive, which is durable now, and has sent what was
// held and could not be written. Nothing breaks it off.
func (e *exporting) end() error {
	for batch := range slices.Chunk(e.written, moveBatch) {
		var acted []queue.Acted
		if err := e.client.Command(context.Background(), "POST", "/queue/moves/end", relay.Moving{IDs: batch, Archive: e.done.Archive}, &acted); err != nil {
			return fmt.Errorf("%s is complete, and what is in it is partly still held here: %w; drop that with \"postern queue drop\", or it exists twice", e.done.Archive, err)
		}
		for _, a := range acted {
			if a.Deliveries == 0 {
				e.done.Left = append(e.done.Left, left{a.ID, a.Why})
			}
		}
	}
	kept := slices.DeleteFunc(slices.Clone(e.held), func(id string) bool {
		_, found := slices.BinarySearch(e.written, id) // as they were listed, by id
		return found
	})
	return e.cancel(kept, "it could not be written to the archive")
}

// tell says what was done.
func (e *exporting) tell() error {
	if e.cmd.JSON {
		return printJSON(e.std.out, e.done)
	}
	for _, l := range e.done.Left {
		fmt.Fprintf(e.std.out, "%s  left here: %s\n", l.ID, clean(l.Why))
	}
	if e.cmd.Move {
		_, err := fmt.Fprintf(e.std.out, "moved %d messages to %s; import it once, in one place\n", e.done.Messages, e.done.Archive)
		return err
	}
	_, err := fmt.Fprintf(e.std.out, "copied %d messages to %s\nThis relay still sends them: who imports the copy while it does, sends them twice. --move takes them out.\n", e.done.Messages, e.done.Archive)
	return err
}
