package message

import "strings"

// A lane is where a delivery waits for its turn: the name of a route, or a
// pinned lane, that of the one upstream an uncertain delivery may already have
// left by. A route's name holds no colon.
const pinned = "upstream:"

// PinnedLane is the lane of deliveries that only that upstream may make.
func PinnedLane(upstream string) string { return pinned + upstream }

// PinnedTo is the upstream of a pinned lane.
func PinnedTo(lane string) (upstream string, ok bool) { return strings.CutPrefix(lane, pinned) }
