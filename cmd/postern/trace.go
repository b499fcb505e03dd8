package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/term"

	"postern/relay"
	"postern/relay/config"
	"postern/relay/queue"
	"postern/relay/setting"
)

type traceCmd struct {
	ID        string `arg:"" optional:"" help:"Queue id, as told in the 250. Without it, the messages that match the rest."`
	Account   string `help:"Of this account."`
	Sender    string `help:"From this envelope sender; <> for the null one." placeholder:"ADDRESS"`
	Recipient string `help:"To this recipient." placeholder:"ADDRESS"`
	Reply     string `help:"With these words in replies of upstreams, in any order: whole words, codes and host names." placeholder:"WORDS"`
	RemoteID  string `help:"With this queue id at the upstream." placeholder:"ID"`
	Since     string `help:"Received since then: a time, or how long ago, such as 2h or 3d." placeholder:"TIME"`
	Until     string `help:"Received before then." placeholder:"TIME"`
	State     string `help:"With a recipient in this state." enum:",queued,sending,deferred,held,uncertain,delivered,failed,dropped" default:""`
	Limit     int    `help:"At most so many, up to 1000; the newest." default:"50"`
	Follow    bool   `help:"Go on telling what happens: of one message until it has ended, of all until Ctrl-C." short:"f"`
	JSON      bool   `help:"Print JSON." name:"json"`
}

// Run reads the store without disturbing a running relay. Exit code 1 when
// nothing matches.
func (k traceCmd) Run(c *cli, std streams) error {
	f, err := k.filter(time.Now())
	if err != nil {
		return err
	}
	store, err := openStore(c.Config)
	if err != nil {
		return err
	}
	defer store.Close()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	t := tracing{store: store, json: k.JSON, std: std, cli: c}
	cfg, _ := config.Load(c.Config) // without it, only what every provider means is known
	t.story = story{w: std.out, meaning: relay.Meanings(cfg)}
	if out, ok := std.out.(*os.File); ok {
		t.story.colour = term.IsTerminal(int(out.Fd()))
	}
	switch {
	case k.ID != "" && k.Follow:
		return t.followOne(ctx, k.ID)
	case k.ID != "":
		return t.one(ctx, k.ID)
	case k.Follow:
		return t.followAll(ctx, f)
	}
	return t.search(ctx, f)
}

// filter is what is looked for.
func (k traceCmd) filter(now time.Time) (f queue.Filter, err error) {
	f = queue.Filter{All: true, Newest: true, Account: k.Account, Sender: k.Sender, Recipient: k.Recipient, Reply: k.Reply, RemoteID: k.RemoteID, Limit: k.Limit}
	if k.State != "" {
		f.States = []queue.State{queue.State(k.State)}
	}
	if f.Since, err = moment(k.Since, now); err != nil {
		return f, usageError{fmt.Errorf("--since: %w", err)}
	}
	if f.Until, err = moment(k.Until, now); err != nil {
		return f, usageError{fmt.Errorf("--until: %w", err)}
	}
	return f, nil
}

// moment is a time as people write it; the zero one for "".
func moment(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	var ago setting.Duration
	if ago.UnmarshalText([]byte(text)) == nil {
		return now.Add(-ago.Std()), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if at, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time; write 2h or 3d for that long ago, or a time such as %s", text, now.Format("2006-01-02 15:04"))
}

// tracing is one run of the command.
type tracing struct {
	store queue.Reader
	story story
	json  bool
	std   streams
	cli   *cli
}

// one tells the story of one message.
func (t tracing) one(ctx context.Context, id string) error {
	e, err := t.show(ctx, id)
	if err != nil {
		return err
	}
	if t.json {
		return printJSON(t.std.out, t.story.view(e, upstreamsOf(t.cli)))
	}
	t.story.tell(e, upstreamsOf(t.cli), time.Now())
	return nil
}

func (t tracing) show(ctx context.Context, id string) (*queue.Entry, error) {
	e, err := t.store.Show(ctx, id)
	if errors.Is(err, queue.ErrNotFound) {
		return nil, fmt.Errorf("no message %q in the store; \"postern trace --since 1d\" lists those of a day", id)
	}
	return e, err
}

// search lists what matches, or tells the story when that is one message. As JSON it
// is the stories of all.
func (t tracing) search(ctx context.Context, f queue.Filter) error {
	found, err := t.store.Search(ctx, f)
	if err != nil {
		return err
	}
	if !found.Reach.IsZero() {
		defer fmt.Fprintf(t.std.err, "postern: of mail before %s some may be missing: the index of the history is behind; try again in a minute\n", found.Reach.Local().Format(time.DateTime))
	}
	switch {
	case len(found.Entries) == 0 && !t.json:
		return errors.New("no message matches; what never came here is not in the history, and neither is what is older than queue.retention")
	case t.json:
		return t.stories(ctx, found.Entries)
	case len(found.Entries) == 1:
		return t.one(ctx, found.Entries[0].ID)
	}
	printList(t.std.out, found.Entries, true, upstreamsOf(t.cli), time.Now())
	return nil
}

func (t tracing) stories(ctx context.Context, entries []queue.Entry) error {
	up := upstreamsOf(t.cli)
	views := []traceView{}
	for _, found := range entries {
		e, err := t.store.Show(ctx, found.ID)
		if errors.Is(err, queue.ErrNotFound) { // forgotten just now
			continue
		}
		if err != nil {
			return err
		}
		views = append(views, t.story.view(e, up))
	}
	return printJSON(t.std.out, views)
}
