package policy

// Senders is how many are remembered.
func Senders(u *Usage) int { return len(u.by) }
