package policy

import (
	"slices"
	"sync"
	"time"

	"postern/relay/sliding"
)

// Usage is how much everybody has sent lately, in sliding windows. It outlives
// the configurations that limit it, and is safe for concurrent use.
//
// What is about to be accepted is reserved first, so that sessions side by side
// together stay within a limit; it is counted once it is accepted, and given
// back when it is not.
type Usage struct {
	mu      sync.Mutex
	epoch   time.Time       // times of windows are told since it
	periods []time.Duration // there is a window for each
	by      map[sender]*used
	sweepAt int // how many there may be before the idle ones are forgotten
}

// sender is whose usage it is.
type sender struct {
	account string
	user    string // where an account stands for many
}

// amount is what a message costs.
type amount struct{ messages, recipients int }

// used is the usage of one sender.
type used struct {
	reserved amount
	windows  []windows // parallel to Usage.periods
}

type windows struct{ messages, recipients sliding.Window }

// minSweep is how many senders are kept without looking for idle ones.
const minSweep = 1024

// NewUsage makes one in which nobody has sent anything.
func NewUsage() *Usage {
	return &Usage{epoch: time.Now(), by: map[sender]*used{}, sweepAt: minSweep}
}

// room finds the limit that leaves room for ask last, and when that is; ok
// tells that all have room now.
func (u *Usage) room(s sender, limits []limit, ask amount, now time.Duration) (tightest limit, at time.Duration, ok bool) {
	at, ok = now, true
	user := u.of(s, now)
	for _, l := range limits {
		i := slices.Index(u.periods, l.rate.Per)
		if i < 0 {
			continue // a reload came between; the next message will be counted
		}
		w, n, reserved := &user.windows[i].messages, ask.messages, user.reserved.messages
		if l.recipients {
			w, n, reserved = &user.windows[i].recipients, ask.recipients, user.reserved.recipients
		}
		free := w.Room(n+reserved, now, l.rate)
		if n+reserved > l.rate.Count {
			free = max(free, now+time.Second) // what is reserved is soon counted, or given back
		}
		if n > l.rate.Count {
			free = now + l.rate.Per // even alone it is too much
		}
		if free > at {
			tightest, at, ok = l, free, false
		}
	}
	return tightest, at, ok
}

// of is the usage of s.
func (u *Usage) of(s sender, now time.Duration) *used {
	user := u.by[s]
	if user != nil {
		return user
	}
	if len(u.by) >= u.sweepAt {
		u.sweep(now)
	}
	user = &used{windows: make([]windows, len(u.periods))}
	u.by[s] = user
	return user
}

// sweep forgets who has sent nothing lately. It comes again when there are
// twice as many as it leaves, so it costs each message next to nothing.
func (u *Usage) sweep(now time.Duration) {
	for s, user := range u.by {
		if user.reserved == (amount{}) && !user.counts(u.periods, now) {
			delete(u.by, s)
		}
	}
	u.sweepAt = max(minSweep, 2*len(u.by))
}

// counts tells whether any window holds anything.
func (user *used) counts(periods []time.Duration, now time.Duration) bool {
	for i := range user.windows {
		if user.windows[i].messages.Count(now, periods[i]) > 0 {
			return true // no message is without recipients, so these need not be asked
		}
	}
	return false
}

// add counts what was accepted.
func (u *Usage) add(s sender, a amount, at time.Duration) {
	user := u.of(s, at)
	for i, period := range u.periods {
		user.windows[i].messages.Add(a.messages, at, period)
		user.windows[i].recipients.Add(a.recipients, at, period)
	}
}

// History calls each for every message that was accepted since then, latest
// first.
type History func(since time.Time, each func(account, user string, at time.Time, recipients int)) error

// recount makes windows for periods and fills them from the history, which is
// the truth. What is reserved stays so. Others wait meanwhile; what was accepted
// and not yet counted when it began may be counted twice, but never not at all.
func (u *Usage) recount(periods []time.Duration, history History) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now()
	fresh := map[sender]*used{}
	of := func(s sender) *used {
		if fresh[s] == nil {
			fresh[s] = &used{windows: make([]windows, len(periods))}
		}
		return fresh[s]
	}
	if len(periods) > 0 {
		err := history(now.Add(-slices.Max(periods)), func(account, user string, at time.Time, recipients int) {
			if at.After(now) {
				return // the clock was wrong then, or is now
			}
			of(sender{account, user}).precede(periods, amount{1, recipients}, at.Sub(u.epoch), now.Sub(u.epoch))
		})
		if err != nil {
			return err
		}
	}
	for s, user := range u.by {
		if user.reserved != (amount{}) {
			of(s).reserved = user.reserved
		}
	}
	u.by, u.periods = fresh, periods
	return nil
}

// precede counts what was accepted before anything counted so far.
func (user *used) precede(periods []time.Duration, a amount, at, now time.Duration) {
	for i, period := range periods {
		if now-at < period {
			user.windows[i].messages.Precede(a.messages, at, period)
			user.windows[i].recipients.Precede(a.recipients, at, period)
		}
	}
}

// Reservation is room for one message. It ends by Count or GiveBack, whichever
// comes first.
type Reservation struct {
	usage  *Usage
	sender sender
	amount amount
}

// Count turns it into usage: the message was accepted.
func (r *Reservation) Count() { r.end(true) }

// GiveBack leaves the room to others: the message was not accepted.
func (r *Reservation) GiveBack() { r.end(false) }

func (r *Reservation) end(accepted bool) {
	u := r.usage
	if u == nil {
		return
	}
	r.usage = nil
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Since(u.epoch)
	user := u.of(r.sender, now)
	user.reserved.messages -= r.amount.messages
	user.reserved.recipients -= r.amount.recipients
	if accepted {
		u.add(r.sender, r.amount, now)
	}
}
