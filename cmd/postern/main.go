// Command postern is an authenticated SMTP submission relay: devices and
// applications hand it their mail, it keeps it safe and forwards it through the
// providers it is told of. Each subcommand is one file.
//
// Exit codes: 0 good, 1 the answer is no, 2 used wrongly.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kong"
)

// Set by the linker; see the Makefile.
var (
	version = "dev"
	commit  = "unknown"
)

type cli struct {
	Config string `help:"Configuration file." short:"c" default:"/etc/postern/config.yaml" env:"POSTERN_CONFIG" placeholder:"FILE"`

	Serve   serveCmd   `cmd:"" help:"Run the relay."`
	Reload  reloadCmd  `cmd:"" help:"Have the running relay read its configuration again, and say what is wrong with it."`
	Demo    demoCmd    `cmd:"" help:"Run a relay that needs no set-up and keeps the mail it is given."`
	Check   checkCmd   `cmd:"" help:"Check the configuration file and say all that is wrong with it."`
	Explain explainCmd `cmd:"" help:"Tell what would become of a message: who may send it, what it would look like, which way it would go."`
	Presets presetsCmd `cmd:"" help:"List the providers that are known, or show what is known of one."`
	Doctor  doctorCmd  `cmd:"" help:"Go the way to an upstream step by step, send nothing, and say what is wrong and what to do."`
	Hash    hashCmd    `cmd:"" help:"Turn a password into a password_hash, or make up both."`
	Cert    certCmd    `cmd:"" help:"Make certificates, and a private CA for devices to trust."`
	DKIM    dkimCmd    `cmd:"" name:"dkim" help:"Make keys that sign outgoing mail, and check their records."`
	Login   loginCmd   `cmd:"" help:"Let an upstream's provider know that you agree (OAuth), and list how its access tokens fare."`
	Queue   queueCmd   `cmd:"" help:"Look at the messages in the store."`
	Trace   traceCmd   `cmd:"" help:"Tell the story of a message hop by hop, or find it by who, whom, when, or what was said."`
	Devices devicesCmd `cmd:"" help:"Look at the devices that submit mail, and at what they say."`
	Bans    bansCmd    `cmd:"" help:"List and lift bans of those whose logins failed."`

	Upstreams upstreamsCmd `cmd:"" help:"Tell how the upstreams are doing; hold and resume them."`

	Send    sendCmd    `cmd:"" help:"Submit one message, as a device would."`
	Version versionCmd `cmd:"" help:"Print version and commit."`
}

// streams are where a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

func main() { os.Exit(run(os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr})) }

// run is main with its surroundings as values; it returns the exit code.
func run(args []string, std streams) (code int) {
	var c cli
	exited := false
	parser := kong.Must(&c,
		kong.Name("postern"),
		kong.Description("An authenticated SMTP submission relay for devices and applications."),
		kong.UsageOnError(),
		kong.Writers(std.out, std.err),
		kong.Exit(func(n int) { exited, code = true, n }),
		kong.Bind(std),
	)
	if len(args) == 0 {
		args = []string{"--help"}
	}
	ctx, err := parser.Parse(args)
	switch {
	case exited: // --help has printed all there is to say
		return code
	case err != nil:
		fmt.Fprintf(std.err, "postern: %v\nTry \"postern --help\".\n", err)
		return 2
	}
	err = ctx.Run(&c)
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, new(silent)):
		return 1
	case errors.As(err, &usage):
		fmt.Fprintf(std.err, "postern: %v\n", err)
		return 2
	default:
		fmt.Fprintf(std.err, "postern: %v\n", err)
		return 1
	}
}

// usageError is a command line that cannot be followed.
type usageError struct{ error }

// silent is an answer of no that has been printed already.
type silent struct{ error }

type versionCmd struct{}

func (versionCmd) Run(std streams) error {
	_, err := fmt.Fprintf(std.out, "postern %s (%s)\n", version, commit)
	return err
}
