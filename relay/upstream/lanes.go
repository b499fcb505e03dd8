package upstream

import (
	"slices"
	"time"

	"postern/relay/message"
)

// lane is the upstreams that may serve it: groups in order of preference.
type lane []group

// group is upstreams that share the load.
type group struct {
	members []*upstream
	share   *share // the same in every lane that has some of the group
}

func newGroup(members ...*upstream) group {
	if len(members) == 1 {
		return group{members: members}
	}
	return group{members, new(share)}
}

// lane is the one of that name (see message.NarrowLane), empty if there is none.
func (s *Set) lane(name string) lane {
	if l, ok := s.lanes[name]; ok {
		return l
	}
	route, only, _ := message.SplitLane(name)
	return s.lanes[route].among(only)
}

// among is what is left of a lane when only these upstreams may serve.
func (l lane) among(only []string) lane {
	var left lane
	for _, g := range l {
		g.members = slices.DeleteFunc(slices.Clone(g.members), func(u *upstream) bool { return !slices.Contains(only, u.cfg.Name) })
		if len(g.members) > 0 {
			left = append(left, g)
		}
	}
	return left
}

// members are all upstreams of the lane, in order of preference.
func (l lane) members() []*upstream {
	if len(l) == 1 {
		return l[0].members
	}
	var all []*upstream
	for _, g := range l {
		all = append(all, g.members...)
	}
	return all
}

// Serves tells whether there is such a lane.
func (s *Set) Serves(lane string) bool { return len(s.lane(lane)) > 0 }

// Only is the lane of a route for what these of its upstreams may be given.
func (s *Set) Only(route string, upstreams []string) string {
	if len(upstreams) == len(s.lanes[route].members()) {
		return route
	}
	return message.NarrowLane(route, upstreams, false)
}

// Without is the lane for what an upstream of it was asked for and is not to be
// asked again now; "" when there is no other. It was passed over for the time
// being, or for good.
func (s *Set) Without(name, upstream string, forGood bool) string {
	var rest []string
	for _, u := range s.lane(name).members() {
		if u.cfg.Name != upstream {
			rest = append(rest, u.cfg.Name)
		}
	}
	if len(rest) == 0 {
		return ""
	}
	route, _, others := message.SplitLane(name)
	return message.NarrowLane(route, rest, others || !forGood)
}

// longBusy is how long a group is waited for that is up.
const longBusy = time.Minute

// take is the choice among the upstreams of a lane: slots of one that may serve,
// or nil and when the first pause of one that is down will be over. A caller that
// will wait gives its wake.
//
// Groups are asked in order, the upstreams of a group by their turns. A group
// with one that is up, but has no free slot, is waited for: to be busy is no
// reason to turn to the next group, to be down or held is, and to be known to stay
// busy for longer than longBusy: its quota is used up. One whose pause is over
// gives one slot, as a probe.
func (l lane) take(now time.Time, max int, wake chan struct{}) (slots []*Slot, again time.Time) {
	var passed []*upstream
	for _, group := range l {
		busy := false
		for _, u := range group.share.turns(group.members) {
			g := u.gate.take(now, max, wake)
			if g.slots > 0 {
				group.share.charge(u, g.slots)
				for range g.slots {
					slots = append(slots, &Slot{upstream: u, lane: l, share: group.share, probe: g.probe, passed: passed, begun: true, turn: g.turn})
				}
				return slots, time.Time{}
			}
			busy = busy || g.full && !g.again.After(now.Add(longBusy))
			if again.IsZero() || !g.again.IsZero() && g.again.Before(again) {
				again = g.again
			}
		}
		if busy {
			return nil, again
		}
		passed = append(passed, group.members...)
	}
	return nil, again
}
