package policy

import "time"

// Senders is how many are remembered.
func Senders(u *Usage) int { return len(u.by) }

// Remembered is how many messages are remembered then.
func (r *Resent) Remembered(now time.Time) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(now)
	return len(r.by)
}
