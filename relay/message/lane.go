package message

import "strings"

// A lane is where a delivery waits for its turn:
//
//	office             a route, by any of its upstreams
//	office/ses,backup  a route, by one of these upstreams of it
//	office/ses+        the same, and others were passed over for the time being
//	upstream:ses       pinned: by this one alone, as it may already have left by it
//
// The names of routes and upstreams hold none of the separators.
const (
	pinned = "upstream:"
	narrow = "/"
	among  = ","
	again  = "+"
)

// PinnedLane is the lane of deliveries that only that upstream may make.
func PinnedLane(upstream string) string { return pinned + upstream }

// PinnedTo is the upstream of a pinned lane.
func PinnedTo(lane string) (upstream string, ok bool) { return strings.CutPrefix(lane, pinned) }

// NarrowLane is the lane of a route for what only some of its upstreams are to
// be given. Others says that the rest of them may be given it at the next attempt.
func NarrowLane(route string, upstreams []string, others bool) string {
	lane := route + narrow + strings.Join(upstreams, among)
	if others {
		lane += again
	}
	return lane
}

// SplitLane is the route of a lane, the only upstreams of it that may serve
// (nil: all), and whether others were passed over for the time being. A pinned
// lane is its own route.
func SplitLane(lane string) (route string, upstreams []string, others bool) {
	route, names, ok := strings.Cut(lane, narrow)
	if !ok {
		return route, nil, false
	}
	names, others = strings.CutSuffix(names, again)
	return route, strings.Split(names, among), others
}

// RouteOf is the route of a lane; a pinned lane is its own.
func RouteOf(lane string) string {
	route, _, _ := strings.Cut(lane, narrow)
	return route
}
