// Command provider-sim is the mail providers that a relay sends through, on the
// loopback interface: Microsoft 365 by SMTP and Graph, Gmail by SMTP and its API,
// Amazon SES, and the token endpoints of Microsoft and Google. They have the limits
// and speak the texts the real ones are known for, and fail on request. It
// writes a configuration of Postern that is ready to be used with them.
//
// Nothing that is sent to it leaves the machine. docs/provider-sim.md tells more.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"postern/cmd/provider-sim/world"
)

type cli struct {
	Dir     string        `help:"Keep keys, the configuration and messages here; by default a temporary directory that is removed at the end." placeholder:"DIR"`
	World   string        `help:"Who is there and what they may do, in place of the usual world (see --print-world)." placeholder:"FILE"`
	Minute  time.Duration `help:"How long a minute of the limits lasts; a day is 1440 of them." default:"1m"`
	Control string        `help:"Address of the control API; it should not be reachable for others." default:"127.0.0.1:9590"`

	PrintWorld bool `help:"Print the usual world and end."`
}

func main() {
	var c cli
	kong.Parse(&c, kong.Name("provider-sim"), kong.Description("Mail providers that are not there, to try a configuration against."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := c.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "provider-sim:", err)
		os.Exit(1)
	}
}

func (c cli) run(ctx context.Context) error {
	if c.PrintWorld {
		_, err := os.Stdout.Write(world.Usual)
		return err
	}
	if c.Minute <= 0 {
		return fmt.Errorf("--minute is %v; it must be longer than nothing", c.Minute)
	}
	var text []byte
	var err error
	if c.World != "" {
		if text, err = os.ReadFile(c.World); err != nil {
			return err
		}
	}
	data, err := world.Parse(text)
	if err != nil {
		return err
	}
	temporary := c.Dir == ""
	if temporary {
		if c.Dir, err = os.MkdirTemp("", "provider-sim-"); err != nil {
			return err
		}
		defer os.RemoveAll(c.Dir)
	}
	s, err := start(c, data, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		return err
	}
	defer s.close()
	if err := greeting.Execute(os.Stdout, struct {
		*setup
		Temporary bool
		Minute    time.Duration
	}{s.setup, temporary, c.Minute}); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}
