package main

import (
	"fmt"

	"postern/relay/config"
)

type checkCmd struct {
	Print bool `help:"Print the whole configuration, defaults filled in and secrets masked."`
}

// Run reads the configuration as serve would.
func (k checkCmd) Run(c *cli, std streams) error {
	cfg, err := config.Load(c.Config)
	if err != nil {
		return err
	}
	for _, w := range cfg.Warnings() {
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
