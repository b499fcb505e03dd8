package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"syscall"

	"postern/relay/admin"
	"postern/relay/config"
)

// command gives a command to the relay that runs by the configuration file and
// reads its answer. It is broken off by a signal.
func (c *cli) command(method, path string, body, answer any) error {
	dir, err := config.DataDir(c.Config)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err = admin.Command(ctx, dir, method, path, body, answer)
	switch {
	case errors.Is(err, admin.ErrNotRunning):
		return fmt.Errorf("%w (%s); start it with \"postern serve\", or name the configuration it runs by with --config", err, dir)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%s is open to the user of the relay and to root only; try with sudo", dir)
	}
	return err
}
