package relay

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"time"

	"postern/metrics"
	"postern/relay/config"
	"postern/relay/message"
	"postern/relay/queue"
	"postern/relay/submission"
	"postern/rewrite"
)

// Submission is what a client would hand in.
type Submission struct {
	// Account is who it has logged in as, User the person behind it, if any.
	Account, User string
	// Listener is the name of that it comes through; "" is the first one.
	Listener string
	Address  netip.Addr
	From     message.Address
	To       []message.Address
	// Content is header and body. Lines may end in LF alone if all do, as they do
	// in a file.
	Content []byte
	// Line tells where the configuration has a rule, 0 if nowhere.
	Line func(rule string) int
}

// Explanation tells what would become of a submission. Changes are in the words
// of the history.
type Explanation struct {
	ID string `json:"id"`
	// Refused is the reply that would end it, at MAIL, RCPT or DATA.
	Refused *message.Reply `json:"refused,omitempty"`
	At      string         `json:"refused_at,omitempty"`
	From    string         `json:"from"`
	To      []Destination  `json:"to"`
	Changes []Change       `json:"changes,omitempty"`
	Route   string         `json:"route,omitempty"`
	// Limits are those of the account: how many messages and recipients in which
	// time.
	Limits map[string]string `json:"limits,omitempty"`
	// Upstreams are those of the route, in order of preference.
	Upstreams []Through `json:"upstreams,omitempty"`
	// Given is the header as it was handed in, Kept as it would be accepted.
	Given string `json:"header_given"`
	Kept  string `json:"header_kept,omitempty"`
}

// Destination is a recipient, and whom rules make of it.
type Destination struct {
	Given   string         `json:"given"`
	Becomes string         `json:"becomes,omitempty"`
	Refused *message.Reply `json:"refused,omitempty"`
}

// Change is one thing done to the message, and the line of the configuration
// that asks for it; 0 if none does.
type Change struct {
	message.Change
	Line int `json:"line,omitempty"`
}

// Through is what one upstream would be given.
type Through struct {
	Upstream string `json:"upstream"`
	// Refused is why it cannot be given the message.
	Refused string   `json:"refused,omitempty"`
	From    string   `json:"from,omitempty"`
	To      []string `json:"to,omitempty"`
	Changes []Change `json:"changes,omitempty"`
	Header  string   `json:"header,omitempty"`
}

// Explain tells what a relay with that configuration would do with a submission,
// by the same steps that a real one takes. Nothing is kept or sent. What
// upstreams offer is not known, so each is taken to offer everything.
func Explain(ctx context.Context, cfg *config.Config, sub Submission) (*Explanation, error) {
	r := &Relay{log: slog.New(slog.DiscardHandler), metrics: metrics.New("", "")}
	s, err := r.build(cfg, nil)
	if err != nil {
		return nil, err
	}
	defer s.upstreams.Close()
	m, err := s.submitted(sub)
	if err != nil {
		return nil, err
	}
	e := &explaining{stations: s, m: m, line: sub.Line, Explanation: Explanation{ID: m.ID, Given: string(m.Header.Bytes())}}
	if err := e.take(sub); err != nil {
		return nil, err
	}
	if e.Refused == nil {
		e.send(ctx)
	}
	return &e.Explanation, nil
}

// submitted is the message as a session would hand it over.
func (s *stations) submitted(sub Submission) (*message.Message, error) {
	content := sub.Content
	if !bytes.Contains(content, []byte("\r\n")) {
		content = bytes.ReplaceAll(content, []byte("\n"), []byte("\r\n"))
	}
	in := bufio.NewReader(bytes.NewReader(content))
	header, err := message.ReadHeader(in)
	if err != nil {
		return nil, fmt.Errorf("the message: %w", err)
	}
	body, err := io.ReadAll(in)
	if err != nil {
		return nil, err
	}
	listener, err := s.listener(sub.Listener)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &message.Message{
		ID: message.NewID(now), Received: now, Header: header, Body: message.Bytes(body),
		Envelope: message.Envelope{From: sub.From, SMTPUTF8: !header.IsASCII() || !sub.From.IsASCII()},
		Client: message.Client{
			Identity: message.Identity{Account: sub.Account, User: sub.User}, Address: netip.AddrPortFrom(sub.Address, 0),
			Hello: "explain", Extended: true, Listener: listener.Name, TLSVersion: "TLS 1.3", TLSCipher: "TLS_AES_128_GCM_SHA256",
			Mechanism: "PLAIN", Repair: s.submission(nil).Repairs(listener, sub.Address),
		},
	}, nil
}

func (s *stations) listener(name string) (submission.Listener, error) {
	for _, l := range s.config.Listeners {
		if l.Name == name || name == "" {
			return l, nil
		}
	}
	return submission.Listener{}, fmt.Errorf("there is no listener %q", name)
}

// explaining is an Explanation while it is found.
type explaining struct {
	Explanation
	stations *stations
	m        *message.Message
	line     func(rule string) int
}

// lines is each change with the line that asks for it.
func (e *explaining) lines(changes []message.Change) []Change {
	all := make([]Change, len(changes))
	for i, c := range changes {
		all[i] = Change{c, e.line(c.Rule)}
	}
	return all
}

// take goes through MAIL, RCPT and DATA as the gateway does. The error means
// that none of them can be judged.
func (e *explaining) take(sub Submission) error {
	s, m := e.stations, e.m
	if err := e.judged("MAIL", s.sender(m)); err != nil || e.Refused != nil {
		return err
	}
	for _, to := range sub.To {
		r, changes, err := s.recipient(m, message.Recipient{Address: to})
		d := Destination{Given: to.String()}
		var reply *message.Reply
		switch {
		case err == nil:
			d.Becomes = r.Address.String()
			m.To, m.Changes = append(m.To, r), rewrite.Add(m.Changes, changes...)
		case errors.As(err, &reply):
			d.Refused = reply
		default:
			return err
		}
		e.To = append(e.To, d)
	}
	if len(m.To) == 0 {
		e.At, e.Refused = "RCPT", message.Refuse(554, "5.5.1", "no recipient is left")
		return nil
	}
	lane, err := s.complete(m, m.Received)
	if err := e.judged("DATA", err); err != nil || e.Refused != nil {
		return err
	}
	e.Route, e.From, e.Kept = lane, m.From.String(), string(m.Header.Bytes())
	e.Changes = e.lines(m.Changes)
	e.Limits = s.policy.Limits(m.Client.Account)
	return nil
}

// judged notes a refusal; other errors pass.
func (e *explaining) judged(at string, err error) error {
	var reply *message.Reply
	if errors.As(err, &reply) {
		e.At, e.Refused = at, reply
		return nil
	}
	return err
}

// send tells what each upstream of the route would be given.
func (e *explaining) send(ctx context.Context) {
	for _, u := range e.stations.upstreams.Offers(e.Route) {
		t := Through{Upstream: u.Upstream}
		letter, made, err := e.stations.letter(ctx, e.m, u.Upstream, u.Offer, queue.Made{})
		if err == nil {
			t.From, t.Header, t.Changes = letter.From.String(), string(letter.Header.Bytes()), e.lines(made.Changes)
			for _, r := range letter.To {
				t.To = append(t.To, r.Address.String())
			}
		} else {
			t.Refused = err.Error()
		}
		e.Upstreams = append(e.Upstreams, t)
	}
}
