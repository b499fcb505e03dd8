package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"postern/relay"
	"postern/relay/config"
)

type serveCmd struct{}

// Run serves until SIGTERM or SIGINT; SIGHUP reads the configuration again.
func (serveCmd) Run(c *cli, std streams) error {
	cfg, err := config.Load(c.Config)
	if err != nil {
		return err
	}
	return serve(cfg, c.Config, std.err, nil)
}

// serve runs a relay in the foreground until a signal ends it. listening, if
// any, is called once its ports are open. A second signal ends it without
// draining.
func serve(cfg *config.Config, path string, logTo io.Writer, listening func()) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP) // first of all: unhandled it would end the process
	defer signal.Stop(hup)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // the next signal has its default effect

	level := new(slog.LevelVar)
	o := relay.Options{Log: newLogger(cfg.Log, level, logTo), Level: level, File: path, Version: version, Commit: commit, Listening: listening}
	r, err := relay.New(cfg, o)
	if err != nil {
		return err
	}
	go func() {
		for {
			select {
			case <-hup:
				r.Reload(path) // logs and counts its own outcome; waits until the start is over
			case <-ctx.Done():
				return
			}
		}
	}()
	return r.Run(ctx)
}

func newLogger(cfg config.Log, level *slog.LevelVar, w io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if cfg.Format == "text" {
		return slog.New(slog.NewTextHandler(w, o))
	}
	return slog.New(slog.NewJSONHandler(w, o))
}
