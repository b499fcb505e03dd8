package upstream

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"postern/metrics"
	"postern/relay/setting"
)

// Status is how an upstream is doing. Its JSON is a promise to scripts.
type Status struct {
	Upstream string `json:"upstream"`
	// State is "up", "down", "probing" or "held".
	State string `json:"state"`
	// Reason is the phase that failed of one that is down, and of one that is held
	// "quota", "consent", "configuration" or "asked".
	Reason string `json:"reason,omitempty"`
	// Until is when one that is down or held is tried again; zero for one that is
	// held until somebody resumes it.
	Until time.Time `json:"until,omitzero"`
	// Mailbox is whose limits follow, shared by all upstreams that have it.
	Mailbox string `json:"mailbox,omitempty"`
	// Messages were sent in the last minute, and Rate may be, configured or
	// learned; 0 for no limit.
	Messages int     `json:"messages_last_minute"`
	Rate     float64 `json:"messages_per_minute"`
	// Connections are in use, of ConnectionLimit.
	Connections     int `json:"connections"`
	ConnectionLimit int `json:"connection_limit"`
	// Recipients were reached in the period of their limit, or the last day.
	Recipients     int          `json:"recipients"`
	RecipientLimit setting.Rate `json:"recipient_limit"`
	// Next is when the mailbox has room again; zero when it has now, or when that
	// takes something under way to end.
	Next time.Time `json:"next,omitzero"`
	// Error is the last thing it had against us, Hint what to do about it.
	Error   string    `json:"error,omitempty"`
	ErrorAt time.Time `json:"error_at,omitzero"`
	Hint    string    `json:"hint,omitempty"`
}

// Waiting says for a person why mail for the upstream waits; "" when it does
// not.
func (s Status) Waiting(now time.Time) string {
	until := ""
	if s.Until.After(now) {
		until = " until " + clock(s.Until, now)
	}
	switch {
	case s.State == stateHeld && s.Reason == heldAsAsked && until == "":
		return s.Upstream + " is held until it is resumed, " + s.Error
	case s.State == stateHeld && s.Reason == heldAsAsked:
		return s.Upstream + " is held" + until + ", " + s.Error
	case s.State == stateHeld:
		return s.Upstream + " is held for " + s.Reason + until
	case s.State != stateUp:
		return s.Upstream + " is " + s.State + until
	case s.Next.After(now):
		return s.Upstream + " is throttled: next in " + setting.Duration(s.Next.Sub(now).Round(time.Second)).String()
	}
	return ""
}

// clock is a time of today without the date.
func clock(t, now time.Time) string {
	t, now = t.Local(), now.Local()
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format("15:04")
	}
	return t.Format("2006-01-02 15:04")
}

// Status is that of every upstream, in the order of the configuration.
func (s *Set) Status() []Status {
	all := []Status{} // none is a list too
	for _, u := range s.order {
		all = append(all, u.status(time.Now()))
	}
	return all
}

func (u *upstream) status(now time.Time) Status {
	g, box := &u.gate, u.gate.box
	box.mu.Lock()
	defer box.mu.Unlock()
	t, at, most := &box.throttle, box.since(now), u.cfg.Limits.Connections // with look-ahead there are more slots
	st := Status{Upstream: u.cfg.Name, State: g.state(), Mailbox: u.cfg.Mailbox.String(),
		Messages: t.LastMinute(at), Rate: math.Round(t.Rate(at)*10) / 10,
		Connections: min(g.taken, most), ConnectionLimit: min(g.width(), t.Connections(at), most),
		Recipients: t.Recipients(at), RecipientLimit: t.Configured().Recipients,
		Error: g.said.text, ErrorAt: g.said.at, Hint: g.said.hint}
	if room, again := box.room(now); room <= 0 {
		st.Next = again
	}
	if b := g.breaker; b.down() {
		st.Reason, st.Until = b.reason, b.until
		if st.Reason == "" {
			st.Reason = b.fault.Phase
		}
		st.Error, st.Hint = b.fault.Err.Error(), b.trouble.hint(u.cfg.Name)
	}
	for _, t := range []*time.Time{&st.Until, &st.Next, &st.ErrorAt} {
		if !t.IsZero() {
			*t = t.UTC().Round(time.Second)
		}
	}
	return st
}

// Waiting says for a person why nothing of the lane goes out now; "" when
// something does. One of its upstreams that is ready is enough.
func (s *Set) Waiting(lane string) string {
	var why []string
	now := time.Now()
	for _, u := range s.lane(lane).members() {
		text := u.status(now).Waiting(now)
		if text == "" {
			return ""
		}
		why = append(why, text)
	}
	return strings.Join(why, ", ")
}

// Hold keeps the upstream of that name from being used for a time, or until
// Resume if that is 0. By is who asked for it, and why.
func (s *Set) Hold(name string, d time.Duration, by string) error {
	u, err := s.find(name)
	if err != nil {
		return err
	}
	why := held(name, heldAsAsked, errors.New("by "+by))
	why.wait = d
	u.gate.ask(func(b *breaker) { b.hold(time.Now(), why) })
	u.log.Warn("upstream held", "upstream", name, "reason", heldAsAsked, "by", by, "hint", why.fault.Hint)
	return s.Save()
}

// Resume ends a hold or a pause of the upstream of that name: it is tried at once.
func (s *Set) Resume(name string) error {
	u, err := s.find(name)
	if err != nil {
		return err
	}
	if u.status(time.Now()).State == stateUp {
		return fmt.Errorf("%s is neither held nor down", name)
	}
	u.gate.ask((*breaker).resume)
	u.log.Info("upstream resumed", "upstream", name)
	return s.Save()
}

func (s *Set) find(name string) (*upstream, error) {
	if u := s.upstreams[name]; u != nil {
		return u, nil
	}
	return nil, fmt.Errorf("there is no upstream %q; \"postern upstreams\" lists those there are", name)
}

// Limits is what each upstream may send now, for metrics.
func (s *Set) Limits() []metrics.UpstreamLimits {
	var all []metrics.UpstreamLimits
	now := time.Now()
	for _, u := range s.order {
		st := u.status(now)
		all = append(all, metrics.UpstreamLimits{Upstream: st.Upstream, Rate: st.Rate, Connections: st.ConnectionLimit, Throttled: u.gate.throttled(now).Seconds()})
	}
	return all
}
