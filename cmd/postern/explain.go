package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"postern/relay"
	"postern/relay/config"
	"postern/relay/message"
)

type explainCmd struct {
	File     string   `arg:"" optional:"" help:"The message, header and body; - is standard input. Without one a short message is made up." placeholder:"FILE"`
	Account  string   `help:"Who has logged in." required:""`
	User     string   `help:"The person behind the account, as a directory has it."`
	Own      []string `help:"An address that the directory has of that person." placeholder:"ADDRESS"`
	From     string   `help:"Envelope sender; unset: that of the From field. Write <> for the null sender." placeholder:"ADDRESS"`
	To       []string `help:"Envelope recipient; unset: those of To and Cc." placeholder:"ADDRESS"`
	SMTPUTF8 bool     `help:"The client asks for SMTPUTF8; it must for addresses outside ASCII." name:"smtputf8"`
	Client   string   `help:"The client's address; unset: one that the account may log in from." placeholder:"IP"`
	Listener string   `help:"The listener it comes through; unset: the first one."`
	Offer    []string `help:"What the upstreams offer: any of 8BITMIME, SMTPUTF8 and SIZE=OCTETS, or none; unset: everything." placeholder:"KEYWORD"`
	JSON     bool     `help:"Print JSON." name:"json"`
}

// errRefused is the exit code 1 of an explanation that has said why.
var errRefused = silent{errors.New("the message would be refused")}

// Run takes the very steps a relay takes and keeps nothing.
func (k explainCmd) Run(c *cli, std streams) error {
	cfg, err := config.Load(c.Config)
	if err != nil {
		return err
	}
	sub, err := k.submission(cfg, std.in)
	if err != nil {
		return err
	}
	if sub.Lines, err = config.Lines(c.Config); err != nil {
		return err
	}
	e, err := relay.Explain(context.Background(), cfg, sub)
	if err != nil {
		return err
	}
	if k.JSON {
		err = printJSON(std.out, e)
	} else {
		printExplanation(std.out, sub, e)
	}
	if err == nil && e.Refused != nil {
		err = errRefused
	}
	return err
}

// submission is what the flags and the file describe.
func (k explainCmd) submission(cfg *config.Config, in io.Reader) (sub relay.Submission, err error) {
	sub = relay.Submission{Account: k.Account, User: k.User, Listener: k.Listener, SMTPUTF8: k.SMTPUTF8}
	if sub.Address, err = k.address(cfg); err != nil {
		return sub, err
	}
	if sub.Offer, err = k.offer(); err != nil {
		return sub, err
	}
	if sub.Addresses, err = parseAddresses("--own", k.Own); err != nil {
		return sub, err
	}
	if sub.Content, err = k.content(in); err != nil {
		return sub, err
	}
	// What is wrong with the message is told of it as a client is told.
	text := bytes.ReplaceAll(bytes.ReplaceAll(sub.Content, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
	header, _ := message.ReadHeader(bufio.NewReader(bytes.NewReader(text)))
	if sub.From, err = k.sender(header); err != nil {
		return sub, err
	}
	sub.To, err = k.recipients(header)
	return sub, err
}

// offer reads the keywords as a reply to EHLO has them.
func (k explainCmd) offer() (*relay.Offer, error) {
	if len(k.Offer) == 0 {
		return nil, nil
	}
	var o relay.Offer
	for _, word := range k.Offer {
		size, sized := strings.CutPrefix(strings.ToUpper(word), "SIZE=")
		n, err := strconv.ParseInt(size, 10, 64)
		switch {
		case strings.EqualFold(word, "8BITMIME"):
			o.EightBit = true
		case strings.EqualFold(word, "SMTPUTF8"):
			o.UTF8 = true
		case sized && err == nil && n >= 0:
			o.Size = n
		case !strings.EqualFold(word, "none"):
			return nil, usageError{fmt.Errorf("--offer: %q is not 8BITMIME, SMTPUTF8, SIZE=OCTETS or none", word)}
		}
	}
	return &o, nil
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

func (k explainCmd) sender(h message.Header) (message.Address, error) {
	switch {
	case k.From == "<>":
		return message.Address{}, nil
	case k.From != "":
		return parseAddress("--from", k.From)
	}
	if named := mailboxes(h, "From"); len(named) > 0 {
		return named[0], nil
	}
	return message.Address{}, usageError{errors.New("the message names nobody in From to take as the envelope sender; say --from")}
}

func (k explainCmd) recipients(h message.Header) ([]message.Address, error) {
	if len(k.To) > 0 {
		return parseAddresses("--to", k.To)
	}
	all := mailboxes(h, "To", "Cc", "Bcc")
	if len(all) == 0 {
		return nil, usageError{errors.New("the message names no recipients in To or Cc; say --to")}
	}
	return all, nil
}

// mailboxes are the addresses in fields of these names.
func mailboxes(h message.Header, names ...string) (all []message.Address) {
	for _, name := range names {
		for _, f := range h.All(name) {
			found, _ := f.Mailboxes()
			for _, m := range found {
				all = append(all, m.Address)
			}
		}
	}
	return all
}

func parseAddresses(flag string, texts []string) (all []message.Address, err error) {
	for _, s := range texts {
		a, err := parseAddress(flag, s)
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
	i := slices.IndexFunc(cfg.Accounts, func(a config.Account) bool { return a.Auth.Name == k.Account })
	if i < 0 {
		var names []string
		for _, a := range cfg.Accounts {
			names = append(names, a.Auth.Name)
		}
		return netip.Addr{}, usageError{fmt.Errorf("there is no account %q; there are %s", k.Account, strings.Join(names, ", "))}
	}
	if k.Client != "" {
		a, err := netip.ParseAddr(k.Client)
		if err != nil {
			return a, usageError{fmt.Errorf("--client: %q is not an IP address", k.Client)}
		}
		return a, nil
	}
	for _, n := range cfg.Accounts[i].Auth.Networks {
		return netip.Prefix(n).Addr(), nil
	}
	return netip.MustParseAddr("192.0.2.1"), nil
}
