package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"sync"

	"golang.org/x/sync/errgroup"

	"postern/relay"
	"postern/relay/admin"
	"postern/relay/archive"
)

type queueImportCmd struct {
	File string `arg:"" help:"The archive, as \"postern queue export\" makes it." type:"existingfile"`
	JSON bool   `help:"Print JSON." name:"json"`
}

// Run verifies the whole archive before the first message is taken.
func (k queueImportCmd) Run(c *cli, std streams) error {
	a, err := archive.Open(k.File)
	if err != nil {
		return err
	}
	defer a.Close()
	i := importing{archive: a, std: std, done: imported{Archive: k.File, From: a.Hostname, Messages: a.Messages}}
	err = c.maintain(i.run)
	if err != nil {
		return fmt.Errorf("%w; %d of %d messages are taken, and will be skipped when you try again", err, i.done.Taken+i.done.Present, a.Messages)
	}
	if k.JSON {
		return printJSON(std.out, i.done)
	}
	return i.tell()
}

// imported is what was done, as --json shows it. Its names are a promise to
// scripts.
type imported struct {
	Archive  string `json:"archive"`
	From     string `json:"from"`
	Messages int    `json:"messages"`
	// Taken and Present count messages: those that were not here before, and
	// those that were, which are skipped.
	Taken   int `json:"taken"`
	Present int `json:"present"`
	// Held counts recipients that wait for a person here, and did not before.
	Held int `json:"held"`
}

// importing is one import on its way.
type importing struct {
	archive  *archive.Reader
	std      streams
	client   *admin.Client
	progress *progress

	mu   sync.Mutex
	done imported
}

// Small messages are taken several at once, so that they share commits; one that
// is larger is taken from the archive as it is read.
const (
	atOnce     = 32
	smallLimit = 64 << 10
)

func (i *importing) run(ctx context.Context, client *admin.Client) error {
	i.client = client
	i.progress = newProgress(i.std.err, "import", i.archive.Messages)
	defer i.progress.end()
	small, ctx := errgroup.WithContext(ctx)
	small.SetLimit(atOnce)
	err := i.archive.Each(func(m archive.Message) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if m.Size > smallLimit {
			return i.take(ctx, m)
		}
		content, err := io.ReadAll(m.Content)
		if err != nil {
			return err
		}
		m.Content = bytes.NewReader(content)
		small.Go(func() error { return i.take(ctx, m) })
		return nil
	})
	if failed := small.Wait(); failed != nil {
		return failed
	}
	return err
}

// take hands over one message.
func (i *importing) take(ctx context.Context, m archive.Message) error {
	whole := io.MultiReader(bytes.NewReader(m.Record), bytes.NewReader([]byte("\n")), m.Content)
	got, err := i.client.Send(ctx, "POST", "/queue/parcels?from="+url.QueryEscape(i.archive.Hostname), whole)
	if err != nil {
		return err
	}
	defer got.Close()
	var is relay.Imported
	if err := json.NewDecoder(got).Decode(&is); err != nil {
		return err
	}
	i.progress.step()
	i.mu.Lock()
	defer i.mu.Unlock()
	if !is.Taken {
		i.done.Present++
		return nil
	}
	i.done.Taken++
	i.done.Held += is.Held
	return nil
}

// tell says what was done.
func (i *importing) tell() error {
	d := i.done
	fmt.Fprintf(i.std.out, "imported %d messages of %s\n", d.Taken, clean(d.From))
	if d.Present > 0 {
		fmt.Fprintf(i.std.out, "skipped %d that were here already\n", d.Present)
	}
	if d.Held > 0 {
		fmt.Fprintf(i.std.out, "held %d recipients: no route here takes them, or they may have left by an upstream that is not here; see \"postern queue list --state held\"\n", d.Held)
	}
	if d.Taken > 0 && !i.archive.Moved {
		fmt.Fprintf(i.std.out, "The archive is a copy: if %s still runs, it sends the same mail.\n", clean(d.From))
	}
	return nil
}
