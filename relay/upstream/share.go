package upstream

import (
	"cmp"
	"slices"
	"sync"
)

// share keeps the turns of a group by weight (start-time fair queueing): each
// message moves the upstream that gets it on by 1/weight, and the one that is
// least far is next. One that was down for long comes back where the others are,
// not with all its missed turns. A nil share is that of a group of one.
type share struct {
	mu    sync.Mutex
	clock float64 // where the one is that had the last turn
	far   map[*upstream]float64
}

// turns are the upstreams in the order in which they are to be asked.
func (s *share) turns(members []*upstream) []*upstream {
	if s == nil || len(members) == 1 {
		return members
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	order := slices.Clone(members)
	slices.SortStableFunc(order, func(a, b *upstream) int { return cmp.Compare(s.at(a), s.at(b)) })
	return order
}

func (s *share) at(u *upstream) float64 { return max(s.far[u], s.clock) }

// charge counts turns, which end by being used or by refund.
func (s *share) charge(u *upstream, turns int) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.far == nil {
		s.far = map[*upstream]float64{}
	}
	s.clock = s.at(u)
	s.far[u] = s.clock + float64(turns)/u.weight()
}

// refund gives a turn back.
func (s *share) refund(u *upstream) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.far[u] -= 1 / u.weight()
}

// weight is at least 1.
func (u *upstream) weight() float64 { return float64(max(u.cfg.Weight, 1)) }
