package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"postern/metrics"
	"postern/relay/config"
	"postern/relay/message"
	"postern/relay/queue"
	"postern/relay/submission"
	"postern/relay/upstream"
	"postern/relay/upstream/transport"
	"postern/rewrite"
)

// Submission is what a client would hand in.
type Submission struct {
	// Account is who it has logged in as, User the person behind it, if any.
	Account, User string
	// Addresses are those a directory has of the person.
	Addresses []message.Address
	// Listener is the name of that it comes through; "" is the first one.
	Listener string
	Address  netip.Addr
	From     message.Address
	To       []message.Address
	// SMTPUTF8 is set where the client asks for it, as it must for an address
	// outside ASCII.
	SMTPUTF8 bool
	// Content is header and body. Lines may end in LF alone if all do, as they do
	// in a file.
	Content []byte
	// Offer is what every upstream is taken to offer; nil: everything.
	Offer *Offer
	// Lines tells where the configuration has each key, by its path, such as
	// "rewrite[2]".
	Lines map[string]int
}

// Offer is what an upstream carries.
type Offer = transport.Offer

// Explanation tells what would become of a submission. Changes are in the words
// of the history.
type Explanation struct {
	ID string `json:"id"`
	// Refused is the reply that would end it, at MAIL, RCPT or DATA.
	Refused *message.Reply `json:"refused,omitempty"`
	At      string         `json:"refused_at,omitempty"`
	From    string         `json:"from"`
	To      []Destination  `json:"to"`
	// Changes are those until it is accepted or refused.
	Changes []Change `json:"changes,omitempty"`
	// Routes are those that its recipients take.
	Routes []string `json:"routes,omitempty"`
	// Limits are those of the account: how many messages and recipients in which
	// time.
	Limits map[string]string `json:"limits,omitempty"`
	// Upstreams are those of the routes, in order of preference.
	Upstreams []Through `json:"upstreams,omitempty"`
	// Given is the header as it was handed in, Kept as it would be accepted, or
	// was judged when it is refused.
	Given string `json:"header_given"`
	Kept  string `json:"header_kept,omitempty"`
}

// Destination is a recipient, and whom rules make of it.
type Destination struct {
	Given   string         `json:"given"`
	Becomes string         `json:"becomes,omitempty"`
	Route   string         `json:"route,omitempty"`
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
	Route    string `json:"route"`
	// Choice is 1 for the first choice of the route, 2 for what serves while that is
	// down, and so on. Upstreams of one choice share the load.
	Choice int `json:"choice"`
	// Refused is why it cannot be given the message.
	Refused string   `json:"refused,omitempty"`
	From    string   `json:"from,omitempty"`
	To      []string `json:"to,omitempty"`
	Changes []Change `json:"changes,omitempty"`
	Header  string   `json:"header,omitempty"`
}

// Explain tells what a relay with that configuration would do with a submission,
// by the same steps that a real one takes. Nothing is kept or sent.
func Explain(ctx context.Context, cfg *config.Config, sub Submission) (*Explanation, error) {
	r := &Relay{log: slog.New(slog.DiscardHandler), metrics: metrics.New("", "")}
	s, err := r.build(cfg, nil)
	if err != nil {
		return nil, err
	}
	defer s.upstreams.Close()
	if sub.Offer != nil {
		s.upstreams.Suppose(*sub.Offer)
	}
	m, err := s.submitted(sub)
	if err != nil {
		return nil, err
	}
	e := &explaining{stations: s, m: m, sub: sub, Explanation: Explanation{ID: m.ID, From: sub.From.String()}}
	if err := e.take(); err != nil {
		return nil, err
	}
	if e.Refused == nil {
		e.send(ctx)
	}
	return &e.Explanation, nil
}

