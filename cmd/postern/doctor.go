package main

import (
	"context"
	"errors"
	"os/signal"
	"syscall"

	"postern/relay"
	"postern/relay/admin"
	"postern/relay/config"
)

type doctorCmd struct {
	Upstream string `arg:"" optional:"" help:"The upstream to look at; all of them by default."`
	From     string `help:"Ask whether mail of this sender is taken; by default that of the upstream's mailbox." placeholder:"ADDRESS"`
	JSON     bool   `help:"Print JSON." name:"json"`
}

// Run has the relay that runs look, as it has the tokens; where none runs it
// looks itself.
func (d doctorCmd) Run(c *cli, std streams) error {
	asked := relay.Examination{Upstream: d.Upstream, From: d.From}
	var findings []relay.Finding
	err := c.command("POST", "/doctor", asked, &findings)
	if errors.Is(err, admin.ErrNotRunning) {
		findings, err = c.examine(asked)
	}
	if err != nil {
		return err
	}
	if d.JSON {
		err = printJSON(std.out, findings)
	} else {
		err = printFindings(std.out, findings)
	}
	for _, f := range findings {
		if err == nil && !f.Good {
			err = silent{errors.New("something is wrong")}
		}
	}
	return err
}

// examine looks by the configuration file alone.
func (c *cli) examine(asked relay.Examination) ([]relay.Finding, error) {
	cfg, err := config.Load(c.Config)
	if err != nil {
		return nil, err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return relay.Examine(ctx, cfg, asked)
}
