package transport

import (
	"context"
	"errors"
	"slices"
	"time"
)

// Step is one on the way to an upstream, for a person who asks what is wrong
// with it.
type Step struct {
	Name string
	// Skipped: one that it needs has failed, so it was not tried.
	Skipped bool
	// Took is how long it lasted.
	Took time.Duration
	// Facts are what was seen, each in a line. They hold no secret.
	Facts []string
	// Err is why it failed; nil: it went well, or was skipped.
	Err error
	// Meaning is that in plain words, and Hint what to do about it; "": nothing is
	// known beyond Err.
	Meaning, Hint string
}

// Prober is a transport whose way can be gone without sending anything.
type Prober interface {
	// Probe goes each step and tells see how it went. It asks whether from is taken
	// as a sender where that can be asked; "" asks nothing.
	Probe(ctx context.Context, from string, see func(Step))
}

// Part is a step that is to be gone: after those named in After, which it needs.
type Part struct {
	Name  string
	After []string
	// Go returns facts, also beside an error. An error may be an *[Unreachable], of
	// which the hint and the meaning are told.
	Go func(ctx context.Context) (facts []string, err error)
}

// Walk goes the parts in their order, and skips those that need one which failed
// or was skipped.
func Walk(ctx context.Context, parts []Part, see func(Step)) {
	var missing []string
	for _, p := range parts {
		if slices.ContainsFunc(p.After, func(name string) bool { return slices.Contains(missing, name) }) {
			missing = append(missing, p.Name)
			see(Step{Name: p.Name, Skipped: true})
			continue
		}
		step := p.walk(ctx)
		if step.Err != nil {
			missing = append(missing, p.Name)
		}
		see(step)
	}
}

func (p Part) walk(ctx context.Context) Step {
	began := time.Now()
	facts, err := p.Go(ctx)
	step := Step{Name: p.Name, Took: time.Since(began), Facts: facts, Err: err}
	if fault, ok := err.(*Unreachable); ok {
		step.Err, step.Meaning, step.Hint = fault.Err, fault.Advice.Meaning, fault.Hint
	}
	if err != nil && ctx.Err() != nil {
		step.Err = errors.New("no answer in time")
	}
	return step
}
