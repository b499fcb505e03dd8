package throttle

import (
	"time"

	"postern/relay/sliding"
)

// Counted is what was handed over some time ago.
type Counted struct {
	N   int           `json:"n"`
	Ago time.Duration `json:"ago"`
}

// Used is what counts against the limits of long periods.
type Used struct {
	Messages   []Counted `json:"messages,omitempty"`
	Recipients []Counted `json:"recipients,omitempty"`
}

// Used is what has been handed over lately, for a later Throttle to begin with.
func (t *Throttle) Used(now time.Duration) Used {
	t.recipients.Count(now, t.recipientsPer())
	u := Used{Recipients: counted(&t.recipients, now)}
	if rate := t.limits.Messages; !rate.IsZero() {
		t.messages.Count(now, rate.Per)
		u.Messages = counted(&t.messages, now)
	}
	return u
}

func counted(w *sliding.Window, now time.Duration) (all []Counted) {
	w.Each(func(n int, at time.Duration) { all = append(all, Counted{n, now - at}) })
	return all
}

// Restore counts what was Used that long ago. It comes before anything is sent.
func (t *Throttle) Restore(u Used, ago, now time.Duration) {
	restore(&t.messages, u.Messages, ago, now)
	restore(&t.recipients, u.Recipients, ago, now)
}

// restore leaves out what makes no sense, and takes what lies in the future, as
// the clock was set back since, for new.
func restore(w *sliding.Window, all []Counted, ago, now time.Duration) {
	for _, c := range all {
		if c.N > 0 && c.Ago >= 0 {
			w.Add(c.N, now-max(ago+c.Ago, 0), 0)
		}
	}
}
