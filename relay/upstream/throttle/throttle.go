// Package throttle answers for one mailbox of a provider: may another message
// go out now, or when? It is a value with a few functions of what it is told;
// clock, locks and waiting are left to the room upstream.
//
// What was configured is kept to exactly: so many connections at once, so many
// messages and recipients in any period, wherever it begins. Half of the
// messages may go at once, the others are spread evenly, at most 10s apart.
//
// What nobody told us is learned from refusals. Nothing is held back before the
// first one.
//
//   - Of a burst of refusals only the first counts. After it there is a pause
//     (2s, doubled at each further one up to 5m, or as long as the provider
//     says), and then one message at a time until one is accepted.
//   - Too fast: the rate falls to 97 % of what got through. It returns to that in
//     five minutes, stays near it for about five more, and only then goes beyond
//     it, faster and faster.
//   - Too many connections: one less is used, or half as many when it was refused
//     again within five minutes. That many come back in the same way.
//   - An hour without a refusal, and what was learned is forgotten.
//
// Times are told as durations since some fixed moment.
package throttle

import (
	"math"
	"time"

	"postern/relay/setting"
	"postern/relay/sliding"
)

const (
	day = 24 * time.Hour

	firstPause   = 2 * time.Second
	longestPause = 5 * time.Minute

	// longestGap bounds how far the second half of a configured rate is spread: one
	// of a long period is for its sum.
	longestGap = 10 * time.Second

	// slack is how far messages that came late may catch up with the learned rate.
	slack = 20 * time.Millisecond

	unlimited = math.MaxInt
)

// Limits of a mailbox. The zero Limits are none.
type Limits struct {
	// Connections in use at once; 0 is no limit.
	Connections int
	// Messages handed over, and Recipients of them.
	Messages, Recipients setting.Rate
}

// Strictest is of each limit the lower one.
func (l Limits) Strictest(m Limits) Limits {
	if l.Connections == 0 || m.Connections > 0 && m.Connections < l.Connections {
		l.Connections = m.Connections
	}
	l.Messages, l.Recipients = lower(l.Messages, m.Messages), lower(l.Recipients, m.Recipients)
	return l
}

// lower compares what may go in a long time.
func lower(a, b setting.Rate) setting.Rate {
	perDay := func(r setting.Rate) float64 { return float64(r.Count) * float64(day) / float64(r.Per) }
	if a.IsZero() || !b.IsZero() && perDay(b) < perDay(a) {
		return b
	}
	return a
}

// Throttle is how much goes through one mailbox. The zero Throttle is ready and
// holds nothing back.
type Throttle struct {
	limits Limits

	// flying began and did not end: what will count, if it is handed over, counts
	// already.
	flying, flyingRecipients int
	messages, recipients     sliding.Window // handed over
	last                     time.Duration  // when one began

	rate  learned // messages a minute
	width learned // connections
	next  time.Duration

	refusals int           // that counted
	pauses   int           // one after the other
	refusal  time.Duration // when the last one came
	resume   time.Duration // the end of the pause
	doubted  bool          // nothing was accepted since the last refusal
	proved   bool          // something was, so that the next refusal tells what is too much

	recent sliding.Window // accepted in the last minute
	got    int            // accepted since
	since  time.Duration  // when the rate fell, or when traffic began
	idle   time.Duration  // from a refusal to the acceptance that followed, since then
	needed bool           // a pause was not long enough, since then
	widest int            // connections in use when a message was accepted, since the width fell
}

// Configure puts limits in force. What was counted and learned stays.
func (t *Throttle) Configure(l Limits) { t.limits = l }

// Room is how many more messages may begin now. When there is none, it tells
// when that will be otherwise; 0 when it takes one to end first.
func (t *Throttle) Room(now time.Duration) (n int, again time.Duration) {
	n = unlimited
	for _, rule := range []func(time.Duration) (int, time.Duration){
		t.afterRefusal, t.withinWidth, t.withinMessages, t.withinRecipients, t.withinRate,
	} {
		room, at := rule(now)
		if n = min(n, room); room <= 0 {
			again = max(again, at)
		}
	}
	return max(n, 0), again
}

func (t *Throttle) afterRefusal(now time.Duration) (int, time.Duration) {
	switch {
	case now < t.resume:
		return 0, t.resume
	case t.doubted:
		return 1 - t.flying, 0
	}
	return unlimited, 0
}

