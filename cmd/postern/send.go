package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"time"

	"golang.org/x/term"

	"postern/metrics"
	"postern/relay/message"
	"postern/relay/setting"
	"postern/relay/upstream"
)

type sendCmd struct {
	Server       string   `help:"Relay to submit to." default:"127.0.0.1:587" placeholder:"HOST:PORT"`
	TLS          string   `help:"starttls or implicit." enum:"starttls,implicit" default:"starttls"`
	CA           string   `help:"PEM file with the roots to trust instead of the system's." name:"ca" placeholder:"FILE"`
	User         string   `help:"Account to log in as." required:""`
	PasswordFile string   `help:"File with the password; else $POSTERN_PASSWORD, else it is asked for." placeholder:"FILE"`
	From         string   `help:"Envelope sender." required:"" placeholder:"ADDRESS"`
	To           []string `help:"Recipient; may be repeated." required:"" placeholder:"ADDRESS"`
	Subject      string   `help:"Subject of the test message." default:"Test message from postern send"`
	File         string   `arg:"" optional:"" help:"Message to send, - for standard input; without it a test message is made up."`
}

// Run submits one message and prints what the server said to each recipient.
func (k sendCmd) Run(std streams) error {
	m, err := k.message(std.in)
	if err != nil {
		return err
	}
	password, err := k.password(std)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	results, err := k.submit(ctx, m, password)
	if err != nil {
		return err
	}
	refused := 0
	for i, r := range results {
		said := r.Outcome.String()
		if r.Outcome == message.Delivered {
			said = "accepted" // what becomes of it there is another matter
		} else {
			refused++
		}
		fmt.Fprintf(std.out, "%s: %s: %s\n", m.To[i].Address, said, r.Reply)
	}
	if refused > 0 {
		return fmt.Errorf("not accepted for %s", count(refused, "recipient"))
	}
	return nil
}

// submit sends m with the client the relay itself uses.
func (k sendCmd) submit(ctx context.Context, m *message.Message, password setting.Secret) ([]message.Result, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	set, err := upstream.New(upstream.Config{
		Upstreams: []upstream.Upstream{{Name: "server", Address: k.Server, TLS: k.TLS, CA: k.CA, Username: k.User, Password: password}},
		Routes:    []upstream.Route{{Name: "server", Upstreams: []upstream.Group{{"server"}}}},
	}, upstream.Options{Hostname: host, Metrics: metrics.New(version, commit), Log: slog.New(slog.DiscardHandler)}, nil)
	if err != nil {
		return nil, err
	}
	defer set.Close()
	slot := set.TrySlot("server")
	defer slot.Release()
	sent, err := slot.Send(ctx, m, nil)
	var results []message.Result
	for _, r := range sent {
		results = append(results, r.Result)
	}
	return results, err
}

func (k sendCmd) password(std streams) (setting.Secret, error) {
	if k.PasswordFile != "" {
		b, err := os.ReadFile(k.PasswordFile)
		return setting.Plain(string(bytes.TrimRight(b, "\r\n"))), err
	}
	if p := os.Getenv("POSTERN_PASSWORD"); p != "" {
		return setting.Plain(p), nil
	}
	if f, ok := std.in.(*os.File); ok && k.File != "-" && term.IsTerminal(int(f.Fd())) {
		p, err := readPassword(std, false)
		return setting.Plain(p), err
	}
	return setting.Secret{}, usageError{errors.New("no password: use --password-file, or set POSTERN_PASSWORD")}
}

// message is the envelope from the flags around the file's content, or around a
// short text.
func (k sendCmd) message(in io.Reader) (*message.Message, error) {
	m := &message.Message{Received: time.Now()}
	m.ID = message.NewID(m.Received)
	if err := m.From.UnmarshalText([]byte(k.From)); err != nil {
		return nil, usageError{fmt.Errorf("--from: %w", err)}
	}
	for _, to := range k.To {
		a, err := message.ParseAddress(to)
		if err != nil {
			return nil, usageError{fmt.Errorf("--to: %q is not an address: %w", to, err)}
		}
		m.To = append(m.To, message.Recipient{Address: a})
	}
	content, err := k.content(in)
	if err != nil {
		return nil, err
	}
	r := bufio.NewReader(bytes.NewReader(withCRLF(content)))
	if m.Header, err = message.ReadHeader(r); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(r)
	m.Body = message.Bytes(body)
	m.SMTPUTF8 = !m.From.IsASCII()
	for _, r := range m.To {
		m.SMTPUTF8 = m.SMTPUTF8 || !r.Address.IsASCII()
	}
	return m, err
}

func (k sendCmd) content(in io.Reader) ([]byte, error) {
	switch k.File {
	case "":
		return fmt.Appendf(nil, "From: <%s>\nTo: <%s>\nSubject: %s\nDate: %s\n\nIf you can read this, mail gets through.\n",
			k.From, k.To[0], k.Subject, time.Now().Format(time.RFC1123Z)), nil
	case "-":
		return io.ReadAll(in)
	default:
		return os.ReadFile(k.File)
	}
}

// withCRLF makes every line end the one SMTP knows, as sendmail does with what
// it is piped.
func withCRLF(b []byte) []byte {
	b = bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))
	b = bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n"))
	if !bytes.HasSuffix(b, []byte("\r\n")) {
		b = append(b, '\r', '\n')
	}
	return b
}