// submitted is the message as a session would have it at MAIL.
func (s *stations) submitted(sub Submission) (*message.Message, error) {
	listener, err := s.listener(sub.Listener)
	if err != nil {
		return nil, err
	}
	beyondASCII := !sub.From.IsASCII() || slices.ContainsFunc(sub.To, func(a message.Address) bool { return !a.IsASCII() })
	now := time.Now()
	return &message.Message{
		ID: message.NewID(now), Received: now,
		Envelope: message.Envelope{From: sub.From, SMTPUTF8: sub.SMTPUTF8 || beyondASCII},
		Client: message.Client{
			Identity: message.Identity{Account: sub.Account, User: sub.User, Addresses: sub.Addresses},
			Address:  netip.AddrPortFrom(sub.Address, 0), Listener: listener.Name,
			Hello: "explain", Extended: true, TLSVersion: "TLS 1.3", TLSCipher: "TLS_AES_128_GCM_SHA256", Mechanism: "PLAIN",
			Repair: s.submission(nil).Repairs(listener, sub.Address),
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
	sub      Submission
	m        *message.Message
	lanes    []string // the routes of m.To
}

// take goes through MAIL, RCPT and DATA as the gateway does. The error means
// that none of them can be judged.
func (e *explaining) take() error {
	for _, step := range []struct {
		at   string
		take func() error
	}{{"MAIL", e.mail}, {"RCPT", e.recipients}, {"DATA", e.data}} {
		err := step.take()
		e.From, e.Changes = e.m.From.String(), e.told(e.m.Changes, "")
		if err := e.judged(step.at, err); err != nil || e.Refused != nil {
			return err
		}
	}
	e.Limits = e.stations.policy.Limits(e.m.Client.Account)
	return nil
}

func (e *explaining) mail() error { return e.stations.sender(e.m) }

// recipients takes those that may be. It is a refusal when none is left.
func (e *explaining) recipients() error {
	m := e.m
	for _, to := range e.sub.To {
		r, changes, err := e.stations.recipient(m, message.Recipient{Address: to})
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
		return message.Refuse(503, "5.5.1", "no recipient was accepted")
	}
	return nil
}

// data reads the message and has it completed and judged.
func (e *explaining) data() error {
	m, content := e.m, e.sub.Content
	if !bytes.Contains(content, []byte("\r\n")) {
		content = bytes.ReplaceAll(content, []byte("\n"), []byte("\r\n"))
	}
	body := new(bytes.Buffer)
	header, changes, err := submission.Read(bytes.NewReader(content), m.Client.Repair, e.stations.policy.MaxSize(m.Client.Account), body)
	m.Header, m.Body, m.Changes = header, message.Bytes(body.Bytes()), append(m.Changes, changes...)
	e.Given = string(header.Bytes())
	if err != nil {
		return err
	}
	e.lanes, err = e.stations.complete(m, m.Received)
	e.Kept = string(m.Header.Bytes())
	if err != nil {
		return err
	}
	for i := range e.lanes {
		e.lanes[i] = message.RouteOf(e.lanes[i])
		if !slices.Contains(e.Routes, e.lanes[i]) {
			e.Routes = append(e.Routes, e.lanes[i])
		}
	}
	for i, to := range e.To {
		if k := slices.IndexFunc(m.To, func(r message.Recipient) bool { return r.Address.String() == to.Becomes }); k >= 0 {
			e.To[i].Route = e.lanes[k]
		}
	}
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

// send tells what each upstream of the routes would be given.
func (e *explaining) send(ctx context.Context) {
	for _, route := range e.Routes {
		m := part(e.m, func(i int) bool { return e.lanes[i] == route })
		for i, group := range e.stations.upstreams.Offers(route) {
			for _, u := range group {
				t := e.through(ctx, m, u)
				t.Route, t.Choice = route, i+1
				e.Upstreams = append(e.Upstreams, t)
			}
		}
	}
}

// through is what one upstream would be given of m.
func (e *explaining) through(ctx context.Context, m *message.Message, u upstream.Known) Through {
	t := Through{Upstream: u.Upstream}
	letter, made, err := e.letter(ctx, m, u)
	if err != nil {
		t.Refused = err.Error()
		return t
	}
	t.From, t.Header, t.Changes = letter.From.String(), string(letter.Header.Bytes()), e.told(made.Changes, u.Upstream)
	for _, r := range letter.To {
		t.To = append(t.To, r.Address.String())
	}
	return t
}

// letter is what an upstream would be given, as far as it can carry it.
func (e *explaining) letter(ctx context.Context, m *message.Message, u upstream.Known) (*message.Message, queue.Made, error) {
	letter, made, err := e.stations.letter(ctx, m, u.Upstream, u.Offer, queue.Made{})
	if err != nil {
		return nil, made, err
	}
	if reply := u.Offer.Refuse(transport.LoadOf(letter)); reply != nil {
		return nil, made, reply
	}
	return letter, made, nil
}
