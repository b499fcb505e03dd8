package throttle

import "time"

// Refusal is what a provider found too much.
type Refusal int

// Refusals.
const (
	None Refusal = iota
	TooFast
	TooMany // connections at once
)

// Outcome is how a message ended that began.
type Outcome struct {
	Turn Turn
	// Reserved is how many recipients it has room for, Delivered to how many of
	// them it was handed over.
	Reserved, Delivered int
	// Answered tells that the provider found nothing against the rate.
	Answered bool
	Refusal  Refusal
	// Wait is how long the provider wants to be left alone after a refusal; 0: it
	// did not say.
	Wait time.Duration
}

// GiveBack ends a message that was never tried.
func (t *Throttle) GiveBack(now time.Duration) {
	t.flying--
	t.next -= t.gap(now)
}

// End notes how a message ended.
func (t *Throttle) End(o Outcome, now time.Duration) {
	if o.Delivered > 0 {
		t.count(o.Delivered, now)
	}
	switch {
	case o.Refusal != None:
		t.refused(o, now)
	case o.Answered && int(o.Turn) == t.refusals:
		t.accepted(now)
	}
	t.flying--
	t.flyingRecipients -= o.Reserved
}

// accepted notes that what goes now is not too much.
func (t *Throttle) accepted(now time.Duration) {
	if t.doubted {
		t.idle += now - t.refusal
		t.needed = t.needed || t.pauses > 1
	}
	t.doubted, t.pauses, t.proved = false, 0, true
	t.widest = max(t.widest, t.flying)
}

// count notes a message that was handed over.
func (t *Throttle) count(recipients int, now time.Duration) {
	if _, known := t.rate.at(now); !known && t.recent.Count(now, time.Minute) == 0 {
		t.got, t.since, t.idle = 0, now, 0
	}
	t.got++
	t.recent.Add(1, now, time.Minute)
	t.recipients.Count(now, t.recipientsPer()) // what is too old goes
	t.recipients.Add(recipients, now, t.recipientsPer())
	if rate := t.limits.Messages; !rate.IsZero() {
		t.messages.Add(1, now, rate.Per)
	}
}

// refused notes a refusal. Of those that belong together only the first counts;
// what nothing was accepted before tells nothing of how much is too much.
func (t *Throttle) refused(o Outcome, now time.Duration) {
	if o.Wait > 0 {
		t.resume = max(t.resume, now+min(o.Wait, day))
	}
	if int(o.Turn) != t.refusals {
		return
	}
	t.refusals++
	t.refusal = now
	if t.pauses++; o.Wait <= 0 {
		t.resume = max(t.resume, now+pause(t.pauses))
	}
	switch {
	case o.Refusal == TooMany && t.flying > 1:
		t.narrower(now)
	case t.proved: // over one connection alone it was too fast, whatever is said
		t.slower(now)
	}
	t.doubted, t.proved = true, false
}

// pause is how long nothing goes after so many refusals in a row.
func pause(refusals int) time.Duration {
	d := firstPause
	for ; refusals > 1 && d < longestPause; refusals-- {
		d *= 2
	}
	return min(d, longestPause)
}
