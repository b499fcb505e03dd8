//go:build race

package submission

// slow divides what tests do much of: the race detector takes ten times as long.
const slow = 10