func (t *Throttle) withinWidth(now time.Duration) (int, time.Duration) {
	if most := t.Connections(now); most > 0 {
		return most - t.flying, 0
	}
	return unlimited, 0
}

// withinMessages lets half of the configured messages go at once, and each
// further one no sooner than its share of the period after the one before, or
// longestGap.
func (t *Throttle) withinMessages(now time.Duration) (int, time.Duration) {
	rate := t.limits.Messages
	if rate.IsZero() {
		return unlimited, 0
	}
	used := t.messages.Count(now, rate.Per) + t.flying
	half, even := (rate.Count+1)/2, t.last+min(rate.Per/time.Duration(rate.Count), longestGap)
	switch {
	case used >= rate.Count:
		return 0, later(t.messages.Room(t.flying+1, now, rate), now)
	case used < half:
		return half - used, 0
	case now < even:
		return 0, even
	}
	return 1, 0
}

func (t *Throttle) withinRecipients(now time.Duration) (int, time.Duration) {
	rate := t.limits.Recipients
	if rate.IsZero() || t.recipients.Count(now, rate.Per)+t.flyingRecipients < rate.Count {
		return unlimited, 0
	}
	return 0, later(t.recipients.Room(t.flyingRecipients+1, now, rate), now)
}

// withinRate spreads messages evenly at the learned rate.
func (t *Throttle) withinRate(now time.Duration) (int, time.Duration) {
	gap := t.gap(now)
	switch {
	case gap == 0:
		return unlimited, 0
	case now < t.next:
		return 0, t.next
	}
	return 1 + int((now-max(t.next, now-slack))/gap), 0
}

// gap is the time from one message to the next at the learned rate; 0 when none
// is known.
func (t *Throttle) gap(now time.Duration) time.Duration {
	rate, known := t.rate.at(now)
	if !known {
		return 0
	}
	return time.Duration(float64(time.Minute) / rate)
}

// later is at, or 0 when that is not in the future.
func later(at, now time.Duration) time.Duration {
	if at <= now {
		return 0
	}
	return at
}

// Turn is what a message carries from Begin to its end.
type Turn int

// Begin lets n messages begin, for which there is Room.
func (t *Throttle) Begin(n int, now time.Duration) Turn {
	t.flying += n
	t.last = now
	if gap := t.gap(now); gap > 0 {
		t.next = max(t.next, now-slack) + time.Duration(n)*gap
	}
	return Turn(t.refusals)
}

// Reserve takes room for the recipients of a message that began, which End gives
// back or counts. Not ok: there is none, until at. More than the limit allows at
// all may go when nothing else has.
func (t *Throttle) Reserve(n int, now time.Duration) (at time.Duration, ok bool) {
	rate := t.limits.Recipients
	if !rate.IsZero() {
		used := t.recipients.Count(now, rate.Per) + t.flyingRecipients
		if used > 0 && used+n > rate.Count {
			return max(t.recipients.Room(t.flyingRecipients+n, now, rate), now+time.Second), false
		}
	}
	t.flyingRecipients += n
	return now, true
}

// Configured is the limits in force that nobody had to learn.
func (t *Throttle) Configured() Limits { return t.limits }

// Rate is the messages a minute that may go, configured or learned; 0 for no
// limit.
func (t *Throttle) Rate(now time.Duration) float64 {
	rate, _ := t.rate.at(now)
	if c := t.limits.Messages; !c.IsZero() {
		told := float64(c.Count) * float64(time.Minute) / float64(c.Per)
		if rate == 0 || told < rate {
			rate = told
		}
	}
	return rate
}

// Connections is how many may be used at once, configured or learned; 0 for no
// limit.
func (t *Throttle) Connections(now time.Duration) int {
	most := t.limits.Connections
	width, known := t.width.at(now)
	if !known {
		return most
	}
	tried := max(int(t.width.low), t.widest+1) // no further than one beyond what has worked
	if learned := min(int(width), tried); most == 0 || learned < most {
		most = learned
	}
	return most
}

// LastMinute is how many messages were accepted in the minute that ends now, and
// Recipients how many recipients were in the period of their limit, or the day.
func (t *Throttle) LastMinute(now time.Duration) int { return t.recent.Count(now, time.Minute) }
func (t *Throttle) Recipients(now time.Duration) int {
	return t.recipients.Count(now, t.recipientsPer())
}

func (t *Throttle) recipientsPer() time.Duration {
	if t.limits.Recipients.IsZero() {
		return day
	}
	return t.limits.Recipients.Per
}
