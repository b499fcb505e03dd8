package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"postern/metrics"
	"postern/relay/admin"
	"postern/relay/config"
	"postern/relay/upstream/transport"
)

// Examination says which upstreams are to be looked at.
type Examination struct {
	// Upstream is the name of one; "" is each of them.
	Upstream string `json:"upstream"`
	// From is the sender to ask about; "" is the upstream's mailbox.
	From string `json:"from"`
}

// Finding is how the way to one upstream fared. Its names are a promise to scripts.
type Finding struct {
	Upstream string        `json:"upstream"`
	Good     bool          `json:"good"`
	Steps    []FindingStep `json:"steps"`
}

// FindingStep is one step of it.
type FindingStep struct {
	Step string `json:"step"`
	// Result is ok, failed or skipped.
	Result  string   `json:"result"`
	Seconds float64  `json:"seconds"`
	Facts   []string `json:"facts,omitempty"`
	Error   string   `json:"error,omitempty"`
	Meaning string   `json:"meaning,omitempty"`
	Hint    string   `json:"hint,omitempty"`
}

// Results of a step.
const (
	StepOK      = "ok"
	StepFailed  = "failed"
	StepSkipped = "skipped"
)

// probePatience is how long all steps to one upstream may take.
const probePatience = time.Minute

// Examine goes the way to upstreams by the same steps as a relay with that
// configuration, up to MAIL. Nothing is sent.
func Examine(ctx context.Context, cfg *config.Config, e Examination) ([]Finding, error) {
	r := &Relay{log: slog.New(slog.DiscardHandler), metrics: metrics.New("", "")}
	s, err := r.build(cfg, nil)
	if err != nil {
		return nil, err
	}
	defer s.oauth.Close()
	defer s.upstreams.Close()
	return s.examine(ctx, e)
}

// doctorCommands are what can be asked about the ways of a running relay.
func (r *Relay) doctorCommands(c *admin.Control) {
	c.Handle("POST /doctor", func(q *http.Request) (any, error) {
		var e Examination
		if err := json.NewDecoder(q.Body).Decode(&e); err != nil {
			return nil, err
		}
		s := r.stations.Load()
		if s == nil {
			return nil, errors.New("the relay is still starting")
		}
		return s.examine(q.Context(), e)
	})
}

func (s *stations) examine(ctx context.Context, e Examination) ([]Finding, error) {
	findings := []Finding{}
	for _, u := range s.config.Routing().Upstreams {
		if e.Upstream != "" && u.Name != e.Upstream {
			continue
		}
		from := e.From
		if from == "" {
			from = u.Sender()
		}
		f, err := s.probe(ctx, u.Name, from)
		if err != nil {
			return nil, err
		}
		findings = append(findings, f)
	}
	if len(findings) == 0 {
		return nil, fmt.Errorf("there is no upstream %q; the configuration has %s", e.Upstream, strings.Join(s.upstreamNames(), ", "))
	}
	return findings, nil
}

// probe looks at one upstream.
func (s *stations) probe(ctx context.Context, name, from string) (Finding, error) {
	ctx, cancel := context.WithTimeout(ctx, probePatience)
	defer cancel()
	f := Finding{Upstream: name, Good: true}
	own := s.ownWords(name, from)
	err := s.upstreams.Probe(ctx, name, from, func(step transport.Step) {
		found := FindingStep{Step: step.Name, Result: StepOK, Seconds: step.Took.Seconds(), Facts: step.Facts}
		if step.Name == transport.PhaseToken {
			found.Facts = append(found.Facts, s.credential(name)...)
		}
		switch {
		case step.Skipped:
			found.Result = StepSkipped
		case step.Err != nil:
			found.Result, found.Error = StepFailed, step.Err.Error()
			found.Meaning, found.Hint = step.Meaning, own.Replace(step.Hint)
			f.Good = false
		}
		f.Steps = append(f.Steps, found)
	})
	return f, err
}

// credential is how the tokens of an upstream fare.
func (s *stations) credential(name string) (facts []string) {
	for _, c := range s.oauth.Status() {
		if c.Upstream != name {
			continue
		}
		facts = append(facts, fmt.Sprintf("flow %s, state %s", c.Flow, c.State))
		if !c.SecretExpires.IsZero() {
			facts = append(facts, "client secret or certificate until "+c.SecretExpires.Format(time.DateOnly))
		}
	}
	return facts
}

// ownWords put the upstream's own names into a hint, so that its commands can be
// run as they stand.
func (s *stations) ownWords(name, from string) *strings.Replacer {
	words := []string{"UPSTREAM", name}
	add := func(word, value string) {
		if value != "" {
			words = append(words, word, value)
		}
	}
	for _, u := range s.config.Upstreams {
		if u.Upstream.Name == name && !u.Rewrite.Mailbox.IsNull() {
			add("MAILBOX", u.Rewrite.Mailbox.String())
		}
		if u.Upstream.Name == name {
			add("CLIENT_ID", u.OAuth.OAuth.ClientID)
		}
	}
	add("ADDRESS", from)
	return strings.NewReplacer(words...)
}

func (s *stations) upstreamNames() (names []string) {
	for _, u := range s.config.Upstreams {
		names = append(names, u.Upstream.Name)
	}
	return names
}
