package main

import (
	"context"
	"fmt"
	"io"
	"net/mail"
	"net/netip"
	"os"
	"slices"
	"strings"

	"postern/relay"
	"postern/relay/config"
	"postern/relay/message"
)

type explainCmd struct {
	File     string   `arg:"" optional:"" help:"The message, header and body; - is standard input. Without one a short message is made up." placeholder:"FILE"`
	Account  string   `help:"Who has logged in." required:""`
	User     string   `help:"The person behind the account, as a directory has it."`
	From     string   `help:"Envelope sender; unset: that of the From field. Write <> for the null sender." placeholder:"ADDRESS"`
	To       []string `help:"Envelope recipient; unset: those of To and Cc." placeholder:"ADDRESS"`
	Client   string   `help:"The client's address; unset: one that the account may log in from." placeholder:"IP"`
	Listener string   `help:"The listener it comes through; unset: the first one."`
	JSON     bool     `help:"Print JSON." name:"json"`
}

// Run takes the very steps a relay takes and keeps nothing. It is an error of
// exit code 1 when the message would be refused.
func (k explainCmd) Run(c *cli, std streams) error {
	cfg, err := config.Load(c.Config)
	if err != nil {
		return err
	}
	sub, err := k.submission(cfg, std.in)
	if err != nil {
		return err
	}
	if sub.Line, err = ruleLines(c.Config, cfg); err != nil {
		return err
	}
	e, err := relay.Explain(context.Background(), cfg, sub)
	if err != nil {
		return err
	}
	if k.JSON {
		err = printJSON(std.out, e)
	} else {
		printExplanation(std.out, e)
	}
	if err == nil && e.Refused != nil {
		err = fmt.Errorf("it would be refused at %s: %s", e.At, e.Refused)
	}
	return err
}

// submission is what the flags and the file describe.
func (k explainCmd) submission(cfg *config.Config, in io.Reader) (relay.Submission, error) {
	sub := relay.Submission{Account: k.Account, User: k.User, Listener: k.Listener}
	var err error
	if sub.Content, err = k.content(in); err != nil {
		return sub, err
	}
	parsed, err := mail.ReadMessage(strings.NewReader(string(sub.Content)))
	if err != nil {
		return sub, fmt.Errorf("the message: %w", err)
	}
	if sub.From, err = k.sender(parsed.Header); err != nil {
		return sub, err
	}
	if sub.To, err = k.recipients(parsed.Header); err != nil {
		return sub, err
	}
	sub.Address, err = k.address(cfg)
	return sub, err
}

// content is the message: the file's, or one made up from the flags.
func (k explainCmd) content(in io.Reader) ([]byte, error) {
	switch {
	case k.File == "-":
		return io.ReadAll(in)
	case k.File != "":
		return os.ReadFile(k.File)
	case k.From == "" || len(k.To) == 0:
		return nil, usageError{fmt.Errorf("name a file with the message, or say --from and --to")}
	}
	return fmt.Appendf(nil, "From: %s\r\nTo: %s\r\nSubject: explain\r\n\r\nhello\r\n", strings.Trim(k.From, "<>"), strings.Join(k.To, ", ")), nil
}

func (k explainCmd) sender(h mail.Header) (message.Address, error) {
	given := k.From
	if given == "" {
		if list, err := h.AddressList("From"); err == nil && len(list) > 0 {
			given = list[0].Address
		} else {
			return message.Address{}, usageError{fmt.Errorf("From names nobody to take as the envelope sender; say --from")}
		}
	}
	if given == "<>" {
		return message.Address{}, nil
	}
	return parseAddress("--from", given)
}

func (k explainCmd) recipients(h mail.Header) ([]message.Address, error) {
	given := k.To
	for _, field := range []string{"To", "Cc"} {
		list, err := h.AddressList(field)
		if err == nil && len(k.To) == 0 {
			for _, a := range list {
				given = append(given, a.Address)
			}
		}
	}
	if len(given) == 0 {
		return nil, usageError{fmt.Errorf("To and Cc name no recipients; say --to")}
	}
	var all []message.Address
	for _, s := range given {
		a, err := parseAddress("--to", s)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}

func parseAddress(flag, s string) (message.Address, error) {
	a, err := message.ParseAddress(strings.TrimSuffix(strings.TrimPrefix(s, "<"), ">"))
	if err != nil {
		return a, usageError{fmt.Errorf("%s: %q is not an address: %w", flag, s, err)}
	}
	return a, nil
}

// address is the client's: as given, or the first of the account's networks, or
// one of those for documentation (RFC 5737).
func (k explainCmd) address(cfg *config.Config) (netip.Addr, error) {
	if k.Client != "" {
		a, err := netip.ParseAddr(k.Client)
		if err != nil {
			return a, usageError{fmt.Errorf("--client: %q is not an IP address", k.Client)}
		}
		return a, nil
	}
	i := slices.IndexFunc(cfg.Accounts, func(a config.Account) bool { return a.Auth.Name == k.Account })
	if i < 0 {
		return netip.Addr{}, usageError{fmt.Errorf("there is no account %q", k.Account)}
	}
	for _, n := range cfg.Accounts[i].Auth.Networks {
		return netip.Prefix(n).Addr(), nil
	}
	return netip.MustParseAddr("192.0.2.1"), nil
}

// ruleLines tells where in the file a rule is written that changes are named
// after.
func ruleLines(path string, cfg *config.Config) (func(rule string) int, error) {
	lines, err := config.Lines(path)
	if err != nil {
		return nil, err
	}
	for i, r := range cfg.Rewrite {
		if r.Name != "" {
			lines[r.Name] = lines[fmt.Sprintf("rewrite[%d]", i)]
		}
	}
	for rule, key := range map[string]string{"remove": "headers.remove"} {
		lines[rule] = lines[key]
	}
	return func(rule string) int { return lines[rule] }, nil
}
