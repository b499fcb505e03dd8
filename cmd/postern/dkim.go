package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"postern/metrics"
	"postern/relay/config"
	"postern/relay/dkim"
)

type dkimCmd struct {
	Generate dkimGenerateCmd `cmd:"" help:"Make a key that signs the mail of a domain, and the record to publish."`
	Check    dkimCheckCmd    `cmd:"" help:"Look up the records of all keys, and say what is wrong with them."`
}

type dkimGenerateCmd struct {
	Domain    string `arg:"" help:"Whose mail it is to sign."`
	Selector  string `help:"What the record is to be called; by default s and the month." placeholder:"NAME"`
	Algorithm string `help:"rsa, which everybody can verify, or ed25519, to be used beside it." enum:"rsa,ed25519" default:"rsa"`
	Out       string `help:"File for the private key; by default SELECTOR.DOMAIN.pem. None is overwritten." placeholder:"FILE"`
}

// Run writes the private key for its owner alone, and prints what to do with it.
func (k dkimGenerateCmd) Run(std streams) error {
	selector := cmp.Or(k.Selector, "s"+time.Now().Format("200601"))
	if err := cmp.Or(dkim.CheckDomain(k.Domain), dkim.CheckSelector(selector)); err != nil {
		return usageError{err}
	}
	path, err := filepath.Abs(cmp.Or(k.Out, selector+"."+k.Domain+".pem"))
	if err != nil {
		return err
	}
	pair, err := dkim.Generate(k.Domain, selector, k.Algorithm)
	if err != nil {
		return err
	}
	if err := writeNew(path, pair.PEM); err != nil {
		return err
	}
	name := dkim.RecordName(k.Domain, selector)
	_, err = fmt.Fprintf(std.out, `The private key is in %[1]s: keep it safe, and readable for the relay.

Publish this record. In a zone file:

%[2]s

In a web form the name is %[3]s, the type TXT, and the text

%[4]s

For config.yaml:

dkim:
  - {domain: %[5]s, selector: %[6]s, key: %[1]s}

The relay signs with it once it has seen the record; "postern dkim check" shows how far it is.
`, path, dkim.ZoneLine(name, pair.Record), name, pair.Record, k.Domain, selector)
	return err
}

// writeNew makes a file for its owner alone, and never touches one that is
// there.
func writeNew(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already, and would be overwritten; choose another --selector or --out", path)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}

type dkimCheckCmd struct {
	Resolver string `help:"DNS server to ask, instead of the one configured." placeholder:"HOST:PORT"`
	JSON     bool   `help:"Print JSON." name:"json"`
}

// Run asks DNS about every key of the configuration. What a running relay knows
// of them is read, and left as it is.
func (k dkimCheckCmd) Run(c *cli, std streams) error {
	cfg, err := config.Load(c.Config)
	if err != nil {
		return err
	}
	if len(cfg.DKIM) == 0 {
		return fmt.Errorf("%s has no key under dkim; \"postern dkim generate DOMAIN\" makes one", c.Config)
	}
	set, err := dkim.New(cfg.DKIM, dkim.Options{DataDir: cfg.DataDir, Resolver: cmp.Or(k.Resolver, cfg.DNS.Resolver),
		Metrics: metrics.New(version, commit), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	keys, err := set.Look(ctx)
	if err != nil {
		return err
	}
	if k.JSON {
		err = printJSON(std.out, keyViews(keys))
	} else {
		printKeys(std.out, keys)
	}
	return cmp.Or(err, verdict(keys))
}

// verdict is nil if the records of all keys are as they should be.
func verdict(keys []dkim.Status) error {
	wrong := 0
	for _, k := range keys {
		if k.Record.Verdict != dkim.Good {
			wrong++
		}
	}
	if wrong == 0 {
		return nil
	}
	return fmt.Errorf("%s of %d not right", count(wrong, "record"), len(keys))
}

// printKeys is a line per key, and below it what is wrong and would be right.
func printKeys(w io.Writer, keys []dkim.Status) {
	fmt.Fprintf(w, "%-40s %-12s %-10s %s\n", "RECORD", "KEY", "STATE", "DNS")
	for _, k := range keys {
		fmt.Fprintf(w, "%-40s %-12s %-10s %s\n", k.Name, fmt.Sprintf("%s %d", k.Algorithm, k.Bits), k.State, k.Record.Verdict)
		for _, problem := range k.Record.Problems {
			fmt.Fprintf(w, "    %s\n", clean(problem))
		}
		switch {
		case k.State == dkim.StateRetiring && k.Record.Verdict == dkim.Good:
			fmt.Fprintln(w, "    keep the record until the mail this key has signed is delivered")
		case k.State == dkim.StateNew && k.Record.Verdict == dkim.Good:
			fmt.Fprintln(w, "    a running relay signs with it within a minute")
		case k.Record.Verdict == dkim.Wrong || k.Record.Verdict == dkim.Missing:
			fmt.Fprintf(w, "    publish: %s\n", dkim.ZoneLine(k.Name, k.Want))
		}
	}
}

// keyView is a key as --json shows it. Its names are a promise to scripts.
type keyView struct {
	Record    string       `json:"record"`
	Domain    string       `json:"domain"`
	Selector  string       `json:"selector"`
	Algorithm string       `json:"algorithm"`
	Bits      int          `json:"bits"`
	State     dkim.State   `json:"state"`
	DNS       dkim.Verdict `json:"dns"`
	Problems  []string     `json:"problems,omitempty"`
	Found     []string     `json:"found,omitempty"`
	Alias     string       `json:"alias,omitempty"`
	Publish   string       `json:"publish"`
}

func keyViews(keys []dkim.Status) []keyView {
	views := make([]keyView, len(keys))
	for i, k := range keys {
		views[i] = keyView{k.Name, k.Domain, k.Selector, k.Algorithm, k.Bits, k.State, k.Record.Verdict, k.Record.Problems, k.Record.Texts, k.Record.Alias, k.Want}
	}
	return views
}
