package main

import (
	"fmt"
	"net/url"
	"text/tabwriter"
	"time"

	"postern/relay"
)

type bansCmd struct {
	List bansListCmd `cmd:"" default:"withargs" help:"List who is shut out after failed logins."`
	Lift bansLiftCmd `cmd:"" help:"Let somebody in again."`
}

type bansListCmd struct {
	JSON bool `help:"Print JSON." name:"json"`
}

// Run asks the running relay.
func (b bansListCmd) Run(c *cli, std streams) error {
	var bans []relay.Ban
	if err := c.command("GET", "/bans", nil, &bans); err != nil {
		return err
	}
	if b.JSON {
		return printJSON(std.out, bans)
	}
	if len(bans) == 0 {
		_, err := fmt.Fprintln(std.out, "Nobody is banned.")
		return err
	}
	w := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ADDRESS\tACCOUNT\tUNTIL")
	for _, ban := range bans {
		account := ban.Account
		switch ban.Kind {
		case "address":
			account = "(all)"
		case "unknown account":
			account = "(a name that no account has)"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", ban.Client, account, ban.Until.Local().Format(time.DateTime))
	}
	return w.Flush()
}

type bansLiftCmd struct {
	Address string `arg:"" help:"As it is listed."`
	Account string `arg:"" optional:"" help:"Only the ban of this account name from there."`
	Reason  string `help:"Why, for the log."`
}

// Run tells the running relay.
func (b bansLiftCmd) Run(c *cli, std streams) error {
	query := url.Values{"client": {b.Address}}
	if b.Account != "" {
		query.Set("account", b.Account)
	}
	var lifted int
	if err := c.command("DELETE", because("/bans?"+query.Encode(), b.Reason), nil, &lifted); err != nil {
		return err
	}
	_, err := fmt.Fprintf(std.out, "%d lifted\n", lifted)
	return err
}
