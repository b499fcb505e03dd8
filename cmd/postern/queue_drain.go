package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"postern/relay"
	"postern/relay/queue"
)

type queueDrainCmd struct {
	Wait   bool   `help:"Show what is left until nothing is." xor:"how"`
	Undo   bool   `help:"Take new mail again; a restart does too." xor:"how"`
	Reason string `help:"Why, for the log."`
	JSON   bool   `help:"Print JSON." name:"json"`
}

// drainPace is how often what is left is looked at.
const drainPace = time.Second

func (k queueDrainCmd) Run(c *cli, std streams) error {
	method := "POST"
	if k.Undo {
		method = "DELETE"
	}
	var d relay.Draining
	if err := c.command(method, because("/queue/drain", k.Reason), nil, &d); err != nil {
		return err
	}
	if !k.JSON {
		fmt.Fprintln(std.out, drainedWord(k.Undo))
	}
	if k.Wait && !k.Undo {
		var err error
		if d, err = k.wait(c, d, std); err != nil {
			return err
		}
	}
	if k.JSON {
		return printJSON(std.out, d)
	}
	_, err := fmt.Fprintln(std.out, remaining(d))
	return err
}

func drainedWord(undo bool) string {
	if undo {
		return "The relay takes new mail."
	}
	return "The relay takes no new mail, until \"postern queue drain --undo\" or a restart. It goes on sending."
}

// wait shows what is left until only what waits for a person is. A signal ends
// that, and not the drain.
func (k queueDrainCmd) wait(c *cli, d relay.Draining, std streams) (relay.Draining, error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	tick := time.NewTicker(drainPace)
	defer tick.Stop()
	told := ""
	for moving(d) > 0 {
		if now := remaining(d); now != told {
			fmt.Fprintln(std.err, now)
			told = now
		}
		select {
		case <-ctx.Done():
			return d, errors.New("not waiting any longer; the relay still takes no new mail, until \"postern queue drain --undo\" or a restart")
		case <-tick.C:
		}
		d = relay.Draining{}
		if err := c.command("GET", "/queue/drain", nil, &d); err != nil {
			return d, err
		}
		if d.Since.IsZero() {
			return d, errors.New("the relay takes new mail again: somebody undid the drain, or restarted it")
		}
	}
	if held := d.Deliveries[string(queue.Held)]; held > 0 {
		return d, fmt.Errorf("nothing is left but %d that are held, which wait for you: release, drop or export them", held)
	}
	return d, nil
}

// moving is how much is still to be sent.
func moving(d relay.Draining) (n int) {
	for state, count := range d.Deliveries {
		if state != string(queue.Held) {
			n += count
		}
	}
	return n
}

// remaining is what waits, in words.
func remaining(d relay.Draining) string {
	var parts []string
	for _, state := range []queue.State{queue.Queued, queue.Sending, queue.Deferred, queue.Uncertain, queue.Held} {
		if n := d.Deliveries[string(state)]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, state))
		}
	}
	if parts == nil {
		return "Nothing is left in the queue."
	}
	return "Left: " + strings.Join(parts, ", ") + "."
}
