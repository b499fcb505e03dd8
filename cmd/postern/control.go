package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os/signal"
	"strings"
	"syscall"

	"postern/relay"
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
	return hint(admin.Command(ctx, dir, method, path, body, answer), dir)
}

// because adds a reason to the path of a command.
func because(path, reason string) string {
	if reason == "" {
		return path
	}
	separator := "?"
	if strings.Contains(path, "?") {
		separator = "&"
	}
	return path + separator + "reason=" + url.QueryEscape(reason)
}

// hint says what to do about a relay that cannot be talked to.
func hint(err error, dir string) error {
	switch {
	case errors.Is(err, admin.ErrNotRunning):
		return fmt.Errorf("%w (%s); start it with \"postern serve\", or name the configuration it runs by with --config", err, dir)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%s is open to the user of the relay and to root only; try with sudo", dir)
	}
	return err
}

// maintain does something by the commands that export and import messages: those of
// the relay that runs, or where none does, of one that does nothing else.
func (c *cli) maintain(do func(ctx context.Context, client *admin.Client) error) error {
	dir, err := config.DataDir(c.Config)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	client := admin.NewClient(dir)
	defer client.Close()
	err = admin.Running(ctx, dir)
	if err == nil {
		return do(ctx, client)
	}
	if !errors.Is(err, admin.ErrNotRunning) {
		return hint(err, dir)
	}
	if err := mayOpen(dir); err != nil {
		return err
	}
	cfg, err := config.Load(c.Config)
	if err != nil {
		return err
	}
	return relay.Maintain(cfg, func() error { return do(ctx, client) })
}
