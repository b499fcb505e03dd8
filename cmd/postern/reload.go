package main

import "fmt"

type reloadCmd struct {
	Reason string `help:"Why, for the log."`
}

// Run does what SIGHUP does, but tells how it went.
func (r reloadCmd) Run(c *cli, std streams) error {
	if err := c.command("POST", because("/reload", r.Reason), nil, nil); err != nil {
		return err
	}
	_, err := fmt.Fprintln(std.out, "reloaded")
	return err
}
