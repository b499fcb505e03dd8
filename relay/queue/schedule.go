package queue

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"postern/relay/message"
	"postern/relay/setting"
)

// schedule decides when a delivery is tried again and when it is given up. It
// is a function of what it is told; now and chance come from the caller.
type schedule struct {
	retry  []time.Duration
	expire time.Duration
	hold   bool // uncertain deliveries wait for a person
}

// newSchedule is what c says of a lane.
func newSchedule(c Config, lane string) schedule {
	r := c.Of(lane)
	s := schedule{expire: r.Expire.Std(), hold: c.Uncertain == "hold"}
	for _, wait := range r.Retry {
		s.retry = append(s.retry, wait.Std())
	}
	return s
}

// next is the time of the next attempt after that many have been made. chance,
// in [0,1), spreads it by up to a tenth either way, so that what failed
// together is not tried together.
func (s schedule) next(attempts int, now time.Time, chance float64) time.Time {
	if len(s.retry) == 0 {
		return now
	}
	wait := s.retry[min(max(attempts, 1), len(s.retry))-1]
	spread := time.Duration(float64(wait) * (chance - 0.5) / 5)
	return now.Add(wait + spread).Truncate(time.Millisecond) // as it is stored
}

// expired tells whether a message received then is past its time.
func (s schedule) expired(received, now time.Time) bool {
	return !now.Before(received.Add(s.expire))
}

// settle is what an outcome makes of a delivery that was being sent.
//
// A delivery in a pinned lane was uncertain before. What an upstream says of
// the second attempt does not tell whether the first one arrived, so a
// temporary refusal leaves it uncertain and pinned, and a final one says so.
func (s schedule) settle(d Delivery, r Outcome, received, now time.Time, chance float64) Delivery {
	if r.GoesOn {
		d.Reply, d.Lane = r.Reply, cmp.Or(r.Lane, d.Lane)
		return due(d, now)
	}
	d.Attempts++
	d.Reply, d.RemoteID, d.last = r.Reply, r.RemoteID, r.Reply
	d.NextAt = time.Time{}
	_, pinned := message.PinnedTo(d.Lane)
	switch r.Outcome {
	case message.Delivered:
		d.State = Delivered
	case message.Failed:
		d.State = Failed
		if pinned {
			d.Reply = refusedAgain(r.Reply)
		}
	case message.Uncertain:
		d.Lane = message.PinnedLane(d.Upstream)
		if s.hold {
			d.State = Held
			break
		}
		d.State = Uncertain
		d.NextAt = s.next(d.Attempts, now, chance)
	default:
		d.State = Deferred
		if pinned {
			d.State = Uncertain
		}
		if s.expired(received, now) {
			return s.giveUp(d)
		}
		d.NextAt = s.next(d.Attempts, now, chance)
		if r.Wait > 0 {
			d.NextAt = s.after(r.Wait, d.Attempts, now)
		}
		d.Lane = cmp.Or(r.Lane, d.Lane)
	}
	return d
}

// due is a delivery nothing was learnt about by the attempt that has it: as it
// was, and due.
func due(d Delivery, now time.Time) Delivery {
	d.State, d.NextAt = Queued, now
	if _, pinned := message.PinnedTo(d.Lane); pinned {
		d.State = Uncertain
	}
	return d
}

// after is the time of the next attempt where more is known than the schedule
// says: that much later with each one, but no later than it may be at all.
func (s schedule) after(wait time.Duration, attempts int, now time.Time) time.Time {
	next := now.Add(min(wait, 24*time.Hour) * time.Duration(min(attempts, 1000))).Truncate(time.Millisecond)
	if latest := s.ceiling(now); next.After(latest) {
		return latest.Truncate(time.Millisecond)
	}
	return next
}

// refusedAgain is what is said of a delivery that may have been made before it
// was refused for good.
func refusedAgain(last message.Reply) message.Reply {
	return message.Reply{Enhanced: last.Enhanced,
		Text: "refused now, but it may have been delivered by an earlier attempt; the last reply was: " + last.String()}
}

// ceiling is the latest time a delivery can be waiting for.
func (s schedule) ceiling(now time.Time) time.Time {
	if len(s.retry) == 0 {
		return now
	}
	longest := slices.Max(s.retry)
	return now.Add(longest + longest/10)
}

// giveUp is what becomes of a delivery whose time is over.
func (s schedule) giveUp(d Delivery) Delivery {
	text := fmt.Sprintf("not delivered within %s", setting.Duration(s.expire))
	if d.State == Uncertain {
		text = fmt.Sprintf("not known to be delivered within %s; it may have been delivered", setting.Duration(s.expire))
	}
	if last := d.Reply.String(); last != "" {
		text += "; the last reply was: " + last
	}
	d.State, d.NextAt = Failed, time.Time{}
	d.last, d.expired = d.Reply, true
	d.Reply = message.Reply{Enhanced: "5.4.7", Text: text} // RFC 3463, section 3.5: delivery time expired
	return d
}
