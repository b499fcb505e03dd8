package main

import (
	"errors"
	"fmt"
	"net/url"
	"text/tabwriter"

	"postern/relay"
	"postern/relay/queue"
)

// orderFlags say which messages are meant, and why.
type orderFlags struct {
	IDs       []string `arg:"" optional:"" name:"id" help:"Queue ids, as told in the 250."`
	All       bool     `help:"All messages it can be done with."`
	State     string   `help:"All with a recipient in this state." enum:",queued,deferred,held,uncertain" default:""`
	Account   string   `help:"All of this account."`
	Sender    string   `help:"All from this envelope sender." placeholder:"ADDRESS"`
	Recipient string   `help:"Only this recipient." placeholder:"ADDRESS"`
	Reason    string   `help:"Why. It stays in the history."`
	JSON      bool     `help:"Print JSON." name:"json"`
}

type (
	queueRetryCmd   struct{ orderFlags }
	queueHoldCmd    struct{ orderFlags }
	queueReleaseCmd struct{ orderFlags }
	queueDropCmd    struct{ orderFlags }
	queueSettleCmd  struct {
		orderFlags
		Arrived bool `help:"It was delivered: the recipient has it." xor:"how" required:""`
		Lost    bool `help:"It was not delivered: send it again, by any upstream." xor:"how" required:""`
	}
)

func (k queueRetryCmd) Run(c *cli, std streams) error { return c.order(queue.Retry, k.orderFlags, std) }
func (k queueHoldCmd) Run(c *cli, std streams) error  { return c.order(queue.Hold, k.orderFlags, std) }
func (k queueReleaseCmd) Run(c *cli, std streams) error {
	return c.order(queue.Release, k.orderFlags, std)
}
func (k queueDropCmd) Run(c *cli, std streams) error { return c.order(queue.Drop, k.orderFlags, std) }

func (k queueSettleCmd) Run(c *cli, std streams) error {
	if k.Lost {
		return c.order(queue.Lost, k.orderFlags, std)
	}
	return c.order(queue.Arrived, k.orderFlags, std)
}

// order tells the running relay. The answer is no when nothing could be done, or
// not with all that were named.
func (c *cli) order(do queue.Do, k orderFlags, std streams) error {
	o := relay.Order{IDs: k.IDs, All: k.All, State: queue.State(k.State), Account: k.Account, Sender: k.Sender, Recipient: k.Recipient}
	var acted []queue.Acted
	if err := c.command("POST", because("/queue?do="+url.QueryEscape(string(do)), k.Reason), o, &acted); err != nil {
		return err
	}
	if k.JSON {
		if err := printJSON(std.out, acted); err != nil {
			return err
		}
	}
	messages, deliveries, skipped := 0, 0, 0
	w := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', 0)
	for _, a := range acted {
		if deliveries += a.Deliveries; a.Deliveries > 0 {
			messages++
		} else if skipped++; len(k.IDs) > 0 && !k.JSON {
			fmt.Fprintf(w, "%s\tnot done: %s\n", a.ID, a.Why)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if !k.JSON {
		fmt.Fprintf(std.out, "%s: %d messages, %d recipients\n", do, messages, deliveries)
	}
	switch {
	case messages == 0:
		return errors.New("nothing was changed")
	case len(k.IDs) > 0 && skipped > 0:
		return fmt.Errorf("%d of %d were not changed", skipped, len(k.IDs))
	}
	return nil
}
