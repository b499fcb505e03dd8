package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"postern/relay"
	"postern/relay/config"
)

type checkCmd struct {
	Print    bool   `help:"Print the whole configuration, defaults filled in and secrets masked."`
	DNS      bool   `name:"dns" help:"Look up, too, whether mail of your domains passes DMARC through each upstream it may take."`
	Resolver string `help:"DNS server to ask, instead of the one configured." placeholder:"HOST:PORT"`
}

// Run reads the configuration as serve would.
func (k checkCmd) Run(c *cli, std streams) error {
	cfg, err := config.Load(c.Config)
	if err != nil {
		return err
	}
	warnings := cfg.Warnings()
	if k.DNS {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		warnings = append(warnings, relay.Alignment(ctx, cfg, k.Resolver)...)
	}
	for _, w := range warnings {
		fmt.Fprintf(std.err, "%s: warning: %s\n", c.Config, w)
	}
	if k.Print {
		text, err := cfg.YAML()
		if err != nil {
			return err
		}
		_, err = std.out.Write(text)
		return err
	}
	_, err = fmt.Fprintf(std.out, "%s: good: %s, %s, %s, %s\n", c.Config, count(len(cfg.Listeners), "listener"),
		count(len(cfg.Accounts), "account"), count(len(cfg.Upstreams), "upstream"), count(len(cfg.Routes), "route"))
	return err
}

func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
