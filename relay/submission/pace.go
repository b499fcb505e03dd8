package submission

import "time"

// minRate is how fast a message must come, in octets on the wire per second:
// half of what a modem of 9,600 baud carries.
const minRate = 512

// pace tells a slow line from a client that only holds a connection open.
// Waiting for octets uses up patience, and each octet that comes gives some
// back, up to the full measure. So whoever is below minRate on average is cut
// off in the end, and a scanner that pauses between two pages is not. Our own
// time, as when the disk is slow, is not counted.
type pace struct {
	full time.Duration
	left time.Duration
}

func newPace(patience time.Duration) pace { return pace{full: patience, left: patience} }

// waited notes that n octets took d to come.
func (p *pace) waited(d time.Duration, n int) {
	p.left = min(p.full, p.left-d+time.Duration(n)*time.Second/minRate)
}

// tooSlow tells whether the patience is used up.
func (p *pace) tooSlow() bool { return p.left <= 0 }
