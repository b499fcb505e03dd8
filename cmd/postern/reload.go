package main

import "fmt"

type reloadCmd struct{}

// Run does what SIGHUP does, but tells how it went.
func (reloadCmd) Run(c *cli, std streams) error {
	if err := c.command("POST", "/reload", nil, nil); err != nil {
		return err
	}
	_, err := fmt.Fprintln(std.out, "reloaded")
	return err
}
