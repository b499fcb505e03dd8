package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"postern/relay/config"
	"postern/relay/queue"
)

type queueCmd struct {
	List queueListCmd `cmd:"" help:"List the messages that wait, or with --all those that have ended too."`
	Show queueShowCmd `cmd:"" help:"Show the record of one message as it is stored; trace tells its story in words."`

	Retry   queueRetryCmd   `cmd:"" help:"Have what waits tried now."`
	Hold    queueHoldCmd    `cmd:"" help:"Keep what waits from being sent."`
	Release queueReleaseCmd `cmd:"" help:"Have what is held sent."`
	Drop    queueDropCmd    `cmd:"" help:"Give up what waits or is held. Nobody is told."`
	Settle  queueSettleCmd  `cmd:"" help:"Say what became of a delivery that may have been made."`

	Drain  queueDrainCmd  `cmd:"" help:"Take no new mail and go on sending, before maintenance."`
	Export queueExportCmd `cmd:"" help:"Write what waits to an archive, as a backup or to move it to another relay."`
	Import queueImportCmd `cmd:"" help:"Take in the messages of an archive."`
}

type queueListCmd struct {
	All       bool   `help:"Also messages that are delivered, failed or dropped; newest first."`
	State     string `help:"Only with a recipient in this state." enum:",queued,sending,deferred,held,uncertain,delivered,failed,dropped" default:""`
	Account   string `help:"Only of this account."`
	Sender    string `help:"Only from this envelope sender." placeholder:"ADDRESS"`
	Recipient string `help:"Only to this recipient." placeholder:"ADDRESS"`
	Limit     int    `help:"At most so many." default:"100"`
	JSON      bool   `help:"Print JSON." name:"json"`
}

// Run reads the store without disturbing a running relay.
func (k queueListCmd) Run(c *cli, std streams) error {
	store, err := openStore(c.Config)
	if err != nil {
		return err
	}
	defer store.Close()
	filter := queue.Filter{All: k.All, Newest: k.All, Account: k.Account, Sender: k.Sender, Recipient: k.Recipient, Limit: k.Limit}
	if k.State != "" {
		filter.States = []queue.State{queue.State(k.State)}
	}
	entries, err := pages(store, filter)
	if err != nil {
		return err
	}
	if k.JSON {
		views := make([]entryView, len(entries))
		for i := range entries {
			views[i] = view(&entries[i])
		}
		return printJSON(std.out, views)
	}
	printList(std.out, entries, k.All, upstreamsOf(c), time.Now())
	return nil
}

// pages are as many entries as a filter asks for, read page by page.
func pages(store queue.Reader, f queue.Filter) (all []queue.Entry, err error) {
	for most := cmp.Or(f.Limit, 100); len(all) < most; {
		f.Limit = most - len(all)
		page, err := store.List(context.Background(), f)
		if err != nil || len(page) == 0 {
			return all, err
		}
		all = append(all, page...)
		f.After = page[len(page)-1].ID
	}
	return all, nil
}

type queueShowCmd struct {
	ID   string `arg:"" help:"Queue id, as told in the 250."`
	JSON bool   `help:"Print JSON." name:"json"`
}

// Run prints envelope, recipients and history, and the header while the
// message waits. The body is nobody's business.
func (k queueShowCmd) Run(c *cli, std streams) error {
	store, err := openStore(c.Config)
	if err != nil {
		return err
	}
	defer store.Close()
	e, err := store.Show(context.Background(), k.ID)
	if errors.Is(err, queue.ErrNotFound) {
		return fmt.Errorf("no message %q in the store; \"postern queue list --all\" lists those there are", k.ID)
	}
	if err != nil {
		return err
	}
	if k.JSON {
		return printJSON(std.out, view(e))
	}
	printEntry(std.out, e, upstreamsOf(c))
	return nil
}

func openStore(configPath string) (queue.Reader, error) {
	dir, err := config.DataDir(configPath)
	if err != nil {
		return nil, err
	}
	return queue.OpenReadOnly(dir)
}
